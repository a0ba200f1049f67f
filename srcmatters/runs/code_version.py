"""Which version of this package computed a run."""

from __future__ import annotations

import functools
import subprocess
from pathlib import Path

import srcmatters

_PACKAGE = Path(srcmatters.__file__).parent


@functools.cache
def git_commit() -> str:
    """Commit of the checkout that this package runs from, with "-dirty" where files of it were changed.

    "unknown" outside a checkout: an installed package may lie in somebody else's repository, which says
    nothing of it. Asked once per process.
    """
    return commit_of(_PACKAGE)


def commit_of(package: Path) -> str:
    """Commit of the repository that tracks a package, see :func:`git_commit`.

    Args:
        package: folder with an ``__init__.py``.
    """
    if _git(package, "ls-files", "--error-unmatch", "__init__.py") is None:
        return "unknown"
    commit = _git(package, "rev-parse", "HEAD")
    if not commit:
        return "unknown"
    # The configurations beside the package decide what runs as much as its modules do.
    changed = _git(package.parent, "status", "--porcelain", "--", package.name, "bundles")
    return f"{commit}-dirty" if changed else commit


def _git(folder: Path, *words: str) -> str | None:
    """What git prints, None where it fails or is not there."""
    try:
        done = subprocess.run(["git", "-C", str(folder), *words], capture_output=True, text=True, check=False)
    except OSError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None
