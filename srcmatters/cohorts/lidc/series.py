"""CT series below a folder, found by their headers: whatever a download tool called files and folders."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError

from srcmatters.errors import InputError

_TAGS = [
    "Modality",
    "PatientID",
    "SeriesInstanceUID",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "Rows",
    "Columns",
    "SliceThickness",
    "Manufacturer",
    "ConvolutionKernel",
    "KVP",
    "ContrastBolusAgent",
]
_NEEDED = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "Rows", "Columns")


@dataclass(frozen=True)
class CtSeries:
    """Headers of one CT series.

    Args:
        folder: holds its files and those of no other CT series; relative to the folder that was searched.
        header: the lowest slice's; see :data:`_TAGS`.
        origins_mm: (slices, 3) ImagePositionPatient of each z once, ascending in z.
    """

    folder: Path
    header: Dataset
    origins_mm: np.ndarray

    @property
    def heights_mm(self) -> np.ndarray:
        """z of every slice, ascending."""
        return self.origins_mm[:, 2]

    @property
    def slice_spacing_mm(self) -> float | None:
        """Median distance of neighbouring slices, mm; None for a single one."""
        return round(float(np.median(np.diff(self.heights_mm))), 4) if len(self.origins_mm) > 1 else None

    def position_mm(self, column: float, row: float, z_mm: float) -> np.ndarray:
        """x, y, z (LPS, mm) of a point given in pixels of the slice nearest to ``z_mm``.

        Source: DICOM PS3.3, C.7.6.2.1.1: the first three of ImageOrientationPatient point along a row, the
        first of PixelSpacing is the distance between rows. Between two slices z goes on evenly.
        """
        nearest = self.origins_mm[np.abs(self.heights_mm - z_mm).argmin()]
        along_row = np.array(self.header.ImageOrientationPatient[:3], float)
        along_column = np.array(self.header.ImageOrientationPatient[3:], float)
        between_rows, between_columns = (float(step) for step in self.header.PixelSpacing)
        place = nearest + column * between_columns * along_row + row * between_rows * along_column
        return place + np.array([0.0, 0.0, z_mm - nearest[2]])

    def text(self, tag: str) -> str | None:
        """A header's text, None if it is empty or not there."""
        return str(self.header.get(tag) or "") or None

    def number(self, tag: str) -> float | None:
        """A header's number, None if it is empty or not there."""
        value = self.header.get(tag)
        return None if value in (None, "") else float(value)


def find_ct_series(directory: str | Path) -> dict[str, CtSeries]:
    """Every CT series below a folder, by SeriesInstanceUID, in the order of their folders.

    Other modalities (LIDC-IDRI has radiographs too) and files that are not DICOM are passed over.

    Raises:
        InputError: not a folder, no CT in it, a CT slice without a position, two CT series in one folder or
            one series in two folders.
    """
    root = Path(directory)
    if not root.is_dir():
        raise InputError(f"{root} is not a folder")
    folders: dict[str, Path] = {}
    headers: dict[str, list[Dataset]] = {}
    for path, header in _ct_headers(root):
        uid = str(header.get("SeriesInstanceUID"))
        if folders.setdefault(uid, path.parent) != path.parent:
            raise InputError(
                f"{path.parent}: slices of the same series are in {folders[uid]}, expected one folder"
            )
        headers.setdefault(uid, []).append(header)
    if not headers:
        raise InputError(f"{root}: no CT slice in DICOM below this folder")
    shared = [folder for folder in folders.values() if list(folders.values()).count(folder) > 1]
    if shared:
        raise InputError(f"{shared[0]}: slices of several CT series, expected a folder for each")
    return {uid: _series(folders[uid].relative_to(root), slices) for uid, slices in headers.items()}


def _ct_headers(root: Path) -> Iterator[tuple[Path, Dataset]]:
    """Every CT slice; one without a position is an error."""
    for path in sorted(root.rglob("*")):
        if not path.is_file():
            continue
        try:
            header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=list(_TAGS))
        except (InvalidDicomError, OSError):
            continue
        if header.get("Modality") != "CT":
            continue
        for tag in _NEEDED:
            if header.get(tag) in (None, ""):
                raise InputError(f"{path}: no {tag}, expected a CT slice with its place in the patient")
        yield path, header


def _series(folder: Path, slices: list[Dataset]) -> CtSeries:
    """Slices by height; of those that share one the first file counts."""
    origins = np.array([one.ImagePositionPatient for one in slices], float)
    _, first = np.unique(origins[:, 2], return_index=True)
    return CtSeries(folder, slices[first[0]], origins[first])
