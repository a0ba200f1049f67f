"""Test a finished run again."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from srcmatters.csv_tables import write_csv
from srcmatters.evaluation.run_summary import metrics_of, verdicts_of
from srcmatters.reports.terminal_tables import print_run
from srcmatters.runs.file_names import METRICS, PREDICTIONS
from srcmatters.runs.output_folder import Results
from srcmatters.training.checkpoints import check_same_run, load_checkpoint, trained_settings
from srcmatters.training.two_state_test import TwoStateTest
from srcmatters.training.what_ran import retest_settings


class Evaluation:
    """Two-state test of weights that exist already.

    Args:
        network: as it was trained.
        ckpt: ``model.pt`` of the run.
        test: the test set.
        results: where predictions.csv and metrics.json go.
        settings: everything that a user can choose.
        config: the configuration.
    """

    def __init__(
        self,
        network: nn.Module,
        ckpt: str | Path,
        test: TwoStateTest,
        results: Results,
        settings: Mapping[str, Any],
        config: Mapping[str, Any],
    ) -> None:
        self.ckpt = ckpt
        self.network = load_checkpoint(network, ckpt)
        self.test = test
        self.results = results
        self.settings = dict(settings)
        self.config = dict(config)

    def run(self) -> dict[str, float]:
        """Predict and write; returns the metrics.

        Raises:
            InputError: it would test on cases that the weights were trained on, or something that cannot be
                recorded; see :mod:`srcmatters.training.what_ran`.
        """
        started = time.perf_counter()
        test = self.test
        ran = retest_settings(self.settings, self.network, test.cache, test.chosen, test.fold, self.config)
        self.settings |= {name: value for name, value in ran.items() if name in self.settings}
        check_same_run(self.ckpt, self.settings, self.results.output_dir)
        with self.results.transaction() as folder:
            predictions = self.test.predict(self.network)
            metrics = metrics_of(predictions, self.settings["protocol"])
            write_csv(predictions, folder / PREDICTIONS)
            # `srcmatters results` compares trainings; a retest of one of them is none.
            record = {**metrics, "settings": self.settings, "retest_of": trained_settings(self.ckpt)}
            (folder / METRICS).write_text(json.dumps(record, indent=2, default=str) + "\n")
        seconds = time.perf_counter() - started
        verdicts = verdicts_of(predictions, self.settings)
        print_run(self.settings, metrics, self.results.output_dir, "", seconds, verdicts)
        return metrics
