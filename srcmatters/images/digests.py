"""What identifies an image: the content of its file, or of the files of its series."""

from __future__ import annotations

import hashlib
from pathlib import Path


def file_digest(path: str | Path) -> str:
    """SHA-256 of a file's content; of a folder, over the content of the visible files in it, by name.

    Args:
        path: a file, or the folder of a DICOM series; folders in it are left out.
    """
    path = Path(path)
    if not path.is_dir():
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    found = hashlib.sha256()
    for part in sorted(path.iterdir()):
        if part.is_file() and not part.name.startswith("."):
            found.update(file_digest(part).encode())
    return found.hexdigest()
