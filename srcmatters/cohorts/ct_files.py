"""Which files and folders below a folder are CT images."""

from __future__ import annotations

import os
from collections import defaultdict
from pathlib import Path

from srcmatters.cohorts.case_table import MASKS
from srcmatters.errors import InputError
from srcmatters.images.dicom_series import NoImageError, headers
from srcmatters.images.digests import file_signature
from srcmatters.images.reading import PICTURES, has_ending, is_dicom, is_volume, may_be_dicom


def find_ct(root: Path) -> list[str]:
    """Every CT image below a folder, sorted: volumes, slices, and folders that hold a DICOM series.

    A folder in which no two DICOM files belong to one series holds slices, each an image of its own; one that
    holds several files of a series is one image. Localizers, reports and a medium's DICOMDIR are none.
    """
    scans: list[Path] = []
    for folder, inner, names in os.walk(root):
        inner[:] = [name for name in inner if not name.startswith(".") and name != MASKS]
        files = [Path(folder) / name for name in names if not name.startswith(".")]
        scans += [path for path in files if is_volume(path) or has_ending(path, PICTURES)]
        scans += _dicom_images(Path(folder), [path for path in files if may_be_dicom(path)])
    return sorted(str(path) for path in scans)


def _dicom_images(folder: Path, files: list[Path]) -> list[Path]:
    if not files:
        return []
    try:
        slices = headers(str(folder), file_signature(folder))
    except NoImageError:
        return [path for path in files if not is_dicom(path)]  # DICOM by name alone: the loader says so
    except InputError:
        return files if len(files) == 1 else [folder]  # whoever loads it says what is wrong
    members: dict[str, set[Path]] = defaultdict(set)
    for one in slices:
        members[one.series].add(one.path)
    alone = all(len(paths) == 1 for paths in members.values())
    return [path for paths in members.values() for path in paths] if alone else [folder]
