"""Which studies have arrived, and which of them are complete."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

RELEASE_SETTLE_SECONDS = 1.0


class QueueFull(Exception):
    """As many studies wait as may; the sender keeps this one and comes again."""


@dataclass
class _Study:
    last: float
    writing: int = 0
    instances: int = 0
    associations: set[Hashable] = field(default_factory=set)
    released: float | None = None


class StudyCompletion:
    """Studies between their first instance and the reader.

    DICOM does not say when a study is complete. Here it is when every association that brought a part of it
    has been released and no other one has brought more within ``release_settle_seconds``: senders may spread
    one series over several. It is, too, when nothing of it has come for ``settle_seconds``. An abort is no
    end: the sender will often come back with the rest.

    Args:
        max_queued: studies that may wait, >= 1; another one raises :class:`QueueFull`. More instances of
            those that wait are always taken: half a study is of no use.
        settle_seconds: without a new instance until a study counts as complete, >= 0.
        release_completes: False for senders that open an association for every instance: only
            ``settle_seconds`` count.
        release_settle_seconds: from the last release until a study counts as complete, >= 0; it is the least
            time that an answer takes.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        max_queued: int = 64,
        settle_seconds: float = 5.0,
        release_completes: bool = True,
        release_settle_seconds: float = RELEASE_SETTLE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.max_queued = max_queued
        self.settle_seconds = settle_seconds
        self.release_completes = release_completes
        self.release_settle_seconds = release_settle_seconds
        self._clock = clock
        self._studies: dict[str, _Study] = {}
        self._changed = threading.Condition()

    def restore(self, studies: Iterable[str]) -> None:
        """Add what the last server left behind; its senders get ``settle_seconds`` to go on."""
        with self._changed:
            for study in studies:
                self._studies[study] = _Study(self._clock(), instances=1)
            self._changed.notify_all()

    def __len__(self) -> int:
        with self._changed:
            return len(self._studies)

    @contextmanager
    def arriving(self, study: str, association: Hashable) -> Iterator[None]:
        """Write an instance of ``study`` inside: until it is written, the study is not handed over.

        Raises:
            QueueFull: it would be one study too many.
        """
        with self._changed:
            if study not in self._studies and len(self._studies) >= self.max_queued:
                raise QueueFull
            state = self._studies.setdefault(study, _Study(self._clock()))
            state.writing += 1
        written = False
        try:
            yield
            written = True
        finally:
            with self._changed:
                state.writing -= 1
                if written:
                    state.instances += 1
                    state.associations.add(association)
                    state.last, state.released = self._clock(), None
                elif not state.instances and not state.writing:
                    del self._studies[study]
                self._changed.notify_all()

    def released(self, association: Hashable) -> int:
        """The sender has said that this was all.

        Returns:
            Number of waiting studies that the association brought something of.
        """
        return self._ended(association, complete=self.release_completes)

    def aborted(self, association: Hashable) -> int:
        """The association broke; what it brought settles.

        Returns:
            Number of waiting studies that the association brought something of.
        """
        return self._ended(association, complete=False)

    def _ended(self, association: Hashable, complete: bool) -> int:
        with self._changed:
            brought = [state for state in self._studies.values() if association in state.associations]
            for state in brought:
                state.associations.discard(association)
                state.released = self._clock() if complete and not state.associations else None
            self._changed.notify_all()
        return len(brought)

    def take_next(self, take: Callable[[str], str], timeout: float) -> str | None:
        """Wait for a complete study and take it out.

        Args:
            take: moves the study away and returns its new name; no instance of it is written meanwhile.
            timeout: seconds to wait at most.

        Returns:
            What ``take`` returned; None if no study became complete in time. If ``take`` raises, the study
            is still here.
        """
        until = self._clock() + timeout
        with self._changed:
            while True:
                now = self._clock()
                complete = (name for name, state in self._studies.items() if self._complete(state, now))
                study = next(complete, None)
                if study is not None:
                    taken = take(study)
                    del self._studies[study]
                    return taken
                if now >= until:
                    return None
                self._changed.wait(min(until - now, self._next_settling(now)))

    def _complete(self, state: _Study, now: float) -> bool:
        return now >= self._settles(state) and not state.writing and state.instances > 0

    def _settles(self, state: _Study) -> float:
        """When it will be complete if nothing more comes."""
        silent = state.last + self.settle_seconds
        if state.released is None:
            return silent
        # An association may stay open long after its last instance: the next one may follow its release.
        return state.released + min(self.release_settle_seconds, self.settle_seconds)

    def _next_settling(self, now: float) -> float:
        left = [self._settles(state) - now for state in self._studies.values()]
        return max(0.01, min(left, default=60.0))
