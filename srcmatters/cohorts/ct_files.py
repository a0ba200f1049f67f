"""Which files and folders below a folder are CT images."""

from __future__ import annotations

import os
from collections import defaultdict
from pathlib import Path

from srcmatters.errors import InputError
from srcmatters.images.dicom_series import headers
from srcmatters.images.reading import NIFTI, PICTURES, has_ending, is_dicom

#: A file of a volume; its pixels may lie in a second file beside it.
VOLUMES = (*NIFTI, ".mha", ".mhd", ".nrrd", ".nhdr")
_DICOM = (".dcm", ".dicom")


def find_ct(root: Path) -> list[str]:
    """Every CT image below a folder, sorted: volumes, slices, and folders that hold a DICOM series.

    A folder in which no two DICOM files belong to one series holds slices, each an image of its own; one that
    holds several files of a series is one image.
    """
    found: list[Path] = []
    for folder, inner, names in os.walk(root):
        inner[:] = [name for name in inner if not name.startswith(".")]
        files = [Path(folder) / name for name in names if not name.startswith(".")]
        found += [path for path in files if has_ending(path, VOLUMES + PICTURES)]
        found += _dicom_images(Path(folder), [path for path in files if _may_be_dicom(path)])
    return sorted(str(path) for path in found)


def _may_be_dicom(path: Path) -> bool:
    """DICOM by its name, or a file without an ending that is DICOM by its content."""
    if has_ending(path, _DICOM):
        return True
    # UIDs as names have dots, but no ending of letters.
    return not path.suffix[1:].isalpha() and path.is_file() and is_dicom(path)


def _dicom_images(folder: Path, files: list[Path]) -> list[Path]:
    if len(files) < 2:
        return files
    try:
        slices = headers(str(folder), folder.stat().st_mtime_ns)
    except InputError:
        return [folder]  # whoever loads it says what is wrong
    members: dict[str, set[Path]] = defaultdict(set)
    for one in slices:
        members[one.series].add(one.path)
    alone = all(len(paths) == 1 for paths in members.values())
    return [path for paths in members.values() for path in paths] if alone else [folder]
