"""What a person sees while a study runs."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol, TextIO

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from srcmatters.numbers import counted
from srcmatters.studies.cells import Cell
from srcmatters.studies.executors.base import Outcome
from srcmatters.studies.quantities import spelled_seconds


class StudyProgress(Protocol):
    """Is told of every cell."""

    def shown(self, cells: int) -> AbstractContextManager[None]:
        """While these cells run."""
        ...

    def advance(self, cell: Cell, outcome: Outcome) -> None:
        """A cell has come back for good."""
        ...


class Silent:
    """Says nothing, for whoever counts cells otherwise."""

    @contextmanager
    def shown(self, cells: int) -> Iterator[None]:
        """While these cells run."""
        yield

    def advance(self, cell: Cell, outcome: Outcome) -> None:
        """A cell has come back for good."""


class Lines:
    """A line for each cell, for a log file or a pipe.

    Args:
        stream: where they go, None: the standard error of the moment.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream
        self._done = self._cells = 0
        self._started = 0.0

    @contextmanager
    def shown(self, cells: int) -> Iterator[None]:
        """While these cells run."""
        self._cells, self._done, self._started = cells, 0, time.monotonic()
        self._say(f"{counted(cells, 'cell')} to run")
        yield

    def advance(self, cell: Cell, outcome: Outcome) -> None:
        """A cell has come back for good."""
        self._done += 1
        seconds = time.monotonic() - self._started
        left = spelled_seconds(seconds / self._done * (self._cells - self._done))
        end = "" if outcome.status == "finished" else f" failed: {outcome.error}"
        self._say(f"{self._done}/{self._cells} {cell.cell_id}{end} (left: {left})")

    def _say(self, line: str) -> None:
        print(line, file=self._stream or sys.stderr, flush=True)


class Bar:
    """A bar with the time that is left, the last cell beside it, and failures above it.

    Args:
        console: where it is drawn.
    """

    def __init__(self, console: Console) -> None:
        columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("left:"))
        text = TextColumn("{task.description}")
        self._bar = Progress(*columns, TimeRemainingColumn(), text, console=console, transient=True)
        self._task = self._bar.add_task("starting workers", total=None)

    @contextmanager
    def shown(self, cells: int) -> Iterator[None]:
        """While these cells run."""
        self._bar.update(self._task, total=cells)
        with self._bar:
            yield

    def advance(self, cell: Cell, outcome: Outcome) -> None:
        """A cell has come back for good."""
        if outcome.status != "finished":
            self._bar.console.print(f"[red]failed[/red] {escape(cell.cell_id)}: {escape(outcome.error)}")
        self._bar.update(self._task, advance=1, description=escape(cell.cell_id))
