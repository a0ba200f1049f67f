"""The cohort that needs no download: phantoms, written once and found again."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import pandas as pd
from filelock import FileLock

from srcmatters import phantom
from srcmatters.cohorts.case_table import FOLDER_NAME, MASKS, read_cases
from srcmatters.errors import InputError, did_you_mean
from srcmatters.images.reading import PICTURES, VOLUMES, has_ending, is_volume, may_be_dicom

PHANTOM = "phantom"
#: The embedded cohort of each modality, as arguments of :func:`write_phantom_cohort`.
EMBEDDED: dict[str, dict[str, Any]] = {
    "xray": {},
    "ct": {"patients": 120, "modality": "ct", "slab_mm": 48.0, "difficulty": 0.7, "benign": 0.5},
}


def open_cohort(dataset_dir: str | Path, cases: str = "cases.csv", modality: str = "xray") -> pd.DataFrame:
    """Read a case table; ``dataset_dir`` "phantom" is the embedded cohort.

    It is written to ``$SRCMATTERS_CACHE`` (or ``~/.cache/srcmatters``) on first use.

    Args:
        dataset_dir: folder that relative image paths start from, or "phantom".
        cases: the CSV file in it.
        modality: which phantoms: "xray", 240 radiographs; "ct", 120 slabs of 48 mm along z around a candidate
            whose place (x_mm, y_mm, z_mm) is in the table. Ignored where ``dataset_dir`` is a folder.

    Raises:
        InputError: an unknown modality, and see :func:`srcmatters.cohorts.read_cases`.
    """
    if not isinstance(cases, str | Path):
        raise InputError(
            f"cases: got {cases!r}, which the command line took for a {type(cases).__name__}, expected the"
            f" name of a file; put it into quotes: --cases \"'NAME'\""
        )
    table = read_cases(cohort_folder(dataset_dir, modality), cases)
    if str(dataset_dir) == PHANTOM:
        table.attrs[FOLDER_NAME] = PHANTOM
    return table


def folder_setting(name: str, value: object) -> Path:
    """A folder that was named on a command line, which takes 2024 for a number and a,b for a list.

    Raises:
        InputError: the value is no text; says how to write it.
    """
    if not isinstance(value, str | Path):
        raise InputError(
            f"{name}: got {value!r}, which the command line took for a {type(value).__name__}, expected a"
            f" folder; begin its name with ./ and put it into quotes: --{name} \"'./NAME'\""
        )
    return Path(value)


def find_images(dataset_dir: str | Path, modality: str = "xray") -> list[str]:
    """Every image below a folder, sorted; by extension, and files without one (as DICOM often is).

    Args:
        dataset_dir: a folder, or "phantom".
        modality: "xray" for radiographs; "ct" for volumes and slices, where a folder that holds a DICOM
            series is one image.

    Raises:
        InputError: not a folder, none in it, or an unknown modality.
    """
    if modality not in EMBEDDED:
        raise InputError(f"modality: {modality!r} is unknown{did_you_mean(str(modality), EMBEDDED)}")
    folder = cohort_folder(dataset_dir, modality)
    if not folder.is_dir():
        raise InputError(f"dataset_dir: {folder} is not a folder")
    if modality == "ct":
        from srcmatters.cohorts.ct_files import find_ct  # imports MONAI, which a case table does not need

        scans = find_ct(folder)
        if not scans:
            raise InputError(f"dataset_dir: {folder} holds no CT (DICOM, {', '.join(VOLUMES)}, pictures)")
        return scans
    visible = [
        path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith(".") and MASKS not in path.relative_to(folder).parts
    ]
    radiographs = [str(path) for path in visible if _may_be_radiograph(path)]
    if not radiographs:
        raise InputError(f"dataset_dir: {folder} holds no image (DICOM, {', '.join(PICTURES + VOLUMES)})")
    return radiographs


def _may_be_radiograph(path: Path) -> bool:
    """By its ending; DICOM files often have none, and neither has a README."""
    return has_ending(path, PICTURES) or is_volume(path) or may_be_dicom(path)


def cohort_folder(dataset_dir: str | Path, modality: str = "xray") -> Path:
    """The folder itself, or that of the embedded phantoms, which are made if need be."""
    if str(dataset_dir) != PHANTOM:
        return folder_setting("dataset_dir", dataset_dir)
    if modality not in EMBEDDED:
        raise InputError(f"modality: no phantoms of {modality!r}{did_you_mean(modality, EMBEDDED)}")
    root = Path(os.environ.get("SRCMATTERS_CACHE", Path.home() / ".cache" / "srcmatters"))
    drawing = [
        *sorted(Path(phantom.__file__).parent.glob("*.py")),
        Path(__file__).with_name("phantom_cohort.py"),
    ]
    code = "".join(path.read_text() for path in drawing)
    # Other code or other arguments draw other phantoms.
    drawn_by = hashlib.sha256(f"{code}{EMBEDDED[modality]}".encode()).hexdigest()[:8]
    folder = root / "cohorts" / f"phantom-{modality}-{drawn_by}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_suffix(".lock")):
        if not folder.exists():
            from srcmatters.cohorts.phantom_cohort import write_phantom_cohort  # imports SciPy and more

            write_phantom_cohort(folder, **EMBEDDED[modality])
    return folder
