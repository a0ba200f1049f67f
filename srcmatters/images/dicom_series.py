"""A CT series: its slices in the order of their positions, each position once and none missing."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
from pydicom import Dataset

from srcmatters.errors import InputError, did_you_mean
from srcmatters.images.dicom_pixels import filling, values
from srcmatters.images.dicom_slices import DicomSlice, cross, read_header, read_slice, slices_of
from srcmatters.images.digests import Signature, file_signature
from srcmatters.images.orientation import LPS_TO_RAS
from srcmatters.images.reading import as_input_error, is_dicom, is_directory_record, lacks_preamble
from srcmatters.images.volumes import StoredVolume, outside_slab

GAPS = ("fail", "warn")
_SAME_MM = 0.01  # positions nearer than this are one
_UNEVEN = (0.1, 0.1)  # what a spacing may differ from the median: this share of it, and this many mm


class NoImageError(InputError):
    """A folder whose files are all undamaged, but none is an image of a series."""


def is_localizer(header: Dataset) -> bool:
    """Whether a header is that of the projection on which slices were planned."""
    return "LOCALIZER" in [str(word) for word in header.get("ImageType") or []]


@lru_cache(maxsize=64)
def headers(folder: str, changed: Signature) -> tuple[DicomSlice, ...]:  # noqa: ARG001
    """Every CT slice of the DICOM files directly in a folder, localizers left out; read once.

    Args:
        folder: its files without DICOM content are passed over.
        changed: :func:`srcmatters.images.file_signature` of the folder: a changed one is read anew.

    Raises:
        InputError: a damaged file.
        NoImageError: none with an image.
    """
    slices: list[DicomSlice] = []
    localizers = 0
    for path in sorted(Path(folder).iterdir()):
        if not path.is_file() or path.name.startswith(".") or not is_dicom(path):
            continue
        with as_input_error(path, "DICOM file"):
            header = read_header(path)
            if is_localizer(header):
                localizers += 1
            elif header.get("Rows"):
                slices += slices_of(header, path)
            elif header.get("Modality") in (None, "", "CT") and not is_directory_record(path):
                # Reports and structures have no pixels, and say so; a file that was cut off does not.
                raise InputError(f"{path}: its header has no Rows, expected a whole CT slice")
    if not slices:
        beside = f" but {localizers} localizers" if localizers else ""
        bare = sum(path.is_file() and lacks_preamble(path) for path in Path(folder).iterdir())
        beside += f" but {bare} files of DICOM without preamble (dcmtk's `dcmconv` adds it)" if bare else ""
        raise NoImageError(
            f"{folder}: no DICOM image in it{beside}, expected a series (folders in it do not count)"
        )
    return tuple(slices)


@lru_cache(maxsize=64)
def _series(folder: str, changed: Signature, series: str | None) -> tuple[DicomSlice, ...]:
    slices = headers(folder, changed)
    known = sorted({one.series for one in slices})
    if series is not None and series not in known:
        raise InputError(f"{folder}: SeriesInstanceUID {series!r} is unknown{did_you_mean(series, known)}")
    if series is None and len(known) > 1:
        raise InputError(
            f"{folder}: {len(known)} different SeriesInstanceUID, expected one series per folder"
        )
    members = [one for one in slices if series in (None, one.series)]
    return tuple(ordered(members, Path(folder)))


def ordered(slices: Sequence[DicomSlice], path: Path) -> list[DicomSlice]:
    """Slices by position along their normal; of two that are the same in everything one stays.

    Raises:
        InputError: slices that form no volume: without a position, of different size, spacing or
            orientation, or different ones in one position.
    """
    first = slices[0]
    for one in slices[1:]:
        _check_alike(first, one)
    if len(slices) > 1 and not first.placed:
        raise InputError(
            f"{first.name}: ImagePositionPatient, ImageOrientationPatient or PixelSpacing is missing,"
            f" expected all of them in the {len(slices)} slices of {path}"
        )
    if len(slices) == 1:
        return list(slices)
    kept: list[DicomSlice] = []
    for one in sorted(slices, key=_height):
        if kept and _height(one) - _height(kept[-1]) < _SAME_MM:
            _check_same(kept[-1], one)
        else:
            kept.append(one)
    return kept


def _height(one: DicomSlice) -> float:
    """Position along the normal, mm."""
    return float(one.normal @ np.array(one.position))


def _check_alike(first: DicomSlice, one: DicomSlice) -> None:
    fields = {
        "Rows and Columns": (one.shape, first.shape, 0.0),
        "PixelSpacing": (one.spacing, first.spacing, 1e-3),
        "ImageOrientationPatient": (one.orientation, first.orientation, 1e-3),
        "number of values in ImagePositionPatient": ((len(one.position),), (len(first.position),), 0.0),
    }
    for field, (got, expected, tolerance) in fields.items():
        if len(got) != len(expected) or not np.allclose(got, expected, rtol=0, atol=tolerance):
            raise InputError(
                f"{one.name}: {field} is {list(got)}, expected {list(expected)} as in {first.name},"
                " of the same series"
            )


def _check_same(kept: DicomSlice, one: DicomSlice) -> None:
    """Two slices in one position: a copy is left out with a warning, anything else refused."""
    if not np.array_equal(values(kept), values(one)):
        raise InputError(
            f"{one.name}: its ImagePositionPatient is that of {kept.name} too, with other pixels;"
            " expected one slice per position"
        )
    warnings.warn(f"{one.name}: the same slice as {kept.name}, left out", stacklevel=2)


def stored_series(
    slices: Sequence[DicomSlice],
    path: Path,
    slab: tuple[float, float] | None,
    gaps: str,
    opened: Dataset | None,
) -> StoredVolume:
    """The volume that ordered slices form, without reading their pixels.

    Args:
        slices: from :func:`ordered`.
        path: what the volume is called.
        slab: (low, high) along z, mm: axial slices outside of it are left out; None: all.
        gaps: "fail" or "warn" where slices are missing.
        opened: their file, if it is read already.

    Raises:
        InputError: uneven spacing among the slices that are wanted, or no slice in the slab.
    """
    if gaps not in GAPS:
        raise InputError(f"gaps: {gaps!r} is unknown{did_you_mean(str(gaps), GAPS)}")
    step = _typical_step(slices)
    if slab is not None and slices[0].placed and np.abs(slices[0].normal).argmax() == 2:
        slices = _near(slices, path, slab, step)
    _check_gaps(slices, path, gaps, step)
    _check_line(slices, path, gaps)
    first = slices[0]
    return StoredVolume(
        path=path,
        shape=(*first.shape, len(slices)),
        affine=_affine(slices, step),
        fill=filling(slices, opened),
        in_hounsfield=all(one.in_hounsfield for one in slices),
        against_hu=next((f"{one.name}: {one.against_hu}" for one in slices if one.against_hu), ""),
        inverted=first.inverted,
        spacing_known=bool(first.spacing),
    )


def _typical_step(slices: Sequence[DicomSlice]) -> float:
    """Distance of two neighbours in mm; of a slice alone its thickness, 1 where that is unknown."""
    if len(slices) == 1:
        return slices[0].thickness or 1.0
    steps = np.sort(np.diff([_height(one) for one in slices]))
    low, high = float(steps[(len(steps) - 1) // 2]), float(steps[len(steps) // 2])
    # Of two middle ones that differ by more than rounding the upper is a gap.
    return low if _uneven(high, (low + high) / 2) else (low + high) / 2


def _uneven(distance: float, step: float) -> bool:
    """Whether a distance differs from the usual one by more than positions are rounded."""
    return abs(distance - step) > _UNEVEN[0] * step + _UNEVEN[1]


def _near(
    slices: Sequence[DicomSlice], path: Path, slab: tuple[float, float], step: float
) -> Sequence[DicomSlice]:
    """Slices of which any part lies in the slab, half a slice of margin included."""
    spans = np.array([_span(one) for one in slices])
    half = step * abs(slices[0].normal[2]) / 2
    inside = np.flatnonzero((spans[:, 1] >= slab[0] - half) & (spans[:, 0] <= slab[1] + half))
    if len(inside) == 0:
        raise outside_slab(path, slab, spans.min(), spans.max())
    return slices[inside[0] : inside[-1] + 1]


def _span(one: DicomSlice) -> tuple[float, float]:
    """Lowest and highest z of the voxel centres of a slice."""
    down = one.orientation[5] * one.spacing[0] * (one.shape[0] - 1)
    across = one.orientation[2] * one.spacing[1] * (one.shape[1] - 1)
    corners = [one.position[2] + rows + columns for rows in (0, down) for columns in (0, across)]
    return min(corners), max(corners)


def _check_gaps(slices: Sequence[DicomSlice], path: Path, gaps: str, step: float) -> None:
    for below, above in itertools.pairwise(slices):
        distance = _height(above) - _height(below)
        if not _uneven(distance, step):
            continue
        what = "slices are missing" if distance > step else "slices are too near"
        message = (
            f"{path}: {what} between {below.name} at {_height(below):g} mm and {above.name} at"
            f" {_height(above):g} mm: they are {distance:g} mm apart, expected {step:g} mm as between the"
            " others"
        )
        if gaps == "fail":
            raise InputError(f"{message} (--gaps warn loads it all the same)")
        warnings.warn(f"{message}; positions beyond are wrong", stacklevel=2)


def _check_line(slices: Sequence[DicomSlice], path: Path, gaps: str) -> None:
    """Hold positions against a line: one affine cannot place slices that jump sideways."""
    if len(slices) < 3:
        return
    steps = np.diff([one.position for one in slices], axis=0)
    along = steps @ slices[0].normal
    # A tilted gantry shifts every slice by the same share of its step.
    slopes = (steps - along[:, None] * slices[0].normal) / along[:, None]
    usual = np.median(slopes, axis=0)
    jumps = np.linalg.norm((slopes - usual) * along[:, None], axis=1)
    at = int(jumps.argmax())
    if jumps[at] <= max(slices[0].spacing):
        return
    message = (
        f"{path}: between {slices[at].name} and {slices[at + 1].name} ImagePositionPatient jumps by"
        f" {jumps[at]:g} mm within the slice, expected positions on a line"
    )
    if gaps == "fail":
        raise InputError(f"{message} (--gaps warn loads it all the same)")
    warnings.warn(f"{message}; positions are wrong", stacklevel=2)


def _affine(slices: Sequence[DicomSlice], step: float) -> np.ndarray:
    """(4, 4) from (row, column, slice) to RAS+ mm.

    A slice without a position is a picture: rows to the posterior, columns to the left, which is how axial
    slices are shown. One without PixelSpacing counts as 1 mm, and the volume says that it is not known.
    """
    first, last = slices[0], slices[-1]
    axes = first.orientation or (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
    orientation = np.array(axes)
    spacing = first.spacing or (1.0, 1.0)
    affine = np.eye(4)
    affine[:3, 0] = orientation[3:] * spacing[0]
    affine[:3, 1] = orientation[:3] * spacing[1]
    affine[:3, 2] = cross(axes) * step
    if first.position:
        affine[:3, 3] = first.position
    if len(slices) > 1:
        way = np.array(last.position) - np.array(first.position)
        affine[:3, 2] = way / (len(slices) - 1)
    return LPS_TO_RAS @ affine


def open_series(
    folder: Path, series: str | None, slab: tuple[float, float] | None, gaps: str
) -> tuple[StoredVolume, DicomSlice]:
    """The series in a folder, and its first slice, which says what it is of.

    Raises:
        InputError: no series, several of which none is chosen, or one that is damaged or incomplete.
    """
    slices = _series(str(folder), file_signature(folder), series)
    return stored_series(slices, folder, slab, gaps, None), slices[0]


def open_file(path: Path, slab: tuple[float, float] | None, gaps: str) -> tuple[StoredVolume, DicomSlice]:
    """The slices of one DICOM file, which is read once, and the first of them.

    Raises:
        InputError: it holds no image, a localizer, or frames that form no volume.
    """
    header = read_slice(path)
    if is_localizer(header):
        raise InputError(f"{path}: ImageType is LOCALIZER, expected a slice or volume of CT")
    slices = ordered(slices_of(header, path), path)
    return stored_series(slices, path, slab, gaps, header), slices[0]
