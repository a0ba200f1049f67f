"""CT slices in DICOM files: where they lie, from the header, and their HU, from the pixel data."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.tag import Tag

from srcmatters.errors import InputError, first_line
from srcmatters.images.declarations import named_body_part
from srcmatters.images.hounsfield import what_speaks_against_hu

#: What is read of a header before pixel data is asked for.
HEADER_TAGS = (
    "AnatomicRegionSequence",
    "BitsStored",
    "BodyPartExamined",
    "Columns",
    "ConvolutionKernel",
    "ImageOrientationPatient",
    "ImagePositionPatient",
    "ImageType",
    "Modality",
    "ModalityLUTSequence",
    "NumberOfFrames",
    "PerFrameFunctionalGroupsSequence",
    "PhotometricInterpretation",
    "PixelSpacing",
    "RescaleIntercept",
    "RescaleSlope",
    "RescaleType",
    "Rows",
    "SamplesPerPixel",
    "SeriesInstanceUID",
    "SharedFunctionalGroupsSequence",
    "SliceThickness",
    "SpacingBetweenSlices",
)

#: What decoding and rescaling want besides; other elements are passed over.
PIXEL_TAGS = (
    "BitsAllocated",
    "ExtendedOffsetTable",
    "ExtendedOffsetTableLengths",
    "HighBit",
    "PixelData",
    "PixelPaddingRangeLimit",
    "PixelPaddingValue",
    "PixelRepresentation",
    "PlanarConfiguration",
)
# Ready tags: looking a keyword up takes longer than reading an element.
_HEADER = [Tag(keyword) for keyword in HEADER_TAGS]
_PIXELS = [*_HEADER, *(Tag(keyword) for keyword in PIXEL_TAGS)]
_RESCALE = "PixelValueTransformationSequence"


@dataclass(frozen=True)
class DicomSlice:
    """One slice as its header describes it.

    Args:
        path: the file.
        frame: which frame of it, from 0; None if it holds one image.
        series: SeriesInstanceUID.
        shape: (rows, columns).
        position: ImagePositionPatient, LPS mm; empty if the header does not say.
        orientation: ImageOrientationPatient; empty if the header does not say.
        spacing: PixelSpacing, mm between rows and between columns; empty if unknown.
        thickness: mm; 0 if unknown.
        slope: RescaleSlope, 1 if there is none; a frame has one of its own.
        intercept: RescaleIntercept, 0 if there is none.
        in_hounsfield: a rescaled CT of more than 8 bits, whose header does not say that it is something else.
        rescale_type: RescaleType; empty if the header does not say.
        against_hu: why the values are no HU, by :func:`what_speaks_against_hu`; empty if nothing says so.
        inverted: MONOCHROME1.
        header: Modality, BodyPartExamined, ConvolutionKernel and SliceThickness (mm), None where unknown.
    """

    path: Path
    frame: int | None
    series: str
    shape: tuple[int, int]
    position: tuple[float, ...]
    orientation: tuple[float, ...]
    spacing: tuple[float, ...]
    thickness: float
    slope: float
    intercept: float
    in_hounsfield: bool
    rescale_type: str
    against_hu: str
    inverted: bool
    header: Mapping[str, Any]

    @property
    def placed(self) -> bool:
        """Whether the header says where in the patient the slice lies."""
        return bool(self.position and self.orientation and self.spacing)

    @property
    def normal(self) -> np.ndarray:
        """Unit vector across the slice, LPS."""
        return cross(self.orientation)

    @property
    def name(self) -> str:
        """What the slice is called in messages."""
        return str(self.path) if self.frame is None else f"{self.path}, frame {self.frame + 1}"


def cross(axes: Sequence[float]) -> np.ndarray:
    """Cross product of two vectors in one sequence; numpy's own takes longer than a header."""
    a, b, c, d, e, f = axes
    return np.array((b * f - c * e, c * d - a * f, a * e - b * d))


def read_header(path: Path) -> Dataset:
    """What :data:`HEADER_TAGS` names of a DICOM file, without its pixel data.

    Raises:
        InputError: not readable.
    """
    return read_dicom(path, stop_before_pixels=True, specific_tags=list(_HEADER))


def read_slice(path: Path) -> Dataset:
    """What decoding and rescaling a CT slice need of a DICOM file.

    Raises:
        InputError: not readable.
    """
    return read_dicom(path, specific_tags=list(_PIXELS))


def read_dicom(path: Path, **options: Any) -> Dataset:
    """A DICOM file; ``options`` are those of :func:`pydicom.dcmread`.

    Raises:
        InputError: not readable.
    """
    try:
        return pydicom.dcmread(path, **options)
    except InvalidDicomError as error:
        raise InputError(f"{path}: not a readable DICOM file ({first_line(error)})") from error


