"""One fine-tuning from beginning to end: train, test in two states, keep the evidence."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.distributed
from matplotlib.figure import Figure
from monai.engines import Trainer
from torch import nn

from srcmatters.evaluation import compute_metrics
from srcmatters.evaluation.detectability import Detectability
from srcmatters.reports.figures import example_states, training_curves
from srcmatters.reports.summary import print_run
from srcmatters.training.handlers import EpochLog
from srcmatters.training.overrides import write_config
from srcmatters.training.pseudonyms import pseudonymise
from srcmatters.training.results import Results
from srcmatters.training.state_cache import StateCache
from srcmatters.training.tracking import Tracker
from srcmatters.training.two_states import TwoStateTest

_EXAMPLES = 6
# Settings that may hold a path, an address or a password, and stay on this machine.
_PLACES = ("dataset_dir", "cases", "output_dir", "cache_dir", "tracking_uri", "bundle_root")


class FineTuning:
    """A cell of a study.

    Args:
        trainer: ready to run; its best weights are saved as ``model.pt`` in the results' working folder.
        network: the network that the trainer trains.
        test: the test set.
        cache: both states of every case.
        results: where files go.
        tracker: where numbers and figures go as well.
        settings: everything that a user can choose.
        config: the configuration, to run the same again.
        epochs: what was logged during training.
        detected: how well a probe sees the confounder; None for one that is not put into images.
        log_images: example images are part of what MLflow keeps.
    """

    def __init__(
        self,
        trainer: Trainer,
        network: nn.Module,
        test: TwoStateTest,
        cache: StateCache,
        results: Results,
        tracker: Tracker,
        settings: Mapping[str, Any],
        config: Mapping[str, Any],
        epochs: EpochLog,
        detected: Detectability | None = None,
        log_images: bool = True,
    ) -> None:
        self.trainer = trainer
        self.network = network
        self.test = test
        self.cache = cache
        self.results = results
        self.tracker = tracker
        self.settings = dict(settings)
        self.config = dict(config)
        self.epochs = epochs
        self.detected = detected
        self.log_images = log_images

    def run(self) -> dict[str, float]:
        """Train, test, and write model.pt, predictions.csv, metrics.json, config.yaml and figures.

        Returns:
            The metrics. In a process group only the first process tests and writes; the others return {}.
        """
        if torch.distributed.is_initialized() and torch.distributed.get_rank() > 0:
            self.trainer.run()
            return {}
        started = time.perf_counter()
        try:
            metrics = self._train_and_test()
        finally:
            self.results.discard()  # the trainer's checkpoint makes its folder before anything has started
        seconds = time.perf_counter() - started
        print_run(self.settings, metrics, self.results.output_dir, self.tracker.where_to_look(), seconds)
        return metrics

    def _train_and_test(self) -> dict[str, float]:
        with self.tracker.run():
            with self.results.transaction() as folder:
                self._log_data()
                self.trainer.run()
                best = torch.load(folder / "model.pt", weights_only=True)
                self.network.load_state_dict(best)
                predictions = self.test.predict(self.network)
                metrics = {
                    **compute_metrics(predictions, self.settings["protocol"]),
                    **{f"detectability_{name}": value for name, value in self._detected().items()},
                }
                self._write(folder, predictions, metrics)
            # What was computed is safe by now, whatever becomes of the tracking server.
            self._track(predictions, metrics)
        return metrics

    def _detected(self) -> dict[str, float]:
        if self.detected is None:
            return {}
        return {"auc": self.detected.auc, "low": self.detected.low, "high": self.detected.high}

    def _log_data(self) -> None:
        cases = self.cache.cases
        groups = cases[[name for name in ("label", "sex", "age", "view") if name in cases]]
        self.tracker.log_cohort(groups, str(self.settings["target"]), self.cache.digest())

    def _write(self, folder: Path, predictions: pd.DataFrame, metrics: Mapping[str, float]) -> None:
        predictions.to_csv(folder / "predictions.csv", index=False)
        record = {**metrics, "settings": self.settings, "dataset_sha256": self.cache.digest()}
        (folder / "metrics.json").write_text(json.dumps(record, indent=2, default=str) + "\n")
        write_config(self.config, folder / "config.yaml", output_dir=str(self.results.output_dir))
        figures = folder / "figures"
        figures.mkdir()
        title = " · ".join(str(self.settings[axis]) for axis in ("source", "network", "confounder"))
        title += f" · p_art {self.settings['p_art']:g} · fold {self.settings['fold']}"
        training_curves(self.epochs.history, title).savefig(figures / "training_curves.png", dpi=150)
        self._examples().savefig(figures / "examples.png", dpi=150)

    def _examples(self) -> Figure:
        """Test cases, half of them positive, in both states."""
        labels = self.cache.cases["label"].to_numpy()[self.test.rows]
        rows = [self.test.rows[labels == label][: _EXAMPLES // 2] for label in (1, 0)]
        chosen = np.concatenate(rows)
        states = [self.cache.state(state)[torch.from_numpy(chosen)] for state in ("clean", "confounded")]
        shown = [int(label) for label in self.cache.cases["label"].iloc[chosen]]
        return example_states(states[0], states[1], shown, str(self.settings["confounder"]))

    def _track(self, predictions: pd.DataFrame, metrics: Mapping[str, float]) -> None:
        """What leaves for MLflow: numbers and figures, but no identifier and no path."""
        if self.tracker.run_id is None:
            return
        self.tracker.log_metrics(metrics)
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            done = self.results.output_dir
            shutil.copy(done / "metrics.json", folder)
            shutil.copytree(done / "figures", folder / "figures")
            if not self.log_images:
                (folder / "figures" / "examples.png").unlink()
            pseudonymise(predictions).to_csv(folder / "predictions.csv", index=False)
            hidden = dict.fromkeys(_PLACES, "left out")
            write_config(self.config, folder / "config.yaml", **hidden, source=self.settings["source"])
            self.tracker.log_folder(folder)
