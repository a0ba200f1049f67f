"""A weight file that is installed in parts, since PyPI takes no larger ones: joined once, into the cache."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Sequence
from pathlib import Path

from srcmatters.errors import InputError
from srcmatters.files import atomic_path

#: What every package of parts calls its own.
PART = "part.bin"
_BLOCK = 1 << 22


def installed_parts(packages: Sequence[str]) -> list[Path] | None:
    """The parts in their order without importing the packages; None if one is not installed."""
    paths = []
    for package in packages:
        spec = importlib.util.find_spec(package)
        if spec is None or spec.origin is None or not (path := Path(spec.origin).with_name(PART)).is_file():
            return None
        paths.append(path)
    return paths


def join(parts: Sequence[Path], target: Path, sha256: str) -> None:
    """Write the parts one after the other into a file, which appears when its hash is right.

    Args:
        parts: in their order.
        target: the file.
        sha256: of the whole, 64 digits.

    Raises:
        InputError: another hash, or the file cannot be written.
    """
    digest = hashlib.sha256()
    try:
        with atomic_path(target) as partial, partial.open("wb") as whole:
            for part in parts:
                with part.open("rb") as stream:
                    while block := stream.read(_BLOCK):
                        digest.update(block)
                        whole.write(block)
            if digest.hexdigest() != sha256:
                raise InputError(
                    f"{parts[0].parent}: the joined parts have the SHA-256 {digest.hexdigest()}, expected"
                    f" {sha256} by the catalogue; install the packages again"
                )
    except OSError as error:
        raise InputError(f"cache: {target} cannot be written ({error.strerror})") from error
