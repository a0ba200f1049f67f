"""One cell in one worker: the bundle's workflow, its output in a log, its end in a record."""

from __future__ import annotations

import gc
import os
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

from srcmatters.errors import InputError, find_input_error
from srcmatters.studies.executors.base import CellTask, Outcome
from srcmatters.studies.records import CellPlace, now, write_json


def import_bundles() -> None:
    """Pay the imports of a worker (ten seconds and more) before its first cell.

    What was imported is there to stay: garbage collection after a cell need not look at it again, which takes
    .4 s for these libraries.
    """
    import mlflow  # noqa: F401
    import monai.bundle  # noqa: F401

    import srcmatters.training  # noqa: F401

    gc.collect()
    gc.freeze()


def run_cell(task: CellTask) -> Outcome:
    """Run a cell unless it is finished; never raises but for an interruption.

    Args:
        task: the cell.

    Returns:
        "finished" or "failed". A cell whose results are complete is finished even if MLflow was lost
        afterwards: its record says so, and they are logged later.
    """
    started = time.perf_counter()
    place = CellPlace(Path(task.study_dir), task.cell_id)
    error: Exception | None = None
    try:
        with place.claimed():
            if not place.is_finished():
                error = _run_and_record(task, place)
    except Exception as caught:
        error = caught
    seconds = time.perf_counter() - started
    worker = f"pid {os.getpid()}"
    if error is None:
        return Outcome(task.cell_id, "finished", seconds, worker=worker)
    text = "".join(traceback.format_exception(error))
    mistake = find_input_error(error) is not None
    return Outcome(task.cell_id, "failed", seconds, one_line(error), text, mistake, worker)


def one_line(error: BaseException) -> str:
    """What went wrong in one line: the user's mistake, or what everything else was caused by."""
    mistake = find_input_error(error)
    if mistake is not None:
        return str(mistake)
    while error.__cause__ is not None:
        error = error.__cause__
    message = " ".join(str(error).split())[:300]
    return f"{type(error).__name__}: {message}" if message else type(error).__name__


def _run_and_record(task: CellTask, place: CellPlace) -> Exception | None:
    """Returns what went wrong, None if the results are complete."""
    started = time.perf_counter()
    untracked = ""
    with _printed_to(place.log):
        try:
            _run_workflow(task, {})
        except Exception as error:
            if place.is_finished():  # complete on disk: only MLflow did not get everything
                untracked = one_line(error)
            elif _store_is_lost(error) and task.overrides.get("tracking_uri"):
                untracked = one_line(error)
                _run_workflow(task, {"tracking_uri": "", "parent_run_id": None})
            else:
                traceback.print_exception(error)
                return error
    if not place.is_finished():
        return InputError(f"{place.folder}: the bundle left no metrics.json, expected the results of a run")
    tracked = bool(task.overrides.get("tracking_uri")) and not untracked
    seconds = time.perf_counter() - started
    record: dict[str, Any] = {"cell": task.cell_id, "axes": dict(task.axes), "seconds": round(seconds, 3)}
    record |= {"finished": now(), "worker": f"pid {os.getpid()}", "tracked": tracked}
    write_json(place.record, {**record, **({"tracking_error": untracked} if untracked else {})})
    return None


def _store_is_lost(error: Exception) -> bool:
    """MLflow was there when the study started: losing it must not cost results."""
    mistake = find_input_error(error)
    return mistake is not None and str(mistake).startswith("tracking_uri:")


def _run_workflow(task: CellTask, changed: dict[str, Any]) -> None:
    from monai.bundle import ConfigWorkflow

    workflow = ConfigWorkflow(
        config_file=list(task.config_files),
        run_id=task.run_id,
        logging_file=False,
        workflow_type="train",
        **{**task.overrides, **changed},
    )
    workflow.initialize()
    try:
        workflow.run()
    finally:
        workflow.finalize()
        del workflow
        gc.collect()  # engines and handlers refer to each other; the next cell needs their memory


@contextmanager
def _printed_to(path: Path) -> Iterator[None]:
    """Send everything that is printed, by this process and those it starts, to the end of a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    kept = [os.dup(descriptor) for descriptor in (1, 2)]
    try:
        with (
            path.open("a", encoding="utf-8", buffering=1) as file,
            redirect_stdout(file),
            redirect_stderr(file),
        ):
            for descriptor in (1, 2):
                os.dup2(file.fileno(), descriptor)
            yield
    finally:
        for descriptor, before in zip((1, 2), kept, strict=True):
            os.dup2(before, descriptor)
            os.close(before)
