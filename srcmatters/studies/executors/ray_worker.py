"""What a Ray cluster runs for a study: a local executor with one worker, on whichever node Ray puts it."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from srcmatters import __version__
from srcmatters.studies.executors.base import CellTask, Outcome
from srcmatters.studies.executors.local import LocalExecutor

# How soon a running cell hears that it is to stop.
_POLL_SECONDS = 0.25


class RayWorker:
    """A Ray actor that runs cells one after the other, each in the same process beside it.

    Why not in the actor itself: a method of an actor cannot be interrupted, so Ctrl-C could only kill. A
    process of :class:`srcmatters.studies.executors.local.LocalExecutor` is interrupted as on one machine; if
    it is killed, the actor knows by which signal and starts another; and what a bundle prints stays out of
    Ray's own logs. It ends with the actor, and Ray ends the actor with its driver. The GPU (or the share of
    one) that Ray gives the actor is in ``CUDA_VISIBLE_DEVICES``, which the process inherits and keeps.

    Args:
        environment: of the process; a variable that the node has set itself is left as it is.
        threads: environment of the process that counts threads; it replaces what the node has set.
    """

    def __init__(self, environment: Mapping[str, str], threads: Mapping[str, str]) -> None:
        missing = {name: value for name, value in environment.items() if name not in os.environ}
        self._executor = LocalExecutor([{**missing, **threads}])
        self._host = socket.gethostname()
        self._stopping = threading.Event()
        self._grace = 0.0

    def ready(self) -> tuple[str, str]:
        """Name of the node, and the version of this package there."""
        return self._host, __version__

    def run(self, task: CellTask) -> Outcome | None:
        """Run a cell to its end; None if :meth:`stop` came first."""
        if not Path(task.study_dir).is_dir():
            return self._without_the_study(task)
        self._executor.submit(task)
        while not self._stopping.is_set():
            for outcome in self._executor.outcomes(_POLL_SECONDS):
                return replace(outcome, worker=f"node {self._host}, {outcome.worker}")
        self._executor.shutdown(self._grace)
        return None

    def stop(self, grace: float) -> None:
        """Interrupt the running cell as by Ctrl-C; it is killed after ``grace`` seconds. Returns at once."""
        self._grace = grace
        self._stopping.set()

    def _without_the_study(self, task: CellTask) -> Outcome:
        """Results would be written where the driver never finds them."""
        error = (
            f"output_dir: {task.study_dir} is not there on a node of the Ray cluster,"
            " expected a file system that the driver and all nodes share"
        )
        where = f"node {self._host}"
        return Outcome(task.cell_id, "failed", 0.0, error, f"{where}: {error}", mistake=True, worker=where)
