"""Answers as DICOM objects: a Structured Report, and a Secondary Capture where it is wished for."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from io import BytesIO
from pathlib import PurePosixPath
from typing import Any

import torch
from pydicom import Dataset, dcmwrite

from srcmatters.deployment.dicom_results.refusal_report import refusal_report
from srcmatters.deployment.dicom_results.secondary_capture import capture as captured
from srcmatters.deployment.dicom_results.structured_report import complete, report
from srcmatters.deployment.prediction.header_tasks import IDENTITY, PATIENT
from srcmatters.deployment.prediction.inputs import Item
from srcmatters.deployment.prediction.predictor import Prediction, Predictor
from srcmatters.errors import InputError, first_line
from srcmatters.exported_bundle.disclaimers import disclaimers
from srcmatters.exported_bundle.saliency import saliency

_LATIN_1, _UTF_8 = "ISO_IR 100", "ISO_IR 192"


def result_objects(
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
    prediction, sources = _nameless(prediction, predictor)
    made: list[Dataset] = []
    with _as_input_error(prediction.item):
        capture = _capture(prediction, sources, predictor) if captures else None
        if reports:
            made.append(report(prediction, sources, predictor.rules, capture))
        if capture is not None:
            made.append(capture)
        _check_writable(made)
    return made


def refusal_objects(prediction: Prediction, predictor: Predictor) -> list[Dataset]:
    """What tells the archive why an image was not read: nothing where it has no usable identity.

    Args:
        prediction: refused.
        predictor: that refused it.
    """
    if not prediction.item.headers:
        return []
    try:
        prediction, sources = _nameless(prediction, predictor)
        with _as_input_error(prediction.item):
            made: list[Dataset] = [refusal_report(prediction, sources, predictor.rules)]
            _check_writable(made)
    except InputError:
        return []
    return made


def _nameless(prediction: Prediction, predictor: Predictor) -> tuple[Prediction, list[Dataset]]:
    """An answer whose reasons name no file, and the headers of its images."""
    reasons = tuple(_without_names(prediction.item, reason) for reason in prediction.reasons)
    prediction, sources = replace(prediction, reasons=reasons), read_sources(prediction.item)
    _name_characters(sources, prediction, predictor.rules)
    return prediction, sources


@contextmanager
def _as_input_error(item: Item) -> Iterator[None]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # highdicom's quote names of patients
            yield
    except (InputError, OSError, MemoryError):  # the last two say nothing of the header
        raise
    except Exception as error:  # highdicom refuses headers of others in many ways
        raise InputError(f"{item.name}: its header allows no report ({_safely(error)})") from error


def _without_names(item: Item, reason: str) -> str:
    """A reason as it may be sent: people call files after their patients."""
    names = {part for name in item.names.values() for part in (name, PurePosixPath(name).name)}
    for name in sorted(names - {""}, key=len, reverse=True):
        reason = reason.replace(name, "a file")
    return reason


def read_sources(item: Item) -> list[Dataset]:
    """Headers of the images of an item, each once, complete enough for objects that are derived from them.

    They are made of what the decoder's process has read and checked; no file is opened.

    Raises:
        InputError: one of them has no identity, so that nothing can refer to it, or a patient whose name or
            number nothing may repeat.
    """
    sources = [_source(item, header["source"]) for header in item.headers]
    return list({source.SOPInstanceUID: source for source in sources}.values())


def _source(item: Item, values: Mapping[str, str | None]) -> Dataset:
    for keyword in IDENTITY:
        if values[keyword] == "":
            raise InputError(f"{item.name}: {keyword} is missing, expected it in an image to report on")
    for keyword in (*IDENTITY, *PATIENT):
        if values[keyword] is None:
            raise InputError(f"{item.name}: {keyword} is not valid, expected one that a report can repeat")
    source = Dataset()
    for keyword, value in values.items():
        if value:
            setattr(source, keyword, value)
    return complete(source)


def _name_characters(sources: list[Dataset], prediction: Prediction, rules: dict[str, Any]) -> None:
    """Objects are in the smallest character set that holds all their text; plain ones need to name none."""
    values = [value for header in prediction.item.headers for value in header["source"].values() if value]
    statements = (*disclaimers(rules), rules["name"], rules["model_version"], str(rules["finding"]))
    texts = [*values, *prediction.reasons, *statements]
    highest = max(max(text, default=" ") for text in texts)
    if not highest.isascii():
        for source in sources:
            source.SpecificCharacterSet = _LATIN_1 if highest <= "\xff" else _UTF_8


def _check_writable(answers: list[Dataset]) -> None:
    """Whether a file or a message can hold them is known once they are encoded."""
    for answer in answers:
        dcmwrite(BytesIO(), answer, enforce_file_format=True)


def _capture(prediction: Prediction, sources: list[Dataset], predictor: Predictor) -> Dataset:
    assert prediction.prepared is not None
    rules: dict[str, Any] = predictor.rules
    image = torch.from_numpy(prediction.prepared.image)
    return captured(prediction, sources, rules, saliency(predictor.network, rules["network"], image))


def _safely(error: Exception) -> str:
    """Kind of an error, and its message only where that can hold nothing of the patient's."""
    if isinstance(error, AttributeError):
        return first_line(error)
    return type(error).__name__
