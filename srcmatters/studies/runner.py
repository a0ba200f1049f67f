"""The driver: hands cells to an executor, records how they went, and can be stopped at any moment."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from srcmatters.clean_shutdown import signals_handled
from srcmatters.errors import InputError
from srcmatters.runs.file_names import MANIFEST, STUDY_FILE
from srcmatters.runs.mlflow_store import absolute_store, require_usable
from srcmatters.studies.cell_queue import CellQueue
from srcmatters.studies.cells import Cell, bundle_config, expand, task_of
from srcmatters.studies.executors.base import Executor, Outcome
from srcmatters.studies.progress import Silent, StudyProgress
from srcmatters.studies.records import CellPlace, StudyLock, now, read_json, write_json
from srcmatters.studies.state import plan_changes, strangers
from srcmatters.studies.study_file import Study
from srcmatters.studies.tracked_study import TrackedStudy

_POLL_SECONDS = 1.0


@dataclass(frozen=True)
class StudyEnd:
    """How a run of a study ended.

    Args:
        finished: cells that are complete now, those of earlier runs included.
        computed: cells of this run.
        failed: the last outcome of each failed cell.
        remarks: one line each: what a person should know.
        where_to_look: how to open the comparison in MLflow; empty without tracking.
    """

    finished: int
    computed: int
    failed: dict[str, Outcome]
    remarks: tuple[str, ...]
    where_to_look: str = ""


class StudyRun:
    """One run of a study: everything that is not finished yet.

    Args:
        study: what to run.
        study_dir: where it goes.
        executor: makes the executor; called when there is something to run.
        progress: told of every cell.
        check: called with the cells before anything starts; raises what is wrong with all of them.
        conclude: called with the study's folder when all cells are there; returns the folder of what it made.
        limit: run so many cells at most, None: all.
    """

    def __init__(
        self,
        study: Study,
        study_dir: Path,
        executor: Callable[[], Executor],
        progress: StudyProgress | None = None,
        check: Callable[[Sequence[Cell]], None] | None = None,
        conclude: Callable[[Path], Path] | None = None,
        limit: int | None = None,
    ) -> None:
        self.study = replace(study, tracking_uri=absolute_store(study.tracking_uri))
        self.study_dir = study_dir.absolute()
        self.executor = executor
        self.progress = progress or Silent()
        self.check = check
        self.conclude = conclude
        self.limit = limit
        self.remarks: list[str] = []

    def run(self) -> StudyEnd:
        """Run what is not finished.

        Raises:
            InputError: something that concerns the whole study: its file, its data, its folder, the MLflow
                server before anything has started, a full disk.
            KeyboardInterrupt: Ctrl-C or SIGTERM; workers have been stopped, everything can be resumed.
        """
        cells = expand(self.study)
        with _sigterm_is_ctrl_c(), _full_disk_in_one_line(self.study_dir):
            pending = self._pending(cells)
            if pending and self.check is not None:
                self.check(pending)
            # A server that is lost meanwhile is not waited for in every cell.
            os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
            os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
            require_usable(self.study.tracking_uri)
            # A study that is refused leaves no folder, so the checks come before the lock, which makes it.
            with StudyLock(self.study_dir).held():
                return self._run(cells)

    def _run(self, cells: Sequence[Cell]) -> StudyEnd:
        pending = self._pending(cells)
        manifest = self._declare(cells, len(cells) - len(pending))
        tracked = TrackedStudy(self.study, self.study_dir, cells, manifest.get("parent_run_id"))
        with self._tracking(tracked):
            tracked.forget_lost(cells)
            write_json(self.study_dir / MANIFEST, {**manifest, "parent_run_id": tracked.tracker.run_id})
            queue = self._drive(pending[: self.limit], tracked)
            self._finish(tracked, cells, queue)
        finished = sum(self._place(cell).is_finished() for cell in cells)
        address = tracked.tracker.where_to_look() if tracked.tracker.run_id is not None else ""
        return StudyEnd(finished, len(queue.finished), queue.failed, tuple(self.remarks), address)

    def _pending(self, cells: Sequence[Cell]) -> list[Cell]:
        return [cell for cell in cells if not self._place(cell).is_finished()]

    def _place(self, cell: Cell) -> CellPlace:
        return CellPlace(self.study_dir, cell.cell_id)

    def _declare(self, cells: Sequence[Cell], finished: int) -> dict[str, Any]:
        """Write down what is going to be done before doing it."""
        ids = [cell.cell_id for cell in cells]
        before = read_json(self.study_dir / MANIFEST)
        changes = plan_changes(before, self.study.analysis, finished)
        if len(changes) > len(before.get("analysis_changes", [])):
            self.remarks.append(
                f"the analysis plan was changed after {finished} cells had finished; it is noted"
            )
        others = len(strangers(self.study_dir, ids))
        if others:
            self.remarks.append(
                f"{others} finished cells of another configuration are in {self.study_dir / 'cells'} as well"
            )
        declared = yaml.safe_dump(self.study.as_file(), sort_keys=False, allow_unicode=True)
        (self.study_dir / STUDY_FILE).write_text(declared)
        return {
            "name": self.study.name,
            "started": before.get("started", now()),
            "parent_run_id": before.get("parent_run_id"),
            "analysis": dict(self.study.analysis),
            "analysis_changes": changes,
            "cells": {cell.cell_id: dict(cell.axes) for cell in cells},
        }

    @contextmanager
    def _tracking(self, tracked: TrackedStudy) -> Iterator[None]:
        """The parent run; a store that is lost on the way costs nothing but a remark."""
        done = False
        try:
            with tracked.tracker.run():
                tracked.opened()
                yield
                done = True
        except Exception as error:
            if not done or isinstance(error, InputError):
                raise
            self.remarks.append(f"tracking_uri: MLflow could not end the run of the study ({error})")

    def _drive(self, pending: Sequence[Cell], tracked: TrackedStudy) -> CellQueue:
        queue = CellQueue(pending, self.study.retries)
        config = bundle_config(self.study)
        run_id = tracked.tracker.run_id
        if not pending:
            return queue
        with (
            _interruption_recorded(tracked),
            self.progress.shown(len(pending)),
            self._workers() as executor,
        ):
            while queue:
                while queue.waiting and len(queue.running) < executor.capacity:
                    cell = queue.next()
                    executor.submit(task_of(cell, self.study, self.study_dir, config, run_id))
                for outcome in executor.outcomes(_POLL_SECONDS):
                    self._settle(queue, outcome)
                mistake = queue.common_mistake()
                if mistake:
                    raise InputError(mistake)
        return queue

    @contextmanager
    def _workers(self) -> Iterator[Executor]:
        executor = self.executor()
        try:
            yield executor
        finally:
            executor.shutdown()

    def _settle(self, queue: CellQueue, outcome: Outcome) -> None:
        cell = queue.running[outcome.cell_id]
        final = queue.settle(outcome)
        place = self._place(cell)
        if outcome.status == "finished":
            place.failure.unlink(missing_ok=True)
        elif final:
            failure: dict[str, Any] = {"cell": cell.cell_id, "axes": dict(cell.axes), "error": outcome.error}
            failure |= {"attempts": queue.attempts[cell.cell_id], "mistake": outcome.mistake, "time": now()}
            write_json(place.failure, {**failure, "log": str(place.log), "traceback": outcome.traceback})
        if final:
            self.progress.advance(cell, outcome)

    def _finish(self, tracked: TrackedStudy, cells: Sequence[Cell], queue: CellQueue) -> None:
        """What is left to do when the last cell has come back; none of it can cost a result."""
        try:
            tracked.end_killed_cells()
            logged = tracked.log_missing(cells)
            if logged:
                self.remarks.append(f"{logged} cells were logged to MLflow from their files")
        except Exception as error:  # a store raises what it likes
            self.remarks.append(
                f"MLflow is not there any more ({' '.join(str(error).split())[:200]}): no result is lost,"
                " run the study again to log what is missing"
            )
        if queue.failed or self.conclude is None:
            return
        try:
            tracked.log_files(self.conclude(self.study_dir))
            from srcmatters.studies.conclusion import description  # imports the analysis, which takes seconds

            tracked.describe(description(self.study_dir))
        except Exception as error:
            self.remarks.append(
                f"the cells are complete, but not the report: {' '.join(str(error).split())[:300]}"
            )


@contextmanager
def _interruption_recorded(tracked: TrackedStudy) -> Iterator[None]:
    """MLflow hears of an interruption even from workers that it caught while they opened their run."""
    try:
        yield
    except KeyboardInterrupt:
        with suppress(Exception):  # a store raises what it likes; the next run of the study ends them
            tracked.end_killed_cells("KILLED")
        raise


@contextmanager
def _sigterm_is_ctrl_c() -> Iterator[None]:
    """A scheduler that ends a job sends SIGTERM; it deserves as clean an end."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with signals_handled(interrupt, signal.SIGTERM):
        yield


@contextmanager
def _full_disk_in_one_line(study_dir: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        message = (
            f"output_dir: no space left for {study_dir}; everything finished is kept, run the study again"
        )
        raise InputError(message) from error
