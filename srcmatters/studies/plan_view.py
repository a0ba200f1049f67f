"""The plan of a study as a table."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from srcmatters.studies.cells import Cell
from srcmatters.studies.costs import estimate_disk
from srcmatters.studies.quantities import spelled_bytes, spelled_seconds
from srcmatters.studies.records import CellPlace, read_json
from srcmatters.studies.study_file import Study


def print_plan(study: Study, cells: Sequence[Cell], study_dir: Path, workers: int) -> None:
    """Print the grid, what is finished, and what the rest will take.

    Args:
        study: to be run.
        cells: all of them, see :func:`srcmatters.studies.cells.expand`.
        study_dir: where it goes, and where finished cells may be already.
        workers: cells at a time.
    """
    places = [CellPlace(study_dir.absolute(), cell.cell_id) for cell in cells]
    finished = [place for place in places if place.is_finished()]
    records = [read_json(place.record) for place in finished]
    seconds = [float(record["seconds"]) for record in records if "seconds" in record]
    grid = " × ".join(f"{len(choices)} {axis}" for axis, choices in study.axes.items())
    controls = sum(cell.axes.get("control", "none") != "none" for cell in cells)
    table = Table(title=escape(f"study {study.name}"), title_justify="left", show_header=False)
    table.add_row("bundle", escape(study.bundle.name))
    table.add_row("depth, protocol", f"{study.depth}, {study.protocol}")
    table.add_row("grid", grid)
    table.add_row("cells", str(len(cells)) + (f", {controls} of them null controls" if controls else ""))
    table.add_row("finished", f"{len(finished)} in {escape(str(study_dir))}")
    table.add_row("time left", _time(seconds, len(cells) - len(finished), workers))
    disk = estimate_disk(study, cells)
    if disk is not None:
        cached = f"{spelled_bytes(disk.images)} images, {spelled_bytes(disk.features)} features (cache)"
        table.add_row("disk", f"{cached}, {spelled_bytes(disk.models)} models")
    console = Console(width=None if sys.stdout.isatty() else 140)
    console.print(table)
    for cell in cells[:5]:
        console.print(f"  {escape(cell.cell_id)}", highlight=False)
    if len(cells) > 5:
        console.print(
            f"  ... and {len(cells) - 5} more, in this order: p_art's extremes first, sources together"
        )


def _time(seconds: Sequence[float], left: int, workers: int) -> str:
    if not left:
        return "none"
    if not seconds:
        return "unknown: no cell has been timed; --time-one runs the first"
    each = statistics.median(seconds)
    basis = f"{left} × {each:.3g} s (median of {len(seconds)} finished) on {workers} workers"
    return f"{spelled_seconds(left * each / workers)} = {basis}"
