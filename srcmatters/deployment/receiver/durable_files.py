"""Files that are there whole or not at all, after a power cut, too, and readable by their owner only."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

PART = ".part"  # ending of what is not whole yet


def write_durably(path: Path, *content: bytes | memoryview) -> None:
    """Write a file so that after a power cut it is there whole or not at all.

    Args:
        path: in a folder that exists.
        content: in pieces, which are neither copied nor put together.

    Raises:
        OSError: it could not be written; nothing of it stays.
    """
    part = path.with_name(f"{path.name}.{secrets.token_hex(4)}{PART}")
    try:
        with open(part, "wb", opener=_private) as file:
            file.writelines(content)
            file.flush()
            sync_file(file.fileno())
        os.replace(part, path)
        sync_folder(path.parent)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def sync_file(descriptor: int) -> None:
    """Make the content of an open file durable."""
    os.fsync(descriptor)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable: syncing a file alone does not."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
