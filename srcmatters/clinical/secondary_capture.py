"""Where the network looked, as an image that any viewer shows: a DICOM Secondary Capture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from highdicom import PhotometricInterpretationValues
from highdicom.enum import CoordinateSystemNames
from highdicom.sc import SCImage
from PIL import Image, ImageDraw, ImageFont
from pydicom import Dataset
from pydicom.sequence import Sequence as DicomSequence
from pydicom.uid import generate_uid

from srcmatters import __version__
from srcmatters.clinical.predict import Prediction, marks
from srcmatters.clinical.structured_report import MANUFACTURER, described

SERIES_NUMBER = 9102
_SIDE = 512  # pixels of the longer side
_LINE = 16  # pixels of a line of text
_SCAN = ("L", "P")
_STRENGTH = 0.6  # of the colour where the network looks most


def capture(
    prediction: Prediction, sources: Sequence[Dataset], rules: Mapping[str, Any], saliency: np.ndarray
) -> SCImage:
    """Write the image beside itself with the saliency over it, and below what the network said.

    Patient and study are those of the images. The text names the model, the probability and the threshold,
    and says what every output must (research use, unaudited); no name of a patient is in the pixels.

    Args:
        prediction: not refused.
        sources: headers of its images.
        rules: of the bundle.
        saliency: (H, W) in [0, 1], see :func:`srcmatters.clinical.saliency.saliency`.
    """
    assert prediction.prepared is not None
    pixels = draw(prediction.prepared.preview, saliency, _lines(prediction, rules))
    image = SCImage.from_ref_dataset(
        sources[0],
        pixel_array=pixels,
        photometric_interpretation=PhotometricInterpretationValues.RGB,
        bits_allocated=8,
        coordinate_system=CoordinateSystemNames.PATIENT,
        series_instance_uid=generate_uid(),
        series_number=SERIES_NUMBER,
        sop_instance_uid=generate_uid(),
        instance_number=1,
        manufacturer=MANUFACTURER,
        patient_orientation=_SCAN,
        transfer_syntax_uid="1.2.840.10008.1.2.1",
    )
    # Scans are shown with the patient's left on the right and the back below, radiographs as they came.
    image.PatientOrientation = (
        list(_SCAN) if rules["modality"] == "ct" else sources[0].get("PatientOrientation")
    )
    image.SeriesDescription = described(rules)
    image.ImageType = ["DERIVED", "SECONDARY", "SALIENCY"]
    image.SoftwareVersions = __version__
    image.DerivationDescription = "Grad-CAM over the input of a neural network, research use only"
    # There is text in it, but none that says who it is.
    image.BurnedInAnnotation = "NO"
    image.SourceImageSequence = DicomSequence([_reference(one) for one in sources])
    return image


def draw(preview: np.ndarray, saliency: np.ndarray, lines: Sequence[str]) -> np.ndarray:
    """The image, the image under the saliency, and text below.

    Args:
        preview: (h, w) uint8.
        saliency: (H, W) in [0, 1], stretched over the preview.
        lines: of text.

    Returns:
        (rows, columns, 3) uint8.
    """
    scale = _SIDE / max(preview.shape)
    shape = (max(1, round(preview.shape[1] * scale)), max(1, round(preview.shape[0] * scale)))
    grey = np.asarray(Image.fromarray(preview).resize(shape, Image.Resampling.BILINEAR), np.float32) / 255
    heat = np.asarray(Image.fromarray(saliency).resize(shape, Image.Resampling.BILINEAR)).clip(0, 1)
    colour = matplotlib.colormaps["inferno"](heat)[:, :, :3]
    weight = (_STRENGTH * heat)[:, :, None]
    plain = np.repeat(grey[:, :, None], 3, 2)
    both = np.concatenate([plain, plain * (1 - weight) + colour * weight], 1)
    canvas = Image.new("RGB", (both.shape[1], both.shape[0] + _LINE * len(lines) + 8))
    canvas.paste(Image.fromarray((both * 255).round().astype(np.uint8)))
    pen, font = ImageDraw.Draw(canvas), ImageFont.load_default(size=_LINE - 4)
    for number, line in enumerate(lines):
        pen.text((6, both.shape[0] + 4 + _LINE * number), line, fill="white", font=font)
    return np.asarray(canvas)


def _lines(prediction: Prediction, rules: Mapping[str, Any]) -> list[str]:
    finding = rules["finding"]
    said = finding["positive"] if prediction.finding else finding["negative"]
    return [
        *marks(dict(rules)),
        f"{rules['name']}: {said}, probability {prediction.probability:.3f}, threshold"
        f" {rules['threshold']['value']:.3f}; colour: what speaks for {finding['positive']} (Grad-CAM)",
        *(f"FLAGGED: {reason}" for reason in prediction.reasons),
    ]


def _reference(source: Dataset) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = source.SOPClassUID, source.SOPInstanceUID
    return item
