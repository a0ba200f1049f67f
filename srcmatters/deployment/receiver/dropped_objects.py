"""Objects of a study that nobody here reads: reports, presentation states, our own answers."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Hashable

from pydicom.uid import UID


class Dropped(Exception):
    """An object that is not kept; its sender has done nothing wrong."""


class DroppedObjects:
    """Counts what each association has brought in vain."""

    def __init__(self) -> None:
        self._counts: dict[Hashable, Counter[str]] = {}
        self._lock = threading.Lock()

    def add(self, association: Hashable, sop_class: UID) -> None:
        """Count one object."""
        with self._lock:
            self._counts.setdefault(association, Counter())[sop_class.name] += 1

    def take(self, association: Hashable) -> str:
        """How many of which kind an association has brought, for the log; forgotten afterwards.

        Returns:
            Such as "3 objects (2 Comprehensive 3D SR Storage, 1 Segmentation Storage)"; empty: none.
        """
        with self._lock:
            counts = self._counts.pop(association, Counter())
        kinds = ", ".join(f"{count} {name}" for name, count in counts.items())
        return f"{counts.total()} objects ({kinds})" if counts else ""
