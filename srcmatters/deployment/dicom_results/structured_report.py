"""An answer as a DICOM Structured Report: Comprehensive SR, template TID 1500."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from highdicom.sr import (
    AlgorithmIdentification,
    CodedConcept,
    ComprehensiveSR,
    DeviceObserverIdentifyingAttributes,
    Measurement,
    MeasurementReport,
    MeasurementsAndQualitativeEvaluations,
    ObservationContext,
    ObserverContext,
    QualitativeEvaluation,
    RelationshipTypeValues,
    SourceImageForMeasurementGroup,
    TextContentItem,
    TrackingIdentifier,
)
from pydicom import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import UID, generate_uid

from srcmatters import __version__
from srcmatters.deployment.prediction.header_tasks import PATIENT, REPEATED
from srcmatters.deployment.prediction.predictor import Prediction
from srcmatters.exported_bundle.disclaimers import audit_disclaimer, disclaimers

MANUFACTURER = "srcmatters"
#: Coding scheme of what no standard has a code for.
SCHEME = "99SRCMATTERS"
PROBABILITY = CodedConcept("probability", SCHEME, "Calibrated probability of the finding")
UNCALIBRATED = CodedConcept("uncalibrated", SCHEME, "Uncalibrated probability of the finding")
THRESHOLD = CodedConcept("threshold", SCHEME, "Probability from which on the finding is present")
SERIES_NUMBER = 9101
_MEANING = 64  # characters of a code's meaning at most
_VALUE = 16  # characters of its value
_DIGITS = 8  # of a hash
_PLAIN = re.compile("[A-Z0-9 ]+")
_PROCEDURES = {
    "radiograph": CodedConcept("363680008", "SCT", "Radiographic imaging procedure"),
    "ct": CodedConcept("77477000", "SCT", "Computed tomography"),
}


def report(prediction: Prediction, sources: Sequence[Dataset], rules: Mapping[str, Any]) -> ComprehensiveSR:
    """Write an answer as TID 1500 measurement report.

    It holds the finding as present or absent, the probability, the threshold, the model with its version, and
    references to the images. Patient and study are those of the images. It says that it is preliminary,
    unverified, for research use, what the audit came to, and what the answer was flagged for.

    Args:
        prediction: not refused.
        sources: headers of its images, from :func:`read_sources`.
        rules: of the bundle.
    """
    assert prediction.probability is not None
    content = MeasurementReport(
        observation_context=ObservationContext(observer_device_context=_observer(rules)),
        procedure_reported=_PROCEDURES[rules["modality"]],
        imaging_measurements=[_group(prediction, sources, rules)],
        title=codes.DCM.ImagingMeasurementReport,
    )
    return ComprehensiveSR(
        evidence=sources,
        content=content,
        series_instance_uid=derived_uid("SR series", sources, rules),
        series_number=SERIES_NUMBER,
        sop_instance_uid=derived_uid("SR", sources, rules, prediction),
        instance_number=1,
        manufacturer=MANUFACTURER,
        is_complete=True,
        is_final=False,
        is_verified=False,
        series_description=described(rules),
        software_versions=__version__,
    )


def derived_uid(
    kind: str, sources: Sequence[Dataset], rules: Mapping[str, Any], prediction: Prediction | None = None
) -> UID:
    """A UID that is the same for the same answer to the same images, so that an archive knows it again.

    Images whose patient or study was corrected since give another one: an archive that keeps the first of two
    objects with one UID would keep the answer under the wrong patient.

    Args:
        kind: of object.
        sources: headers of the images.
        rules: of the bundle.
        prediction: the answer; None: whatever it is.
    """
    keywords = ("PatientID", "StudyInstanceUID", "SOPInstanceUID")
    about = sorted([str(one.get(keyword) or "") for keyword in keywords] for one in sources)
    said = [] if prediction is None else [repr(prediction.probability), *prediction.reasons]
    # As one text: pydicom joins several without anything between them, and "1", "12" would be "11", "2".
    return generate_uid(entropy_srcs=[json.dumps([kind, __version__, rules, about, said], sort_keys=True)])


def described(rules: Mapping[str, Any]) -> str:
    """What viewers show of a series: at most 64 characters."""
    said = ", ".join(filter(None, ("RESEARCH USE ONLY", audit_disclaimer(rules))))
    return f"{said}: {rules['name']}"[:_MEANING]


def finding_code(rules: Mapping[str, Any]) -> CodedConcept:
    """The finding's code, or one of our own scheme where the bundle knows none."""
    finding = rules["finding"]
    if finding["code"]:
        value, scheme, meaning = finding["code"]
        return CodedConcept(value, scheme, meaning[:_MEANING])
    return CodedConcept(_code_value(finding["positive"]), SCHEME, finding["positive"][:_MEANING])


