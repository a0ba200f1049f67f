"""CT series and enhanced CT whose slices do not belong together."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st
from malformed_dicom import KEYWORDS, element, hostile_elements, written
from pydicom import Dataset, dcmread
from pydicom.tag import Tag
from pydicom.uid import EnhancedCTImageStorage, generate_uid

_CHANGES: dict[str, Any] = {
    "ImagePositionPatient": ([0, 0, 0], [0, 0], None, [0, 0, 1e30], [1, 2, 3]),
    "ImageOrientationPatient": ([0, 0, 0, 0, 0, 0], [1, 0, 0, 0, 0, -1], [1, 0, 0], None, [0, 1, 0, 1, 0, 0]),
    "PixelSpacing": ([0, 0], [1e-9, 1e-9], [-1, 1], [3, 1], None),
    "Rows": (0, 8, 65535),
    "Columns": (0, 8, 65535),
    "RescaleSlope": (0, 1e30, -1, None),
    "RescaleIntercept": (1e38, None),
    "RescaleType": ("OD", "US", None),
    "PatientID": ("somebody else", "", None),
    "SeriesInstanceUID": ("1.2.3", "", None),
    "Modality": ("MR", "", None),
    "BitsStored": (1, 8, 64),
    "BitsAllocated": (1, 8, 32, 64),
    "SamplesPerPixel": (0, 3),
    "ImageType": (["ORIGINAL", "PRIMARY", "LOCALIZER"], None),
}


@st.composite
def hostile_series(draw: st.DrawFn, slices: Sequence[Path]) -> dict[str, bytes]:
    """Names and contents of a folder: slices changed, doubled, cut or left out."""
    contents = {path.name: path.read_bytes() for path in slices}
    for _ in range(draw(st.integers(1, 2))):
        path = draw(st.sampled_from(list(slices)))
        how = draw(
            st.sampled_from(("field", "field", "bytes", "cut", "leave out", "double", "one", "header"))
        )
        if how == "leave out":
            contents.pop(path.name, None)
        elif how == "one":
            contents = {path.name: path.read_bytes()}
        elif how == "double":
            contents[f"again-{path.name}"] = path.read_bytes()
        elif how == "cut":
            contents[path.name] = path.read_bytes()[
                : draw(st.sampled_from((0, 131, 200, 700, 1500, -1, -40)))
            ]
        elif how == "field":
            contents[path.name] = _changed(draw, dcmread(path))
        elif how == "header":  # the same mistake in all of them
            keyword = draw(st.sampled_from(KEYWORDS))
            content = draw(hostile_elements(keyword))
            contents = {name: written(dcmread(path.parent / name), {keyword: content}) for name in contents}
        else:
            keyword = draw(st.sampled_from(KEYWORDS))
            contents[path.name] = written(dcmread(path), {keyword: draw(hostile_elements(keyword))})
    return contents


def _changed(draw: st.DrawFn, dataset: Dataset) -> bytes:
    keyword = draw(st.sampled_from(sorted(_CHANGES)))
    value = draw(st.sampled_from(_CHANGES[keyword]))
    if value is None:
        dataset.pop(Tag(keyword), None)
    elif keyword == "ImagePositionPatient" and draw(st.booleans()):
        return written(dataset, {keyword: element(keyword, "DS", b"nan\\0\\0")})
    else:
        setattr(dataset, keyword, value)
    return written(dataset, {})


def enhanced(slices: Sequence[Path]) -> Dataset:
    """One file with the slices of a series as its frames."""
    parts = [dcmread(path) for path in slices]
    dataset = copy.deepcopy(parts[0])
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = EnhancedCTImageStorage
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset.NumberOfFrames = len(parts)
    dataset.PixelData = np.stack([part.pixel_array for part in parts]).tobytes()
    dataset.PerFrameFunctionalGroupsSequence = [_frame(part) for part in parts]
    shared = Dataset()
    shared.PixelMeasuresSequence = [_holding(parts[0], "PixelSpacing", "SliceThickness")]
    shared.PlaneOrientationSequence = [_holding(parts[0], "ImageOrientationPatient")]
    dataset.SharedFunctionalGroupsSequence = [shared]
    for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"):
        delattr(dataset, keyword)
    return dataset


def _frame(part: Dataset) -> Dataset:
    frame = Dataset()
    frame.PlanePositionSequence = [_holding(part, "ImagePositionPatient")]
    frame.PixelValueTransformationSequence = [_holding(part, "RescaleSlope", "RescaleIntercept")]
    return frame


def _holding(part: Dataset, *keywords: str) -> Dataset:
    item = Dataset()
    for keyword in keywords:
        if keyword in part:
            setattr(item, keyword, part[keyword].value)
    return item


@st.composite
def hostile_enhanced(draw: st.DrawFn, slices: Sequence[Path]) -> bytes:
    """An enhanced CT with broken functional groups, or with anything else changed."""
    dataset = enhanced(slices)
    how = draw(st.sampled_from(("frames", "count", "group", "value", "empty", "element")))
    frames = dataset.PerFrameFunctionalGroupsSequence
    frame = frames[draw(st.integers(0, len(frames) - 1))]
    group = draw(st.sampled_from(("PlanePositionSequence", "PixelValueTransformationSequence")))
    if how == "frames":
        dataset.PerFrameFunctionalGroupsSequence = list(frames) * draw(st.sampled_from((2, 40)))
    elif how == "count":
        dataset.NumberOfFrames = draw(st.sampled_from((1, 2, len(frames) + 1, 2**20, 2**31 - 1)))
    elif how == "group":
        delattr(frame, group)
    elif how == "empty":
        setattr(frame, group, draw(st.sampled_from(([], [Dataset()]))))
    elif how == "value":
        frame.PlanePositionSequence[0].ImagePositionPatient = draw(
            st.sampled_from(([0, 0, 0], [1e30, 0, 0], [0, 0], []))
        )
    else:
        keyword = draw(st.sampled_from(KEYWORDS))
        return written(dataset, {keyword: draw(hostile_elements(keyword))})
    return written(dataset, {})
