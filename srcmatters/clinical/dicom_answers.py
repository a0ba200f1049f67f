"""Answers as DICOM objects: a Structured Report, and a Secondary Capture where it is wished for."""

from __future__ import annotations

import warnings
from typing import Any

import pydicom
import torch
from pydicom import Dataset

from srcmatters.clinical.inputs import Item
from srcmatters.clinical.predict import Prediction, Predictor
from srcmatters.clinical.saliency import saliency
from srcmatters.clinical.secondary_capture import capture
from srcmatters.clinical.structured_report import complete, report
from srcmatters.errors import InputError
from srcmatters.images.reading import first_line

_IDENTITY = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")


def dicom_answers(
    prediction: Prediction, predictor: Predictor, reports: bool = True, captures: bool = False
) -> list[Dataset]:
    """What is sent back for an answer: nothing for a refused image or one that is no DICOM.

    Args:
        prediction: whose files are there still.
        predictor: that made it.
        reports: write the Structured Report.
        captures: write the Secondary Capture.

    Raises:
        InputError: a header lacks what the standard wants of a reference, or holds what it forbids.
    """
    if prediction.status == "refused" or not prediction.item.headers or not (reports or captures):
        return []
    sources = read_sources(prediction.item)
    made: list[Dataset] = []
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # highdicom's quote names of patients
            if reports:
                made.append(report(prediction, sources, predictor.rules))
            if captures:
                made.append(_capture(prediction, sources, predictor))
        return made
    except InputError:
        raise
    except Exception as error:  # highdicom refuses headers of others in many ways
        name = prediction.item.name
        raise InputError(f"{name}: its header allows no report ({_safely(error)})") from error


def read_sources(item: Item) -> list[Dataset]:
    """Headers of the images of an item, complete enough for objects that are derived from them.

    Raises:
        InputError: one of them has no identity, so that nothing can refer to it.
    """
    sources = []
    for path in item.files:
        header = pydicom.dcmread(path, stop_before_pixels=True)
        missing = [keyword for keyword in _IDENTITY if not header.get(keyword)]
        if missing:
            raise InputError(f"{item.name}: {missing[0]} is missing, expected it in an image to report on")
        sources.append(complete(header))
    return sources


def _capture(prediction: Prediction, sources: list[Dataset], predictor: Predictor) -> Dataset:
    assert prediction.prepared is not None
    rules: dict[str, Any] = predictor.rules
    image = torch.from_numpy(prediction.prepared.image)
    return capture(prediction, sources, rules, saliency(predictor.network, rules["network"], image))


def _safely(error: Exception) -> str:
    """Kind of an error, and its message only where that can hold nothing of the patient's."""
    if isinstance(error, AttributeError):
        return first_line(error)
    return type(error).__name__
