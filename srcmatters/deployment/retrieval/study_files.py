"""A study as it comes out of an archive: files that we number, and no more of them than there may be."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from srcmatters.errors import InputError
from srcmatters.exported_bundle.unpacking import BYTES, MEMBERS

INSTANCE_BYTES = 2**29  # a thousand slices in one file, or a radiograph many times over
QUERY_BYTES = 2**26  # of the answer to a query: a hundred thousand series
_SPARE = 2**28  # bytes of the disk that others may need meanwhile


class Allowance:
    """How much may come over a connection, and how long it may take.

    Args:
        seconds: from now on, > 0.
        most: bytes.
    """

    def __init__(self, seconds: float, most: int = QUERY_BYTES) -> None:
        self.seconds, self.most = seconds, most
        self._until = time.monotonic() + seconds
        self._bytes = 0

    def admit(self, count: int) -> None:
        """Take ``count`` further bytes.

        Raises:
            InputError: they are too many, or too late.
        """
        self._bytes += count
        if self._bytes > self.most:
            raise InputError(f"it sent more than {self.most} bytes at a time, and was cut off")
        if time.monotonic() > self._until:
            raise InputError(f"it took longer than {self.seconds:g} s (--timeout), and was cut off")


class StudyFiles(Allowance):
    """The files of one study in a folder.

    Args:
        folder: where they are written: ``000001.dcm``, ``000002.dcm``, ...
        seconds: until all of them must have come.
    """

    def __init__(self, folder: Path, seconds: float) -> None:
        super().__init__(seconds, BYTES)
        self.folder = folder
        self.paths: list[Path] = []
        self._instance = 0

    def admit(self, count: int) -> None:
        """Take ``count`` further bytes of the instance on the way.

        Raises:
            InputError: they are too many, or too late.
        """
        super().admit(count)
        self._instance += count
        if self._instance > INSTANCE_BYTES:
            raise InputError(f"an instance of it has more than {INSTANCE_BYTES} bytes")

    def add(self, content: bytes) -> None:
        """Write an instance, which is complete.

        Raises:
            InputError: there are too many, or the disk is full.
        """
        self._instance = 0
        if len(self.paths) >= MEMBERS:
            raise InputError(f"it has more than {MEMBERS} instances")
        try:
            if shutil.disk_usage(self.folder).free - len(content) < _SPARE:
                raise InputError("the disk of the temporary folder is full, expected room for the study")
            path = self.folder / f"{len(self.paths) + 1:06d}.dcm"
            with path.open("xb") as file:
                file.write(content)
        except OSError as error:
            raise InputError(f"the temporary folder cannot be written ({error.strerror})") from error
        self.paths.append(path)
