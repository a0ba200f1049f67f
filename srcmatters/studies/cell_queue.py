"""Which cell is next: in order, but nobody waits for what somebody else is computing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from srcmatters.studies.cells import Cell
from srcmatters.studies.executors.base import Outcome

# A worker killed on the same cell so often is killed by the cell.
_LOST_LIMIT = 4


class CellQueue:
    """Cells that wait, run, have finished or failed.

    Cells share decoded images, at screen depth features, and at p_art 0 the training run: the first one
    computes them, any other that starts meanwhile waits for it. So a cell whose share is just being computed
    steps back behind others.

    Args:
        cells: to run, in order.
        retries: how often a failed cell is tried again.
    """

    def __init__(self, cells: Iterable[Cell], retries: int = 1) -> None:
        self.waiting = list(cells)
        self.retries = retries
        self.running: dict[str, Cell] = {}
        self.finished: list[Cell] = []
        self.failed: dict[str, Outcome] = {}
        self.attempts: Counter[str] = Counter()
        self._lost: Counter[str] = Counter()
        self._ready: set[str] = set()

    def __bool__(self) -> bool:
        return bool(self.waiting or self.running)

    def next(self) -> Cell:
        """Take the next cell."""
        busy = {share for cell in self.running.values() for share in _shares(cell)} - self._ready
        free = (cell for cell in self.waiting if busy.isdisjoint(_shares(cell)))
        cell = next(free, self.waiting[0])
        self.waiting.remove(cell)
        self.running[cell.cell_id] = cell
        self.attempts[cell.cell_id] += 1
        return cell

    def settle(self, outcome: Outcome) -> bool:
        """Note how a cell went.

        Returns:
            Whether that is final; if not, the cell waits again, in front.
        """
        cell = self.running.pop(outcome.cell_id)
        if outcome.status == "finished":
            self._ready.update(_shares(cell))
            self.finished.append(cell)
            return True
        if outcome.status == "lost":
            self._lost[cell.cell_id] += 1
            again = self._lost[cell.cell_id] < _LOST_LIMIT
        else:
            failures = self.attempts[cell.cell_id] - self._lost[cell.cell_id]
            again = not outcome.mistake and failures <= self.retries
        if again:
            self.waiting.insert(0, cell)
        else:
            self.failed[cell.cell_id] = outcome
        return not again

    def common_mistake(self, least: int = 3) -> str:
        """The mistake that every cell so far has failed with, if there are some and none has finished."""
        messages = {outcome.error for outcome in self.failed.values() if outcome.mistake}
        only = len(messages) == 1 and len(self.failed) >= least and not self.finished
        return messages.pop() if only else ""


def _shares(cell: Cell) -> tuple[str, ...]:
    return tuple(share for share in (cell.images, cell.features, cell.training) if share)
