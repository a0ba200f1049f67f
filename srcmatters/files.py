"""Files written whole or not at all, and told apart by their content."""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from srcmatters.errors import InputError

#: Begins the name of everything unfinished. Whoever looks for results passes over names with a dot in front.
UNFINISHED = ".unfinished-"


def unfinished_name() -> str:
    """What this process calls what it has not finished: machine and process are part of it.

    So that what a killed process left can be told from what another one is writing, on a shared disk too.
    """
    return f"{UNFINISHED}{socket.gethostname()}-{os.getpid()}"


def process_is_alive(pid: int) -> bool:
    """Whether a process of this machine exists, whoever owns it."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def remove_abandoned(folder: Path) -> None:
    """Remove what killed processes of this machine left unfinished in a folder."""
    ours = f"{UNFINISHED}{socket.gethostname()}-"
    for path in folder.glob(f"{ours}*"):
        pid = path.name.removeprefix(ours).split("-")[0]
        if pid.isdigit() and not process_is_alive(int(pid)):
            shutil.rmtree(path, ignore_errors=True)


def foreign_text(path: Path, largest: int = 2**20) -> str:
    """The text of a small file that somebody else may have made: JSON or YAML that will be parsed.

    Args:
        path: the file.
        largest: bytes.

    Raises:
        InputError: larger than that: parsing takes many times the memory.
        OSError: it cannot be read.
        ValueError: it is no UTF-8.
    """
    size = path.stat().st_size
    if size > largest:
        raise InputError(f"{path}: {size:,} bytes, expected {largest:,} at most")
    return path.read_text(encoding="utf-8")


@contextmanager
def scratch_path(path: str | Path) -> Iterator[Path]:
    """A place for what is to become ``path``: of the same name, on the same file system, in a hidden folder.

    The hidden folder vanishes with the block: what is to stay has to be moved out of it.

    Args:
        path: where the result will be; folders above it are made.

    Raises:
        OSError: the folder cannot be written.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_abandoned(path.parent)
    holder = Path(tempfile.mkdtemp(prefix=f"{unfinished_name()}-", dir=path.parent))
    try:
        yield holder / path.name
    finally:
        shutil.rmtree(holder, ignore_errors=True)


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """A place to write a file or folder to; it becomes ``path`` when the block ends without an error.

    Readers see the old content or the new one, never a part, whatever ends the process in between. A folder
    that is there already is not replaced.

    Args:
        path: the file, or a folder that does not exist yet; folders above it are made.

    Raises:
        OSError: ``path`` cannot be written.
    """
    with scratch_path(path) as place:
        yield place
        place.replace(path)


def write_text(path: str | Path, text: str) -> None:
    """Write a small UTF-8 file whole or not at all.

    Raises:
        OSError: it cannot be written.
    """
    with atomic_path(path) as place:
        place.write_text(text, encoding="utf-8")


def sha256_of(path: str | Path) -> str:
    """SHA-256 of a file's bytes as 64 hexadecimal digits, read in pieces.

    Raises:
        OSError: it cannot be read.
    """
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
