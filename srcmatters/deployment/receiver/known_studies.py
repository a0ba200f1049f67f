"""Which studies have been read lately: so that the log can say that one comes again."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path

KNOWN = "known"
MOST = 1000  # studies; one of 1000 slices takes 17 kB


class KnownStudies:
    """A small memory of hashed names, which forgets the oldest.

    Nothing but a line of the log depends on it: what cannot be read or written is passed over.

    Args:
        folder: a file per study in it, with its instances.
        most: studies that are remembered, >= 1.
    """

    def __init__(self, folder: Path, most: int = MOST) -> None:
        self.folder, self.most = folder, most

    def instances(self, study: str) -> set[str]:
        """Names of the instances of a study that have been read, empty: none lately."""
        with contextlib.suppress(OSError):
            return set((self.folder / study).read_text().split())
        return set()

    def add(self, study: str, instances: Iterable[str]) -> None:
        """Remember that instances of a study have been read."""
        with contextlib.suppress(OSError):
            file = self.folder / study
            file.write_text("\n".join(sorted({*self.instances(study), *instances})))
            remembered = sorted(self.folder.iterdir(), key=lambda path: path.stat().st_mtime_ns)
            for oldest in remembered[: -self.most]:
                oldest.unlink()
