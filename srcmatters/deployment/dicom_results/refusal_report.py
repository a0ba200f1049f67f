"""Why a study was not read, as a DICOM Structured Report: for whoever routed it and waits for an answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from highdicom.sr import (
    CodedConcept,
    Comprehensive3DSR,
    ContainerContentItem,
    ContentItem,
    ContentSequence,
    ImageContentItem,
    RelationshipTypeValues,
    TextContentItem,
)
from pydicom import Dataset
from pydicom.sr.codedict import codes

from srcmatters.deployment.dicom_results.structured_report import (
    SCHEME,
    derived_uid,
    unverified_report,
)
from srcmatters.deployment.prediction.predictor import Prediction
from srcmatters.exported_bundle.disclaimers import disclaimers

SERIES_NUMBER = 9103
NOT_READ = CodedConcept("not_read", SCHEME, "Not read by the network: no finding, and none excluded")
_DESCRIPTION = 64  # characters at most


def refusal_report(
    prediction: Prediction, sources: Sequence[Dataset], rules: Mapping[str, Any]
) -> Comprehensive3DSR:
    """Say in the study itself that it was not read, and why.

    Args:
        prediction: refused; its reasons name no patient.
        sources: headers of its images.
        rules: of the bundle.
    """
    root = ContainerContentItem(name=NOT_READ)
    root.ContentSequence = ContentSequence(_items(prediction, sources, rules))
    return unverified_report(
        root,
        sources,
        rules,
        derived_uid("refusal series", sources, rules),
        derived_uid("refusal", sources, rules, prediction),
        SERIES_NUMBER,
        f"NOT READ, RESEARCH USE ONLY: {rules['name']}"[:_DESCRIPTION],
    )


def _items(prediction: Prediction, sources: Sequence[Dataset], rules: Mapping[str, Any]) -> list[ContentItem]:
    contains = RelationshipTypeValues.CONTAINS
    texts = [*(f"NOT READ: {reason}" for reason in prediction.reasons), *disclaimers(rules)]
    return [
        *(TextContentItem(codes.DCM.Comment, text, contains) for text in texts),
        *(
            ImageContentItem(
                codes.DCM.SourceImage, one.SOPClassUID, one.SOPInstanceUID, relationship_type=contains
            )
            for one in sources
        ),
    ]
