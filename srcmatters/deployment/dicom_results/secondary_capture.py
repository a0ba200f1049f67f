"""Where the network looked, as an image that any viewer shows: a DICOM Secondary Capture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from highdicom import PhotometricInterpretationValues
from highdicom.enum import CoordinateSystemNames
from highdicom.sc import SCImage
from pydicom import Dataset
from pydicom.sequence import Sequence as DicomSequence

from srcmatters import __version__
from srcmatters.deployment.dicom_results.structured_report import (
    MANUFACTURER,
    derived_uid,
    described,
    equipment,
)
from srcmatters.deployment.prediction.predictor import Prediction
from srcmatters.exported_bundle.disclaimers import disclaimers
from srcmatters.exported_bundle.saliency import FULL_COLOUR, draw, has_evidence

SERIES_NUMBER = 9102
_SCAN = ("L", "P")
_UNPAIRED = ("ABDOMEN", "CHEST", "HEAD", "NECK", "PELVIS", "SKULL", "SPINE")


def capture(
    prediction: Prediction, sources: Sequence[Dataset], rules: Mapping[str, Any], saliency: np.ndarray
) -> SCImage:
    """Write the image beside itself with the saliency over it, and below what the network said.

    Patient and study are those of the images. The text names the model, its version, the probability and the
    threshold, and says what every output must (research use, what the audit came to), as the header does; no
    name of a patient is in the pixels.

    Args:
        prediction: not refused.
        sources: headers of its images.
        rules: of the bundle.
        saliency: (H, W), log-odds, see :func:`srcmatters.exported_bundle.saliency.saliency`.
    """
    assert prediction.prepared is not None
    pixels = draw(prediction.prepared.preview, saliency, _lines(prediction, rules, saliency))
    image = SCImage.from_ref_dataset(
        sources[0],
        pixel_array=pixels,
        photometric_interpretation=PhotometricInterpretationValues.RGB,
        bits_allocated=8,
        coordinate_system=CoordinateSystemNames.PATIENT,
        series_instance_uid=derived_uid("SC series", sources, rules),
        series_number=SERIES_NUMBER,
        sop_instance_uid=derived_uid("SC", sources, rules, prediction),
        instance_number=1,
        manufacturer=MANUFACTURER,
        patient_orientation=_SCAN,
        transfer_syntax_uid="1.2.840.10008.1.2.1",
        contributing_equipment=[equipment(rules)],
    )
    # Scans are shown with the patient's left on the right and the back below, radiographs as they came.
    image.PatientOrientation = (
        list(_SCAN) if rules["modality"] == "ct" else sources[0].get("PatientOrientation")
    )
    image.SeriesDescription = described(rules)
    image.ConversionType = "WSD"  # made by a workstation; highdicom's default is DI, a digital interface
    image.ImageType = ["DERIVED", "SECONDARY", "SALIENCY"]
    image.SoftwareVersions, image.ManufacturerModelName = __version__, MANUFACTURER
    image.DerivationDescription = "Grad-CAM over the input of a neural network, research use only"
    image.ImageComments = "; ".join(disclaimers(rules))
    _name_body_part(image, rules["body_part"])
    _repeat(image, prediction)
    image.SourceImageSequence = DicomSequence([_reference(one) for one in sources])
    return image


def _name_body_part(image: SCImage, body_part: str) -> None:
    """Laterality is absent where a body part is no pair of two, and empty where nobody says what is shown.

    Source: DICOM PS3.3, General Series Module, Laterality.
    """
    if body_part.upper() in _UNPAIRED:
        image.BodyPartExamined = body_part.upper()
    else:
        image.Laterality = ""


def _repeat(image: SCImage, prediction: Prediction) -> None:
    """What holds of the pixels because they are those of the source: text in them, and lossy compression."""
    header = prediction.item.headers[0]
    burnt_in = header["BurnedInAnnotation"]
    if prediction.prepared is not None and prediction.prepared.text_lines:
        burnt_in = "YES"
    if burnt_in in ("YES", "NO"):  # our own text names nobody
        image.BurnedInAnnotation = burnt_in
    elif "BurnedInAnnotation" in image:
        del image.BurnedInAnnotation
    if header["LossyImageCompression"] == "01":
        image.LossyImageCompression = "01"
        for name in ("LossyImageCompressionMethod", "LossyImageCompressionRatio"):
            if header[name]:
                setattr(image, name, header[name])


def _lines(prediction: Prediction, rules: Mapping[str, Any], saliency: np.ndarray) -> list[str]:
    finding = rules["finding"]
    answer = finding["positive"] if prediction.finding else finding["negative"]
    return [
        *disclaimers(rules),
        f"{rules['name']}, version {rules['model_version']}: {answer}, probability"
        f" {prediction.probability:.3f}, threshold {rules['threshold']['value']:.3f}",
        _legend(finding["positive"], saliency),
        *(f"FLAGGED: {reason}" for reason in prediction.reasons),
    ]


def _legend(finding: str, saliency: np.ndarray) -> str:
    """What the colours mean; without any, why there are none."""
    if not has_evidence(saliency):
        return f"No place of this image speaks for {finding} (Grad-CAM): it is shown without colours"
    return (
        f"Colour: what speaks for {finding} (Grad-CAM), in every image from 0 to {FULL_COLOUR:.0f} log-odds;"
        f" here at most {saliency.max():.1f}"
    )


def _reference(source: Dataset) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = source.SOPClassUID, source.SOPInstanceUID
    return item
