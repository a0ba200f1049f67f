"""What an executor is: it runs cells somewhere and hands back how they went."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

Status = Literal["finished", "failed", "lost"]


@dataclass(frozen=True)
class CellTask:
    """A cell on its way to a worker: plain values only, so that it can be pickled to any machine.

    Args:
        cell_id: name of the cell and of its folder.
        study_dir: absolute path of the study; workers and driver see the same files there.
        config_files: absolute paths of the bundle's configuration, overlays last.
        overrides: ids of the configuration with their values, ``output_dir`` included.
        run_id: id of the configuration that is run.
        axes: what distinguishes the cell, for records.
    """

    cell_id: str
    study_dir: str
    config_files: tuple[str, ...]
    overrides: Mapping[str, Any]
    run_id: str = "training"
    axes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """How a cell went.

    Args:
        cell_id: name of the cell.
        status: "finished": its files are complete on disk; "failed": the bundle raised an error; "lost": the
            worker died (killed, out of memory, its machine gone), nothing is known about the cell itself.
        seconds: from the first line of the cell to its last, imports of the worker not counted.
        error: one line; empty if finished.
        traceback: all of it; empty if finished or lost.
        mistake: the error is the user's (:class:`srcmatters.errors.InputError`): a retry would not help.
        worker: where it ran, for people: "pid 4711", "node 10.0.0.2".
    """

    cell_id: str
    status: Status
    seconds: float = 0.0
    error: str = ""
    traceback: str = ""
    mistake: bool = False
    worker: str = ""


class Executor(Protocol):
    """Runs cells on workers that live longer than a cell, so that imports are paid once.

    The driver (:class:`srcmatters.studies.runner.StudyRun`) decides the order, retries and records; an
    executor only runs what it is given, by calling :func:`srcmatters.studies.cell_run.run_cell` on a worker
    (after ``import_bundles`` of the same module, which pays the imports), and returns its outcome. The driver
    calls every method from one thread. It never has more than ``capacity`` cells submitted, each cell at most
    once at a time.

    What an executor has to guarantee:

    - Every submitted cell comes back exactly once from :meth:`outcomes`, with "lost" if its worker is gone.
      A lost worker is replaced, without disturbing the others. The driver submits a lost cell again.
    - A worker that loses its driver stops within seconds. What it writes until then is harmless: a cell holds
      a lock on its folder, its files appear only when they are complete, and a second worker that finds
      them there returns "finished" at once.
    - :meth:`shutdown` ends all workers within ``grace`` seconds, whatever they are doing.
    """

    @property
    def capacity(self) -> int:
        """How many cells can run at the same time now; at least 1, and it may change."""
        ...

    def submit(self, task: CellTask) -> None:
        """Start a cell. Returns at once; raises only what makes the whole executor useless (InputError)."""
        ...

    def outcomes(self, timeout: float) -> Sequence[Outcome]:
        """Wait for outcomes, at most ``timeout`` seconds, and return all that are there (perhaps none)."""
        ...

    def shutdown(self, grace: float = 5.0) -> None:
        """Stop: running cells are interrupted (as by Ctrl-C), and killed after ``grace`` seconds."""
        ...
