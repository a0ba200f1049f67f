"""An answer as a DICOM Structured Report: Comprehensive 3D SR, TID 1500, as IHE AI Results has it."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from highdicom import ContributingEquipment
from highdicom.sr import (
    AlgorithmIdentification,
    CodedConcept,
    Comprehensive3DSR,
    ContentItem,
    DeviceObserverIdentifyingAttributes,
    ImageContentItem,
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
from pydicom import Dataset, Sequence as DicomSequence
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


def report(
    prediction: Prediction,
    sources: Sequence[Dataset],
    rules: Mapping[str, Any],
    capture: Dataset | None = None,
) -> Comprehensive3DSR:
    """Write an answer as TID 1500 measurement report.

    It holds the finding as present or absent, the probability, the threshold, the model with its version, and
    references to the images. Patient and study are those of the images. It says that it is preliminary,
    unverified, for research use, what the audit came to, and what the answer was flagged for. Only a positive
    answer has an item Finding: the name of a disease after that word is read as its presence.

    Args:
        prediction: not refused.
        sources: headers of its images, from :func:`read_sources`.
        rules: of the bundle.
        capture: the Secondary Capture of the same answer, to refer to.
    """
    assert prediction.probability is not None
    content = MeasurementReport(
        observation_context=ObservationContext(observer_device_context=_observer(rules)),
        procedure_reported=_PROCEDURES[rules["modality"]],
        imaging_measurements=[_group(prediction, sources, rules, capture)],
        title=codes.DCM.ImagingMeasurementReport,
    )
    # TID 1500 is extensible, too: what the audit came to stands before any measurement.
    content[0].ContentSequence.insert(-1, _comment(state(rules)))
    return unverified_report(
        content,
        [*sources, *([] if capture is None else [capture])],
        rules,
        derived_uid("SR series", sources, rules),
        derived_uid("SR", sources, rules, prediction),
        SERIES_NUMBER,
        described(rules),
    )


def unverified_report(
    content: Dataset | DicomSequence,
    evidence: Sequence[Dataset],
    rules: Mapping[str, Any],
    series_uid: UID,
    uid: UID,
    series_number: int,
    description: str,
) -> Comprehensive3DSR:
    """A report of the network's that nobody has verified.

    Args:
        content: root of its tree.
        evidence: headers of the objects that it refers to.
        rules: of the bundle.
        series_uid: of its series.
        uid: of the report.
        series_number: of its series.
        description: of its series, at most 64 characters.
    """
    made = Comprehensive3DSR(
        evidence=evidence,
        content=content,
        series_instance_uid=series_uid,
        series_number=series_number,
        sop_instance_uid=uid,
        instance_number=1,
        manufacturer=MANUFACTURER,
        is_complete=True,
        is_final=False,
        is_verified=False,
        series_description=description,
        software_versions=__version__,
        manufacturer_model_name=MANUFACTURER,
        device_serial_number=__version__,
        contributing_equipment=[equipment(rules)],
    )
    made.CodingSchemeIdentificationSequence = [coding_scheme()]
    return made


def equipment(rules: Mapping[str, Any]) -> ContributingEquipment:
    """The network as a device that contributed to an object, with its version.

    Args:
        rules: of the bundle.
    """
    return ContributingEquipment(
        manufacturer=MANUFACTURER,
        purpose_of_reference=codes.DCM.ProcessingEquipment,
        manufacturer_model_name=str(rules["name"])[:_MEANING],
        software_versions=str(rules["model_version"])[:_MEANING],
        contribution_description="Neural network, research use only",
    )


def coding_scheme() -> Dataset:
    """Whose codes those of :data:`SCHEME` are; the others are in the standard (DICOM PS3.16, section 8)."""
    scheme = Dataset()
    scheme.CodingSchemeDesignator = SCHEME
    scheme.CodingSchemeName = f"Codes of {MANUFACTURER}: probability, threshold, and findings by their names"
    scheme.CodingSchemeVersion = __version__
    scheme.CodingSchemeResponsibleOrganization = MANUFACTURER
    return scheme


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
    content = [] if prediction is None else [repr(prediction.probability), *prediction.reasons]
    # As one text: pydicom joins several without anything between them, and "1", "12" would be "11", "2".
    return generate_uid(entropy_srcs=[json.dumps([kind, __version__, rules, about, content], sort_keys=True)])


def described(rules: Mapping[str, Any]) -> str:
    """What viewers show of a series: at most 64 characters."""
    return state(rules)[:_MEANING]


def state(rules: Mapping[str, Any]) -> str:
    """What a bundle is to be used for, what its audit came to, and its name, in one line."""
    outcome = ", ".join(filter(None, ("RESEARCH USE ONLY", audit_disclaimer(rules))))
    return f"{outcome}: {rules['name']}"


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
    prediction: Prediction,
    sources: Sequence[Dataset],
    rules: Mapping[str, Any],
    capture: Dataset | None,
) -> MeasurementsAndQualitativeEvaluations:
    finding, name = finding_code(rules), rules["finding"]["positive"]
    probability = UNCALIBRATED if rules["calibration"]["method"] == "none" else PROBABILITY
    values = ((probability, prediction.probability), (THRESHOLD, rules["threshold"]["value"]))
    group = MeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(
            uid=derived_uid("finding", sources, rules), identifier=f"Assessment for {name}"
        ),
        finding_type=finding if prediction.finding else None,
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
    added: list[ContentItem] = [_comment(text) for text in disclaimers(rules)]
    added += [_comment(f"FLAGGED: {reason}") for reason in prediction.reasons]
    if capture is not None:
        added.append(_reference(capture))
    group[0].ContentSequence.extend(added)
    return group


def _comment(text: str) -> TextContentItem:
    return TextContentItem(codes.DCM.Comment, text, RelationshipTypeValues.CONTAINS)


def _reference(capture: Dataset) -> ImageContentItem:
    """The capture as the explanation of an answer, whichever it is."""
    return ImageContentItem(
        codes.DCM.GradientWeightedClassActivation,
        capture.SOPClassUID,
        capture.SOPInstanceUID,
        relationship_type=RelationshipTypeValues.CONTAINS,
    )


def _parameters(rules: Mapping[str, Any]) -> list[str]:
    calibration, threshold = rules["calibration"], rules["threshold"]
    return [
        f"network {rules['network']}, image size {rules['image_size']}",
        f"calibration {calibration['method']} on {calibration['cases']} validation cases",
        f"threshold {threshold['rule']} on {threshold['cases']} validation cases",
        f"run {rules['mlflow_run'] or 'unknown'}",
        f"{MANUFACTURER} {__version__}",
    ]
