"""Large arrays on disk: whole or not there at all, and memory-mapped when they are read."""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

from srcmatters.errors import InputError
from srcmatters.files import scratch_path

_MAP_NORESERVE = 0x4000  # of Linux; Python's mmap module names it from 3.13 on


def default_cache_dir() -> Path:
    """``$SRCMATTERS_CACHE``, or ``~/.cache/srcmatters``."""
    return Path(os.environ.get("SRCMATTERS_CACHE", Path.home() / ".cache" / "srcmatters"))


def cache_folder(cache_dir: str | Path | None, kind: str) -> Path:
    """The folder of one kind of array, made if need be.

    Args:
        cache_dir: the cache, None: :func:`default_cache_dir`.
        kind: what lies in it, such as "images".

    Raises:
        InputError: it cannot be written.
    """
    folder = (Path(cache_dir) if cache_dir is not None else default_cache_dir()) / kind
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cache_dir: {folder} cannot be written ({error.strerror})") from error
    return folder


@contextmanager
def scratch_file(path: Path) -> Iterator[Path]:
    """:func:`srcmatters.files.scratch_path` of a file of the cache.

    Raises:
        InputError: the disk is full or cannot be written.
    """
    try:
        with scratch_path(path) as place:
            yield place
    except OSError as error:
        raise InputError(f"cache_dir: {path} cannot be written ({error.strerror or error})") from error


def replace_text(path: Path, text: str) -> None:
    """Write a small file of the cache whole: another process reads the old text or the new one.

    Raises:
        InputError: the disk is full or cannot be written.
    """
    with scratch_file(path) as place:
        place.write_text(text)
        place.replace(path)


def new_array(path: Path, shape: Sequence[int]) -> np.memmap:
    """A float32 array in a new file, whose space is taken at once.

    Raises:
        OSError: there is no space; without taking it a page written later would end in a bus error.
    """
    array: np.memmap = np.lib.format.open_memmap(path, "w+", np.float32, tuple(shape))
    with path.open("r+b") as file:
        os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return array


def map_array(path: Path) -> torch.Tensor:
    """A tensor on a file, copied on write: nobody can change the cached file by accident.

    numpy's own copy-on-write mapping is counted against memory in full and refused for a file larger than it;
    with MAP_NORESERVE only pages that are written count.
    """
    stored = np.load(path, mmap_mode="r")
    with path.open("rb") as file:
        pages = mmap.mmap(
            file.fileno(), 0, flags=mmap.MAP_PRIVATE | _MAP_NORESERVE, prot=mmap.PROT_READ | mmap.PROT_WRITE
        )
    values = np.frombuffer(pages, dtype=stored.dtype, count=stored.size, offset=stored.offset)
    return torch.from_numpy(values.reshape(stored.shape))
