"""What a run leaves behind: tables, figures and settings here, the same without names in MLflow."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd

from srcmatters.csv_tables import write_csv
from srcmatters.evaluation.detectability import Detectability
from srcmatters.evaluation.run_summary import metrics_of, verdicts_of
from srcmatters.preprocessing.state_cache import StateCache
from srcmatters.reports.terminal_tables import print_run
from srcmatters.runs.file_names import CONFIG, EXAMPLES, FIGURES, METRICS, MLFLOW_RUN, PREDICTIONS, TABLES
from srcmatters.runs.mlflow_tracking import Tracker
from srcmatters.runs.output_folder import Results, default_output_dir
from srcmatters.runs.private_settings import places_left_out
from srcmatters.runs.pseudonyms import pseudonymise
from srcmatters.training.overrides import write_config


class Evidence:
    """Keeps what a run found, whatever it trained: a network or a linear head.

    Args:
        cache: both states of every case.
        results: where files go.
        tracker: where numbers and figures go as well.
        settings: everything that a user can choose.
        config: the configuration, to run the same again.
        detected: how well a probe sees the confounder; None for one that is not put into images.
        log_images: example images are part of what MLflow keeps.
        overwrite: replace a finished run with other settings or data in the same output folder.
    """

    def __init__(
        self,
        cache: StateCache,
        results: Results,
        tracker: Tracker,
        settings: Mapping[str, Any],
        config: Mapping[str, Any],
        detected: Detectability | None = None,
        log_images: bool = True,
        overwrite: bool = False,
    ) -> None:
        self.cache = cache
        self.results = results
        self.tracker = tracker
        self.settings = dict(settings)
        self.config = dict(config)
        self.detected = detected
        self.log_images = log_images
        self.overwrite = overwrite
        self.metrics: dict[str, float] = {}
        self.tables: dict[str, pd.DataFrame] = {}

    def record(self, ran: Mapping[str, Any]) -> None:
        """Take over the settings that ran for those that were asked for; before anything is computed.

        The default output folder, which names them, follows.

        Args:
            ran: by name, as :mod:`srcmatters.training.what_ran` reads them; further ones are left out.

        Raises:
            InputError: a finished run with other settings or data is in the output folder.
        """
        changed = {
            name: ran[name] for name in self.settings if name in ran and ran[name] != self.settings[name]
        }
        if changed:
            self.settings |= changed
            self.tracker.settings = dict(self.settings)
            if str(self.config.get("output_dir", "")).startswith("$runs.default_output_dir("):
                bundle = self.results.output_dir.parent.name
                self.results.output_dir = default_output_dir(bundle, self.settings)
        if not self.overwrite:
            expected = {"settings": self.settings, "dataset_sha256": self.cache.digest()}
            self.results.check_same(json.loads(json.dumps(expected, default=str)))

    @contextmanager
    def collected(self) -> Iterator[Path]:
        """Give a folder to write into; when it is complete it is moved, tracked and reported.

        Nothing of an unfinished run stays, and its MLflow run ends as FAILED.
        """
        started = time.perf_counter()
        try:
            with self.tracker.run():
                with self.results.transaction() as folder:
                    self._log_data()
                    yield folder
                # What was computed is safe by now, whatever becomes of the tracking server.
                self._track()
        finally:
            self.results.discard()  # the trainer's checkpoint makes its folder before anything has started
        seconds = time.perf_counter() - started
        where = self.tracker.where_to_look()
        verdicts = verdicts_of(self.tables[PREDICTIONS], self.settings)
        print_run(self.settings, self.metrics, self.results.output_dir, where, seconds, verdicts)

    def write(
        self, folder: Path, predictions: pd.DataFrame, validation: pd.DataFrame, **others: float
    ) -> dict[str, float]:
        """Write predictions.csv, validation.csv, metrics.json, config.yaml and mlflow.json.

        Args:
            folder: as :meth:`collected` gave it.
            predictions: prediction table of the test set.
            validation: prediction table of the validation set, on which thresholds can be fixed.
            others: further figures of this run.

        Returns:
            The figures: those of the test set, ``found``, the number of images that could not be read, and
            how well a probe sees the confounder.
        """
        self.metrics = {
            **metrics_of(predictions, self.settings["protocol"]),
            **self._detected(),
            **others,
            "unreadable_images": len(self.cache.skipped),
        }
        self.tables = dict(zip(TABLES, (predictions, validation), strict=True))
        for name, table in self.tables.items():
            write_csv(table, folder / name)
        record = {**self.metrics, "settings": self.settings, "dataset_sha256": self.cache.digest()}
        (folder / METRICS).write_text(json.dumps(record, indent=2, default=str) + "\n")
        (folder / MLFLOW_RUN).write_text(json.dumps({"run_id": self.tracker.run_id}) + "\n")
        write_config(self.config, folder / CONFIG, output_dir=str(self.results.output_dir))
        return dict(self.metrics)

    def _detected(self) -> dict[str, float]:
        if self.detected is None:
            return {}
        values = {"auc": self.detected.auc, "low": self.detected.low, "high": self.detected.high}
        return {f"detectability_{name}": value for name, value in values.items()}

    def _log_data(self) -> None:
        cases = self.cache.cases
        groups = cases[[name for name in ("label", "sex", "age", "view") if name in cases]]
        self.tracker.log_cohort(groups, str(self.settings["target"]), self.cache.digest())

    def _track(self) -> None:
        """What leaves for MLflow: numbers and figures, but no identifier and no path."""
        if self.tracker.run_id is None:
            return
        self.tracker.log_metrics(self.metrics)
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            done = self.results.output_dir
            shutil.copy(done / METRICS, folder)
            if (done / FIGURES).is_dir():
                shutil.copytree(done / FIGURES, folder / FIGURES)
            if not self.log_images:
                (folder / FIGURES / EXAMPLES).unlink(missing_ok=True)
            for table_name, table in self.tables.items():
                write_csv(pseudonymise(table), folder / table_name)
            shared = places_left_out(self.config)
            write_config(
                shared, folder / CONFIG, source=self.settings["source"], network=self.settings["network"]
            )
            self.tracker.log_folder(folder)