def _code_value(name: str) -> str:
    """A code for a name: value and scheme are what tells concepts apart, not the meaning beside them.

    Case and white space do not count. A name that does not fit, or of other characters than letters, digits
    and blanks, ends with a part of its hash, as two such names could begin alike.
    """
    words = " ".join(name.upper().split())
    if len(words) <= _VALUE and _PLAIN.fullmatch(words):
        return words.replace(" ", "_")
    beginning = re.sub(r"[^A-Z0-9]", "", words)[: _VALUE - 1 - _DIGITS]
    digits = hashlib.sha256(words.encode()).hexdigest()[:_DIGITS].upper()
    return f"{beginning}_{digits}".lstrip("_")


def complete(header: Dataset) -> Dataset:
    """A source's header with every element that a derived object must have, empty where it has none."""
    for keyword in (*PATIENT, *REPEATED):
        if keyword not in header:
            setattr(header, keyword, None)
    if header.get("PatientSex") not in (None, "", "M", "F", "O"):
        header.PatientSex = None
    return header


def _observer(rules: Mapping[str, Any]) -> ObserverContext:
    device = DeviceObserverIdentifyingAttributes(
        uid=generate_uid(entropy_srcs=[MANUFACTURER, __version__, str(rules["name"])]),
        name=MANUFACTURER,
        manufacturer_name=MANUFACTURER,
        model_name=str(rules["name"])[:_MEANING],
    )
    return ObserverContext(observer_type=codes.DCM.Device, observer_identifying_attributes=device)


def _group(
    prediction: Prediction, sources: Sequence[Dataset], rules: Mapping[str, Any]
) -> MeasurementsAndQualitativeEvaluations:
    finding = finding_code(rules)
    probability = UNCALIBRATED if rules["calibration"]["method"] == "none" else PROBABILITY
    values = ((probability, prediction.probability), (THRESHOLD, rules["threshold"]["value"]))
    group = MeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(
            uid=derived_uid("finding", sources, rules), identifier=rules["finding"]["positive"]
        ),
        finding_type=finding,
        algorithm_id=AlgorithmIdentification(
            name=str(rules["name"]),
            version=rules["model_version"],
            manufacturer=MANUFACTURER,
            parameters=_parameters(rules),
        ),
        measurements=[
            Measurement(name, round(float(value or 0), 6), codes.UCUM.NoUnits) for name, value in values
        ],
        qualitative_evaluations=[
            QualitativeEvaluation(finding, codes.SCT.Present if prediction.finding else codes.SCT.Absent)
        ],
        source_images=[
            SourceImageForMeasurementGroup(one.SOPClassUID, one.SOPInstanceUID) for one in sources
        ],
    )
    # TID 1501 is extensible: a comment is a content item of the group like any other.
    flagged = [f"FLAGGED: {reason}" for reason in prediction.reasons]
    for text in (*disclaimers(rules), *flagged):
        group[0].ContentSequence.append(
            TextContentItem(codes.DCM.Comment, text, RelationshipTypeValues.CONTAINS)
        )
    return group


def _parameters(rules: Mapping[str, Any]) -> list[str]:
    calibration, threshold = rules["calibration"], rules["threshold"]
    return [
        f"network {rules['network']}, image size {rules['image_size']}",
        f"calibration {calibration['method']} on {calibration['cases']} validation cases",
        f"threshold {threshold['rule']} on {threshold['cases']} validation cases",
        f"run {rules['mlflow_run'] or 'unknown'}",
        f"{MANUFACTURER} {__version__}",
    ]
