"""What identifies an image: the content of its file, or of the files of its series."""

from __future__ import annotations

import hashlib
import re
from functools import lru_cache
from pathlib import Path

from srcmatters.files import sha256_of

Signature = tuple[tuple[str, int, int], ...]
_DATA_FILE = re.compile(rb"(?:ElementDataFile\s*=|data file:)\s*(\S+)", re.IGNORECASE)
_HEADER_BYTES = 65536


def image_files(path: str | Path) -> list[Path]:
    """The files that hold an image: one; the visible files of a DICOM series' folder; a header and its data.

    Args:
        path: a file, or the folder of a DICOM series; folders in it are left out.
    """
    path = Path(path)
    if path.is_dir():
        return [part for part in sorted(path.iterdir()) if part.is_file() and not part.name.startswith(".")]
    if path.suffix.lower() not in (".mhd", ".nhdr"):
        return [path]
    with path.open("rb") as file:
        named = _DATA_FILE.search(file.read(_HEADER_BYTES))
    data = path.parent / named[1].decode(errors="replace") if named else path
    return [path, data] if data != path and data.is_file() else [path]


def file_signature(path: str | Path) -> Signature:
    """Name, size and time of change (ns) of each file of an image: another content has another signature."""
    files = [(part, part.stat()) for part in image_files(path)]
    return tuple((part.name, status.st_size, status.st_mtime_ns) for part, status in files)


def file_digest(path: str | Path) -> str:
    """SHA-256 of a file's content; of an image of several files, over the content of each, by name.

    Args:
        path: see :func:`image_files`.
    """
    return _digest(str(path), file_signature(path))


@lru_cache(maxsize=1024)
def _digest(path: str, signature: Signature) -> str:  # noqa: ARG001
    """Cases of one series share its digest."""
    parts = [sha256_of(part) for part in image_files(path)]
    if len(parts) == 1 and not Path(path).is_dir():
        return parts[0]
    return hashlib.sha256("".join(parts).encode()).hexdigest()
