"""What files tell of themselves: order, names, dates, sizes, compression; and the headers of DICOM."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pydicom
from PIL import Image, UnidentifiedImageError
from pydicom.errors import InvalidDicomError

from srcmatters.images.digests import image_files
from srcmatters.images.reading import may_be_dicom

#: Fields of a DICOM header that a classifier could read off the pixels or that go with the acquisition.
HEADER_NUMBERS = (
    "KVP",
    "Exposure",
    "ExposureTime",
    "XRayTubeCurrent",
    "DistanceSourceToDetector",
    "PixelSpacing",
    "SliceThickness",
    "WindowCenter",
    "WindowWidth",
    "RescaleSlope",
    "BitsStored",
)
HEADER_TEXTS = (
    "Manufacturer",
    "ManufacturerModelName",
    "InstitutionName",
    "StationName",
    "Modality",
    "BodyPartExamined",
    "ViewPosition",
    "PatientSex",
    "PhotometricInterpretation",
    "ConvolutionKernel",
    "ContrastBolusAgent",
)
_DATES = ("StudyDate", "AcquisitionDate", "ContentDate")
#: Sum of the luminance table of JPEG at quality 50 (ITU T.81, table K.1).
_LUMINANCE = 3688.0


def file_facts(paths: Sequence[str]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Facts about the file of every image, and its header.

    Args:
        paths: of the images; of a series the first file speaks for all.

    Returns:
        (images,) facts: file_bytes, file_date (days), folder, file_format, width, height, bit_depth,
        jpeg_quality, header_date (days); NaN where there is none. And header fields, empty columns left out.
    """
    rows, headers = [], []
    for path in paths:
        files = image_files(path)
        first = files[0]
        row: dict[str, Any] = {
            "file_bytes": float(sum(part.stat().st_size for part in files)),
            "file_date": float(int(first.stat().st_mtime) // 86400),
            "folder": str(Path(path).parent),
            "file_format": first.suffix.lower() or "none",
        }
        header: dict[str, Any] = {}
        if may_be_dicom(first):
            described, header = _dicom(first)
            row |= described
        else:
            row |= _picture(first)
        rows.append(row)
        headers.append(header)
    facts = pd.DataFrame(rows).dropna(axis=1, how="all")
    return facts, pd.DataFrame(headers, index=facts.index).dropna(axis=1, how="all")


def order_facts(cases: pd.DataFrame) -> pd.DataFrame:
    """Position of every case in the table, in the order of file names and in that of patient identifiers."""
    names = [Path(image).name for image in cases["image"]]
    return pd.DataFrame(
        {
            "row_order": np.arange(len(cases), dtype=float),
            "file_name_order": _natural_rank(names),
            "patient_id_order": _natural_rank(cases["patient_id"].astype(str)),
        }
    )


def date_columns(columns: pd.DataFrame) -> pd.DataFrame:
    """Columns of texts that are dates (2024-05-31, 20240531), in days."""
    dates = {}
    for name in columns:
        texts = columns[name].dropna().astype(str)
        if len(texts) and texts.str.fullmatch(r"(19|20)\d\d-?\d\d-?\d\d([ T].*)?").all():
            dates[name] = columns[name].map(_days)
    return pd.DataFrame(dates, index=columns.index)


def _natural_rank(names: Sequence[str] | pd.Series) -> np.ndarray:
    """Ranks of names in which numbers count as numbers; equal names have equal ranks."""
    keys = [
        tuple((part.isdigit(), part.zfill(30)) for part in re.split(r"(\d+)", str(name))) for name in names
    ]
    place = {key: rank for rank, key in enumerate(sorted(set(keys)))}
    return np.array([place[key] for key in keys], dtype=float)


def _days(value: Any) -> float:
    """Days of a date in words; NaN of what is none."""
    stamp = pd.to_datetime(str(value)[:10], errors="coerce")
    return float("nan") if not isinstance(stamp, pd.Timestamp) else float(stamp.toordinal())


def _picture(path: Path) -> dict[str, Any]:
    try:
        with Image.open(path) as image:
            width, height = image.size
            row: dict[str, Any] = {"width": float(width), "height": float(height), "bit_depth": image.mode}
            tables = getattr(image, "quantization", None)
            if tables:
                row["jpeg_quality"] = _jpeg_quality(tables[min(tables)])
            return row
    except (OSError, UnidentifiedImageError, ValueError):
        return {}


def _jpeg_quality(table: Sequence[int]) -> float:
    """Quality setting of the Independent JPEG Group's encoder, from its luminance table."""
    scale = 100 * sum(table) / _LUMINANCE
    return round((200 - scale) / 2 if scale <= 100 else 5000 / scale)


def _dicom(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    try:
        header = pydicom.dcmread(path, stop_before_pixels=True)
    except (InvalidDicomError, OSError, ValueError):
        return {}, {}
    row: dict[str, Any] = {
        "width": _number(header.get("Columns")),
        "height": _number(header.get("Rows")),
        "bit_depth": str(header.get("BitsStored", "none")),
        "transfer_syntax": str(getattr(header.file_meta, "TransferSyntaxUID", "none")),
    }
    dates = [_days(header.get(name)) for name in _DATES if header.get(name)]
    row["header_date"] = dates[0] if dates else float("nan")
    fields: dict[str, Any] = {name: _number(header.get(name)) for name in HEADER_NUMBERS}
    fields |= {name: str(header.get(name)) if header.get(name) else None for name in HEADER_TEXTS}
    return row, fields


def _number(value: Any) -> float:
    """A number of a header, the first where there are several; NaN where there is none."""
    first = value[0] if isinstance(value, pydicom.multival.MultiValue) and len(value) else value
    try:
        return float(first)
    except (TypeError, ValueError):
        return float("nan")
