"""The plan of a study as a table."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from srcmatters.cohorts import open_cohort
from srcmatters.cohorts.folds import split_column
from srcmatters.evaluation.analysis_plan import AnalysisPlan
from srcmatters.evaluation.estimates import LEAST_TRAININGS
from srcmatters.evaluation.planning import (
    CLEAN_AUC,
    RUN_SPREAD,
    SEED_SPREAD,
    StudySize,
    patients_for,
    smallest_difference,
    smallest_margin,
)
from srcmatters.numbers import counted, number
from srcmatters.runs.file_names import TRAINING
from srcmatters.studies.cells import Cell, bundle_config, count_trainings
from srcmatters.studies.costs import estimate_disk
from srcmatters.studies.quantities import spelled_bytes, spelled_seconds
from srcmatters.studies.records import CellPlace, read_json
from srcmatters.studies.study_file import Study

_ENOUGH_SEEDS = 5  # fewer say hardly anything of how seeds differ


def print_plan(
    study: Study, cells: Sequence[Cell], study_dir: Path, workers: int, detect: float | None = None
) -> None:
    """Print the grid, what is finished, what the rest will take, and what the study can show.

    Args:
        study: to be run.
        cells: all of them, see :func:`srcmatters.studies.cells.expand`.
        study_dir: where it goes, and where finished cells may be already.
        workers: cells at a time.
        detect: a difference of two sources' leans; what it would take to show it is printed.
    """
    places = [CellPlace(study_dir.absolute(), cell.cell_id) for cell in cells]
    finished = [place for place in places if place.is_finished()]
    seconds = _seconds(finished)
    done = {place.cell_id for place in finished}
    pending, complete = (
        [cell for cell in cells if (cell.cell_id in done) is there] for there in (False, True)
    )
    grid = " × ".join(f"{len(choices)} {axis}" for axis, choices in study.axes.items())
    controls = sum(cell.axes.get("control", "none") != "none" for cell in cells)
    table = Table(title=escape(f"study {study.name}"), title_justify="left", show_header=False)
    table.add_row("bundle", escape(study.bundle.name))
    table.add_row("depth, protocol", f"{study.depth}, {study.protocol}")
    table.add_row("grid", grid)
    table.add_row("cells", str(len(cells)) + (f", {controls} of them null controls" if controls else ""))
    left = max(count_trainings(pending, complete), min(1, len(pending)))
    trainings = count_trainings(cells)
    if trainings < len(cells):
        shared = f"{trainings}: at p_art 0 one serves every confounder that is put into images"
        table.add_row("training runs", shared)
    table.add_row("finished", f"{len(finished)} in {escape(str(study_dir))}")
    table.add_row("time left", _time(seconds, left, workers))
    disk = estimate_disk(study, cells)
    if disk is not None:
        cached = f"{spelled_bytes(disk.images)} images, {spelled_bytes(disk.features)} features (cache)"
        table.add_row("disk", f"{cached}, {spelled_bytes(disk.models)} models")
    for name, text in _what_can_be_shown(study, cells, detect):
        table.add_row(name, text)
    console = Console(width=None if sys.stdout.isatty() else 140)
    console.print(table)
    for cell in cells[:5]:
        console.print(f"  {escape(cell.cell_id)}", highlight=False)
    if len(cells) > 5:
        console.print(
            f"  ... and {len(cells) - 5} more, in this order: p_art's extremes first, sources together"
        )


def _what_can_be_shown(study: Study, cells: Sequence[Cell], detect: float | None) -> list[tuple[str, str]]:
    size = _size(study, cells)
    if size is None:
        return []
    plan = AnalysisPlan.from_mapping(study.analysis)
    lean, margin = (number(one(size, plan.confidence), 3) for one in (smallest_difference, smallest_margin))
    shown = f"a difference of two leans of {lean} AUC, or that two are within ±{margin} (80 % power)"
    patients = f"{size.positives} patients with a positive and {size.negatives} with a negative image"
    counts = [patients, counted(size.folds, "fold"), counted(size.seeds, "seed")]
    assumed = f"clean AUC {number(CLEAN_AUC)}, runs differ by {number(RUN_SPREAD)}"
    assumed += f", seeds by {number(SEED_SPREAD)}"
    rows = [("can show", shown), ("", f"from {', '.join(counts)}; assumed: {assumed}")]
    if study.depth == "finetune" and size.folds * size.seeds < LEAST_TRAININGS:
        few = f"{counted(size.folds * size.seeds, 'training')} of a cell cannot show how trainings differ"
        rows.append(("trainings", f"{few}: sentences will be about these alone; --fold 0,1,2 or more seeds"))
    if size.seeds < _ENOUGH_SEEDS:
        more = number(smallest_difference(replace(size, seeds=_ENOUGH_SEEDS), plan.confidence), 3)
        few = f"{counted(size.seeds, 'seed')} cannot show how much seeds differ"
        rows.append(("seeds", f"{few}: --seed 0,1,2,3,4 ({more} then)"))
    if detect is not None:
        for seeds in sorted({size.seeds, _ENOUGH_SEEDS}):
            needed = patients_for(detect, replace(size, seeds=seeds), plan.confidence)
            what = "more folds or seeds" if needed is None else counted(needed, "patient")
            rows.append((f"to show {number(detect)}", f"{what} with {counted(seeds, 'seed')}"))
    return rows


def _size(study: Study, cells: Sequence[Cell]) -> StudySize | None:
    """Patients, folds and seeds; None for a bundle that does not say what it loads."""
    config = bundle_config(study)
    if "case_table" not in config or not cells:
        return None
    one = {**config, **cells[0].overrides}
    table = open_cohort(one["dataset_dir"], one["cases"], one.get("modality", "xray"))
    column = split_column(table, int(one.get("fold", 0)))
    if column is not None:
        table = table[table[column] == "test"]
    patients = table.groupby("label")["patient_id"].nunique()
    counts = [
        len({cell.overrides.get(name, config.get(name, 0)) for cell in cells}) for name in ("fold", "seed")
    ]
    return StudySize(int(patients.get(1, 0)), int(patients.get(0, 0)), *counts)


def _seconds(finished: Sequence[CellPlace]) -> list[float]:
    """Of each finished cell, those that took over a training run left out while others are there."""
    own: list[float] = []
    taken_over: list[float] = []
    for place in finished:
        record = read_json(place.record)
        trained_by = read_json(place.folder / TRAINING).get("trained_by", place.cell_id)
        if "seconds" in record:
            (own if trained_by == place.cell_id else taken_over).append(float(record["seconds"]))
    return own or taken_over


def _time(seconds: Sequence[float], left: int, workers: int) -> str:
    if not left:
        return "none"
    if not seconds:
        return "unknown: no cell has been timed; --time-one runs the first"
    each = statistics.median(seconds)
    basis = f"{left} × {each:.3g} s (median of {len(seconds)} finished) on {workers} workers"
    return f"{spelled_seconds(left * each / workers)} = {basis}"
