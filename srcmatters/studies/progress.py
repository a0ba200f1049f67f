"""What a person sees while a study runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

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

from srcmatters.studies.cells import Cell
from srcmatters.studies.executors.base import Outcome


class StudyProgress(Protocol):
    """Is told of every cell."""

    def shown(self, cells: int) -> AbstractContextManager[None]:
        """While these cells run."""
        ...

    def advance(self, cell: Cell, outcome: Outcome) -> None:
        """A cell has come back for good."""
        ...


class Silent:
    """Says nothing: there is no terminal to say it on."""

    @contextmanager
    def shown(self, cells: int) -> Iterator[None]:
        """While these cells run."""
        yield

    def advance(self, cell: Cell, outcome: Outcome) -> None:
        """A cell has come back for good."""


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
