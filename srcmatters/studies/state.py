"""How far a study is, read from its files alone."""

from __future__ import annotations

import json
import socket
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from srcmatters.errors import InputError
from srcmatters.runs.file_names import MANIFEST
from srcmatters.studies.records import CellPlace, read_json

#: Cells, their axes, the MLflow run: what the driver knew when it started.


@dataclass(frozen=True)
class StudyState:
    """How far a study is.

    Args:
        name: of the study.
        cells: identifiers of all cells, in the order in which they run.
        finished: those that are complete.
        failures: what is recorded of those that failed and have not been finished since.
        running: who works on which cell.
        seconds: of each finished cell whose record says so.
        driver: process that runs the study, empty if none does.
    """

    name: str
    cells: tuple[str, ...]
    finished: tuple[str, ...]
    failures: Mapping[str, Mapping[str, Any]]
    running: Mapping[str, Mapping[str, Any]]
    seconds: Mapping[str, float]
    driver: Mapping[str, Any]

    @property
    def waiting(self) -> int:
        """Cells that are neither finished, nor failed, nor being worked on."""
        done = {*self.finished, *self.failures, *self.running}
        return sum(cell not in done for cell in self.cells)

    def seconds_left(self, workers: int | None = None) -> float | None:
        """Estimated seconds until the last cell, from the median of the finished ones; None if unknown.

        Args:
            workers: cells at a time; None: as many as are running now, at least one.
        """
        if not self.seconds:
            return None
        left = self.waiting + len(self.running) / 2
        return left * statistics.median(self.seconds.values()) / max(1, workers or len(self.running))


def read_state(study_dir: str | Path) -> StudyState:
    """Read how far a study is; no connection to its driver is needed.

    Raises:
        InputError: no study has been started there.
    """
    study_dir = Path(study_dir)
    manifest = read_json(study_dir / MANIFEST)
    if "cells" not in manifest:
        raise InputError(f"{study_dir}: no {MANIFEST} in this folder, expected that of a study")
    ids = tuple(manifest["cells"])
    places = [CellPlace(study_dir, cell_id) for cell_id in ids]
    finished = tuple(place.cell_id for place in places if place.is_finished())
    done = set(finished)
    records = {place.cell_id: read_json(place.record) for place in places if place.cell_id in done}
    left = [place for place in places if place.cell_id not in done]
    return StudyState(
        str(manifest.get("name", study_dir.name)),
        ids,
        finished,
        {place.cell_id: failure for place in left if (failure := read_json(place.failure))},
        {place.cell_id: running for place in left if (running := _alive(place.running))},
        {name: float(record["seconds"]) for name, record in records.items() if "seconds" in record},
        _alive(study_dir / ".running" / "driver.json"),
    )


def _alive(path: Path) -> dict[str, Any]:
    """Who wrote the file, unless it is known to be gone."""
    who = read_json(path)
    if who.get("host") == socket.gethostname() and not psutil.pid_exists(int(who.get("pid", 0))):
        return {}
    return who


def strangers(study_dir: Path, cell_ids: Sequence[str]) -> list[str]:
    """Finished cells in the folder that are none of the study: of another configuration or grid."""
    known = set(cell_ids)
    folders = sorted((study_dir / "cells").glob("*"))
    return [
        path.name
        for path in folders
        if path.name not in known and CellPlace(study_dir, path.name).is_finished()
    ]


def plan_changes(
    manifest: Mapping[str, Any], analysis: Mapping[str, Any], finished: int
) -> list[dict[str, Any]]:
    """Analysis plans that were declared and replaced after results had been there.

    Args:
        manifest: of the run before.
        analysis: the plan now.
        finished: cells that are complete by now.
    """
    changes = list(manifest.get("analysis_changes", []))
    before = manifest.get("analysis")
    if (
        before is not None
        and finished
        and json.dumps(before, sort_keys=True) != json.dumps(dict(analysis), sort_keys=True)
    ):
        changes.append({"before": before, "finished_cells": finished})
    return changes
