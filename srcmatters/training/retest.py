"""Test a finished run again, and score images that have no labels."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from ignite.engine import Engine, Events
from torch import nn

from srcmatters.cohorts.case_table import POSITION
from srcmatters.evaluation import compute_metrics
from srcmatters.reports.terminal_tables import print_run
from srcmatters.runs.output_folder import Results
from srcmatters.training.checkpoints import load_checkpoint, trained_settings
from srcmatters.training.two_state_test import TwoStateTest


class Evaluation:
    """Two-state test of weights that exist already.

    Args:
        network: as it was trained.
        ckpt: ``model.pt`` of the run.
        test: the test set.
        results: where predictions.csv and metrics.json go.
        settings: everything that a user can choose.
    """

    def __init__(
        self,
        network: nn.Module,
        ckpt: str | Path,
        test: TwoStateTest,
        results: Results,
        settings: Mapping[str, Any],
    ) -> None:
        self.ckpt = ckpt
        self.network = load_checkpoint(network, ckpt)
        self.test = test
        self.results = results
        self.settings = dict(settings)

    def run(self) -> dict[str, float]:
        """Predict and write; returns the metrics."""
        started = time.perf_counter()
        with self.results.transaction() as folder:
            predictions = self.test.predict(self.network)
            metrics = compute_metrics(predictions, self.settings["protocol"])
            predictions.to_csv(folder / "predictions.csv", index=False)
            # `srcmatters results` compares trainings; a retest of one of them is none.
            record = {**metrics, "settings": self.settings, "retest_of": trained_settings(self.ckpt)}
            (folder / "metrics.json").write_text(json.dumps(record, indent=2, default=str) + "\n")
        seconds = time.perf_counter() - started
        print_run(self.settings, metrics, self.results.output_dir, "", seconds)
        return metrics


class ScoreWriter:
    """Collect the probabilities of an inference engine and write ``scores.csv`` when it is done.

    Its columns are image, x_mm, y_mm and z_mm where a candidate has a position, and probability (of label 1).

    Args:
        results: where the file goes.
        dataset_dir: image paths are written relative to it.
    """

    def __init__(self, results: Results, dataset_dir: str | Path) -> None:
        self.results = results
        self.dataset_dir = Path(dataset_dir)
        self.rows: list[dict[str, object]] = []

    def attach(self, engine: Engine) -> None:
        """Attach to the evaluator."""
        engine.add_event_handler(Events.STARTED, self.rows.clear)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._collect)
        engine.add_event_handler(Events.COMPLETED, self._write)

    def _collect(self, engine: Engine) -> None:
        # MONAI's output keeps image, label and prediction only; the batch knows the names.
        batch, outputs = engine.state.batch, engine.state.output
        for item, output in zip(batch, outputs, strict=True):  # type: ignore[call-overload]
            path = Path(item["name"])
            inside = path.is_relative_to(self.dataset_dir)
            shown = path.relative_to(self.dataset_dir) if inside else path
            where = {name: float(item[name]) for name in POSITION if name in item}
            probability = float(output["pred"][1])
            self.rows.append({"image": shown.as_posix(), **where, "probability": probability})

    def _write(self) -> None:
        with self.results.transaction() as folder:
            pd.DataFrame(self.rows).to_csv(folder / "scores.csv", index=False)
        print(f"{len(self.rows)} images scored: {self.results.output_dir / 'scores.csv'}")
