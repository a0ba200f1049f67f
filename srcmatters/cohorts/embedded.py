"""The cohort that needs no download: phantoms, written once and found again."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pandas as pd
from filelock import FileLock

from srcmatters.cohorts import phantom
from srcmatters.cohorts.case_table import read_cases
from srcmatters.cohorts.phantom import write_phantom_cohort
from srcmatters.errors import InputError

PHANTOM = "phantom"


_PICTURES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".dcm", ".dicom")


def open_cohort(dataset_dir: str | Path, cases: str = "cases.csv") -> pd.DataFrame:
    """Read a case table; ``dataset_dir`` "phantom" is the embedded cohort of 240 phantom radiographs.

    The phantoms are written to ``$SRCMATTERS_CACHE`` (or ``~/.cache/srcmatters``) on first use.

    Raises:
        InputError: see :func:`srcmatters.cohorts.read_cases`.
    """
    return read_cases(_folder(dataset_dir), cases)


def find_images(dataset_dir: str | Path) -> list[str]:
    """Every radiograph below a folder, sorted; by extension, and files without one (as DICOM often is).

    Raises:
        InputError: not a folder, or none in it.
    """
    folder = _folder(dataset_dir)
    if not folder.is_dir():
        raise InputError(f"dataset_dir: {folder} is not a folder")
    endings = (*_PICTURES, "")
    found = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.suffix.lower() in endings]
    visible = [str(path) for path in found if not path.name.startswith(".") and _may_be_image(path)]
    if not visible:
        raise InputError(f"dataset_dir: {folder} holds no image ({', '.join(_PICTURES)})")
    return visible


def _may_be_image(path: Path) -> bool:
    """DICOM files often have no extension; a README has none either."""
    if path.suffix:
        return True
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"


def _folder(dataset_dir: str | Path) -> Path:
    """The folder itself, or that of the embedded phantoms, which are made if need be."""
    if str(dataset_dir) != PHANTOM:
        return Path(dataset_dir)
    root = Path(os.environ.get("SRCMATTERS_CACHE", Path.home() / ".cache" / "srcmatters"))
    code = "".join(path.read_text() for path in sorted(Path(phantom.__file__).parent.glob("*.py")))
    # Other code draws other phantoms.
    folder = root / "cohorts" / f"phantom-xray-{hashlib.sha256(code.encode()).hexdigest()[:8]}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_suffix(".lock")):
        if not folder.exists():
            write_phantom_cohort(folder)
    return folder
