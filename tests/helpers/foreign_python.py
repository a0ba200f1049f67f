"""Pythons that hold what a bundle's README asks for and nothing else; this package above all is in none."""

from __future__ import annotations

import re
import shlex
import subprocess
import sysconfig
import venv
from collections.abc import Iterable
from importlib.metadata import Distribution, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

CONSTRAINTS = Path(__file__).parents[2] / "constraints.txt"
_FENCE = re.compile(r"^```\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def commands(bundle: Path) -> list[list[str]]:
    """The commands of a bundle's README, word by word, in the order of the page."""
    blocks = _FENCE.findall((bundle / "docs" / "README.md").read_text())
    return [shlex.split(line) for block in blocks for line in block.splitlines()]


def asked_for(command: list[str]) -> list[Requirement]:
    """What a command `python -m pip install ...` installs."""
    assert command[:4] == ["python", "-m", "pip", "install"], command
    return [Requirement(word) for word in command[4:]]


def run(python: Path, command: list[str], folder: Path, **words: Path) -> str:
    """Run a command of the README, its DIR and OUT replaced; returns what it printed, its failure fails."""
    assert command[0] == "python", command
    filled = [str(words.get(word, word)) for word in command[1:]]
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(python.parent), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [str(python), *filled], cwd=folder, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, f"{command}: {done.stderr[-2000:]}"
    return done.stdout + done.stderr


def linked(folder: Path, requirements: Iterable[Requirement]) -> Path:
    """An interpreter that sees the required distributions of this one and what they need, but no other.

    Args:
        folder: where it is made.
        requirements: what is installed here already.

    Returns:
        Its program.
    """
    python = _venv(folder, with_pip=False)
    there = Path(sysconfig.get_path("purelib", vars={"base": str(folder), "platbase": str(folder)}))
    for package in _closure(requirements):
        for top in {Path(str(file)).parts[0] for file in package.files or ()} - {"..", "__pycache__"}:
            source, target = Path(str(package.locate_file(top))), there / top
            if source.exists() and not target.is_symlink():
                target.symlink_to(source)
    return python


def installed(folder: Path, command: list[str]) -> Path:
    """An interpreter into which pip installs what the command says; skips where pip cannot."""
    python = _venv(folder, with_pip=True)
    done = subprocess.run(
        [str(python), *command[1:], "--quiet", "-c", str(CONSTRAINTS)],
        capture_output=True,
        text=True,
        timeout=900,
    )
    if done.returncode:
        pytest.skip(f"pip cannot install {' '.join(command[4:])}: {done.stderr.strip()[-300:]}")
    return python


def _venv(folder: Path, with_pip: bool) -> Path:
    venv.create(folder, with_pip=with_pip, symlinks=True)
    return folder / "bin" / "python"


def _closure(requirements: Iterable[Requirement]) -> list[Distribution]:
    """The distributions and, without extras of their own, all that they need."""
    distributions: dict[str, Distribution] = {}
    open_names = [requirement.name for requirement in requirements]
    while open_names:
        name = open_names.pop()
        key = re.sub(r"[-_.]+", "-", name).lower()
        if key in distributions:
            continue
        distributions[key] = distribution(name)
        needs = [Requirement(text) for text in distributions[key].requires or ()]
        open_names += [one.name for one in needs if one.marker is None or one.marker.evaluate({"extra": ""})]
    return list(distributions.values())