def slices_of(header: Dataset, path: Path) -> list[DicomSlice]:
    """The slices that a file holds: one, or every frame of an enhanced CT.

    Raises:
        InputError: colour, no image, or several frames without positions.
    """
    if not header.get("Rows") or not header.get("Columns"):
        raise InputError(f"{path}: DICOM without pixel data, expected CT")
    if int(header.get("SamplesPerPixel") or 1) != 1:
        raise InputError(f"{path}: SamplesPerPixel is {header.SamplesPerPixel}, expected 1 (grey)")
    if header.get("PhotometricInterpretation") == "PALETTE COLOR":
        raise InputError(f"{path}: PhotometricInterpretation is PALETTE COLOR, expected grey values")
    frames = header.get("PerFrameFunctionalGroupsSequence")
    if frames:
        shared = header.get("SharedFunctionalGroupsSequence") or [Dataset()]
        return [_slice(header, path, at, (frame, shared[0])) for at, frame in enumerate(frames)]
    count = int(header.get("NumberOfFrames") or 1)
    if count > 1:
        raise InputError(
            f"{path}: {count} frames without PerFrameFunctionalGroupsSequence, expected one or positions"
        )
    return [_slice(header, path, None, ())]


def _slice(header: Dataset, path: Path, frame: int | None, groups: Sequence[Dataset]) -> DicomSlice:
    def values(group: str, keyword: str, count: int) -> tuple[float, ...]:
        """A field from the frame's functional groups, the shared ones, or the header of a plain file."""
        for holder in groups:
            item = holder.get(group)
            if item and keyword in item[0]:
                return _numbers(item[0], keyword, count, path)
        return _numbers(header, keyword, count, path)

    slope = values(_RESCALE, "RescaleSlope", 1)
    intercept = values(_RESCALE, "RescaleIntercept", 1)
    rescale_type = _rescale_type(header, groups)
    # A look-up table takes the place of slope and intercept.
    plain = "ModalityLUTSequence" not in header
    against_hu = what_speaks_against_hu(slope, intercept, rescale_type) if plain else ""
    thickness = values("PixelMeasuresSequence", "SliceThickness", 1)
    thickness = thickness or _numbers(header, "SpacingBetweenSlices", 1, path)
    spacing = values("PixelMeasuresSequence", "PixelSpacing", 2)
    part = named_body_part(header) or _region(groups)
    own_thickness = values("PixelMeasuresSequence", "SliceThickness", 1)
    described = {
        "Modality": header.get("Modality"),
        "BodyPartExamined": part,
        "ConvolutionKernel": str(header.get("ConvolutionKernel") or "") or None,
        "SliceThickness": own_thickness[0] if own_thickness and own_thickness[0] > 0 else None,
    }
    scaled = described["Modality"] == "CT" and bool(slope) and not against_hu
    return DicomSlice(
        path=path,
        frame=frame,
        series=str(header.get("SeriesInstanceUID") or ""),
        shape=(int(header.Rows), int(header.Columns)),
        position=values("PlanePositionSequence", "ImagePositionPatient", 3),
        orientation=_checked_axes(values("PlaneOrientationSequence", "ImageOrientationPatient", 6), path),
        spacing=spacing if all(step > 0 for step in spacing) else (),
        thickness=thickness[0] if thickness else 0.0,
        slope=slope[0] if slope else 1.0,
        intercept=intercept[0] if intercept else 0.0,
        in_hounsfield=scaled and int(header.get("BitsStored") or 0) > 8,
        rescale_type=rescale_type,
        against_hu=against_hu,
        inverted=header.get("PhotometricInterpretation") == "MONOCHROME1",
        header=described,
    )


def _rescale_type(header: Dataset, groups: Sequence[Dataset]) -> str:
    """RescaleType of a frame, or else of the file; empty if neither is there."""
    items = [item for holder in groups for item in holder.get(_RESCALE) or []]
    types = (str(item.get("RescaleType") or "").strip() for item in (*items, header))
    return next(filter(None, types), "")


def _region(groups: Sequence[Dataset]) -> str:
    """The body part of an enhanced CT, which names it frame by frame."""
    for holder in groups:
        for item in holder.get("FrameAnatomySequence") or []:
            return named_body_part(item)
    return ""


def _numbers(header: Dataset, field: str, count: int, path: Path) -> tuple[float, ...]:
    """The numbers of a field, none if it is absent or empty."""
    element = header.get_item(field)
    # What is still text is read here: pydicom's own decimals take ten times as long.
    value = element.value if element is not None else None
    # Some devices pad with NUL, which the standard allows in other kinds of text only.
    parts = (
        [part.strip(b" \0") for part in value.split(b"\\")] if isinstance(value, bytes) else header.get(field)
    )
    if parts is None or parts == "" or parts == [b""]:
        return ()
    try:
        numbers = tuple(map(float, parts)) if isinstance(parts, Iterable) else (float(parts),)
    except (TypeError, ValueError):
        numbers = ()
    if len(numbers) != count or not all(map(math.isfinite, numbers)):
        raise InputError(f"{path}: {field} is {header.get(field)}, expected {count} numbers")
    return numbers


def _checked_axes(axes: tuple[float, ...], path: Path) -> tuple[float, ...]:
    if not axes:
        return ()
    lengths = math.hypot(*axes[:3]), math.hypot(*axes[3:])
    between = sum(row * column for row, column in zip(axes[:3], axes[3:], strict=True))
    if max(abs(length - 1) for length in lengths) > 0.01 or abs(between) > 0.01:
        raise InputError(
            f"{path}: ImageOrientationPatient is {list(axes)}, expected two unit vectors at right angles"
        )
    return axes
