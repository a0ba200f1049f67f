"""A study in MLflow: an experiment, a parent run, and the cells nested in it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from srcmatters.csv_tables import write_csv
from srcmatters.runs.file_names import METRICS, PREDICTIONS, STUDY_FILE
from srcmatters.runs.four_state_table import read_tested
from srcmatters.runs.mlflow_tracking import Tracker, end_dead_runs
from srcmatters.runs.private_settings import places_left_out
from srcmatters.runs.pseudonyms import pseudonymise
from srcmatters.studies.cells import Cell
from srcmatters.studies.records import CellPlace, read_json, write_json
from srcmatters.studies.study_file import Study


class TrackedStudy:
    """The parent run of a study; the same one is continued when the study is resumed.

    Args:
        study: with an absolute ``tracking_uri``.
        study_dir: its folder.
        cells: all of them.
        parent_run_id: of the run that was interrupted, None for a new study.
    """

    def __init__(
        self, study: Study, study_dir: Path, cells: Iterable[Cell], parent_run_id: str | None = None
    ) -> None:
        self.study = study
        self.study_dir = study_dir
        self.continued = parent_run_id
        axes = {
            axis: ", ".join(str(choice.name) for choice in choices) for axis, choices in study.axes.items()
        }
        # A path may name a person or a project.
        self.sources = list(dict.fromkeys(str(cell.axes.get("source")) for cell in cells))
        axes["source"] = ", ".join(self.sources)
        tags = {f"study.{axis}": text[:500] for axis, text in axes.items()}
        tags |= {"study": study.name, "depth": study.depth, "bundle": study.bundle.name}
        self.tracker = Tracker(
            study.tracking_uri,
            study.name,
            {},
            tags=tags,
            system_metrics=False,
            name=f"study {study.name}",
            continues=parent_run_id,
        )

    def opened(self) -> None:
        """Record what was declared before anything ran, and end what killed workers left open."""
        if self.tracker.run_id is None:
            return
        self.end_killed_cells()
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            declared = places_left_out(self.study.as_file())
            declared["axes"]["source"] = self.sources
            declared["overrides"] = places_left_out(self.study.overrides)
            (folder / STUDY_FILE).write_text(yaml.safe_dump(declared, sort_keys=False, allow_unicode=True))
            plan = yaml.safe_dump(dict(self.study.analysis), sort_keys=False)
            (folder / "analysis_plan.yaml").write_text(plan)
            self.tracker.log_folder(folder)

    def end_killed_cells(self, status: str = "FAILED") -> None:
        """Give the runs of workers that are gone the status that they could not give themselves."""
        if self.tracker.run_id is not None:
            import mlflow

            end_dead_runs(mlflow.MlflowClient(), str(self.tracker.experiment_id), status)

    def log_files(self, folder: Path) -> None:
        """Tables, figures, the report."""
        self.tracker.log_folder(folder)

    def describe(self, text: str) -> None:
        """Set what MLflow shows at the top of the parent run.

        Args:
            text: Markdown.
        """
        if self.tracker.run_id is not None:
            import mlflow

            mlflow.MlflowClient().set_tag(self.tracker.run_id, "mlflow.note.content", text)

    def forget_lost(self, cells: Iterable[Cell]) -> None:
        """Note which finished cells a new store lacks: it has a new parent run, its database was deleted."""
        if self.tracker.run_id is None or self.continued in (None, self.tracker.run_id):
            return
        for place in (CellPlace(self.study_dir, cell.cell_id) for cell in cells):
            if place.is_finished():
                write_json(place.record, {**read_json(place.record), "tracked": False})

    def log_missing(self, cells: Iterable[Cell]) -> int:
        """Log finished cells that MLflow did not get; returns how many.

        Raises:
            InputError: the store is still not there.
        """
        if self.tracker.run_id is None:
            return 0
        missing = [place for cell in cells if _is_missing(place := CellPlace(self.study_dir, cell.cell_id))]
        known = self._known_cells() if missing else set()
        for place in missing:
            if place.cell_id not in known:
                self._log_from_disk(place)
            write_json(place.record, {**_without_error(read_json(place.record)), "tracked": True})
        return len(missing)

    def _known_cells(self) -> set[str]:
        """Cells with a complete run: a worker may be killed between that and its record."""
        import mlflow

        experiments = [str(self.tracker.experiment_id)]
        parent = f"tags.mlflow.parentRunId = '{self.tracker.run_id}' and attributes.status = 'FINISHED'"
        runs = mlflow.MlflowClient().search_runs(experiments, parent, max_results=50_000)
        return {run.data.tags.get("cell", "") for run in runs}

    def _log_from_disk(self, place: CellPlace) -> None:
        result = read_json(place.folder / METRICS)
        figures = {name: value for name, value in result.items() if isinstance(value, (int, float))}
        child = Tracker(
            self.study.tracking_uri,
            self.study.name,
            result.get("settings", {}),
            parent_run_id=self.tracker.run_id,
            tags={"study": self.study.name, "cell": place.cell_id, "logged_later": True},
            system_metrics=False,
        )
        with tempfile.TemporaryDirectory() as name:
            shutil.copy(place.folder / METRICS, name)
            predictions = place.folder / PREDICTIONS
            if predictions.is_file():
                hidden = pseudonymise(read_tested(predictions, result["settings"]["confounder"]))
                write_csv(hidden, Path(name) / predictions.name)
            with child.run():
                child.log_metrics(figures)
                child.log_folder(Path(name))


def _is_missing(place: CellPlace) -> bool:
    return place.is_finished() and not read_json(place.record).get("tracked", False)


def _without_error(record: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in record.items() if name != "tracking_error"}
