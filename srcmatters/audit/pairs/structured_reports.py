"""Scores that came back as DICOM Structured Reports: numbers of TID 1500 and its like."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pydicom
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError

from srcmatters.errors import InputError
from srcmatters.images.reading import is_dicom

#: Code values under which `srcmatters predict` writes its probability.
_OURS = ("probability", "uncalibrated")
_WORDS = ("probability", "likelihood", "score", "confidence")
#: What such numbers are compared with, and no answer.
_NOT = ("threshold", "cutoff", "cut-off")
_PERCENT = "%"


def read_reports(folder: Path, finding: str | None = None) -> pd.DataFrame:
    """One row per report and image that it refers to.

    Args:
        folder: below which all reports are read; other files do not matter.
        finding: a part of the name of the number, where reports hold several.

    Returns:
        id (SOPInstanceUID, or StudyInstanceUID where a report refers to no image) and score, NaN where a
        report holds no probability: a refusal.

    Raises:
        InputError: no folder, no report in it, or a report with several numbers that could be the score.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder, expected one with Structured Reports")
    rows = []
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and is_dicom(path)):
        try:
            report = pydicom.dcmread(path, stop_before_pixels=True)
        except (InvalidDicomError, OSError, ValueError) as error:
            raise InputError(f"{path}: not readable as DICOM ({type(error).__name__})") from error
        if report.get("Modality") == "SR":
            score = _score(report, path, finding)
            rows += [{"id": name, "score": score} for name in _images(report)]
    if not rows:
        raise InputError(f"{folder}: no Structured Report below it")
    # A scan is many images, and one answer: each of its slices leads to the same.
    return pd.DataFrame(rows).drop_duplicates(ignore_index=True)


def _items(dataset: Dataset) -> Iterator[Dataset]:
    for item in dataset.get("ContentSequence") or ():
        yield item
        yield from _items(item)


def _score(report: Dataset, path: Path, finding: str | None) -> float:
    numbers = [(item, _name(item)) for item in _items(report) if item.get("ValueType") == "NUM"]
    named = [(item, name) for item, name in numbers if not any(word in name for word in _NOT)]
    if finding is not None:
        named = [(item, name) for item, name in named if finding.lower() in name]
    else:
        named = [(item, name) for item, name in named if any(word in name for word in _WORDS)]
    values = {name: value for item, name in named if (value := _value(item)) is not None}
    if len(set(values.values())) > 1:
        raise InputError(
            f"{path}: several numbers could be the score ({', '.join(values)}), expected --finding to"
            f" name one"
        )
    return next(iter(values.values()), float("nan"))


def _name(item: Dataset) -> str:
    """Code value and meaning of a number's name, in lower case."""
    names = item.get("ConceptNameCodeSequence") or [Dataset()]
    return f"{names[0].get('CodeValue', '')} {names[0].get('CodeMeaning', '')}".strip().lower()


def _value(item: Dataset) -> float | None:
    measured = item.get("MeasuredValueSequence")
    if not measured:
        return None
    units = measured[0].get("MeasurementUnitsCodeSequence") or [Dataset()]
    value = float(measured[0].NumericValue)
    return value / 100 if units[0].get("CodeValue") == _PERCENT else value


def _images(report: Dataset) -> list[str]:
    """The images that a report is about: the first by its UID."""
    names = []
    for study in report.get("CurrentRequestedProcedureEvidenceSequence") or ():
        for series in study.get("ReferencedSeriesSequence") or ():
            names += [str(one.ReferencedSOPInstanceUID) for one in series.get("ReferencedSOPSequence") or ()]
    study = str(report.get("StudyInstanceUID", ""))
    return [study] if study else names[:1]
