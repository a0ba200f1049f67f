"""Files of images that are sent: DICOM, PNG and NIfTI without compression, alike but for their pixels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import torch
from monai.data import MetaTensor
from PIL import Image
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.sequence import Sequence as DicomSequence
from pydicom.uid import UID, CTImageStorage, DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian

from srcmatters.audit.pairs.identifiers import SentImage
from srcmatters.audit.pairs.stored_depth import LOWEST_HU, stored_display, stored_hounsfield
from srcmatters.images.pixel_spacing import known_spacing
from srcmatters.phantom.files import CHEST, VIEWS, code, set_pixels

_DATE, _TIME = "20000101", "120000"
_MANUFACTURER = "srcmatters"
_DECIMALS = 6  # DS elements hold 16 characters


def write_png(path: Path, image: torch.Tensor, bits: int) -> None:
    """(1, H, W) display values as grey PNG; not compressed, so that its size is that of its pixels."""
    stored = stored_display(image[0], bits)
    if bits > 8:
        # A PNG of 16 bits is read as the full range: what lies between is repeated from the top.
        stored = np.round(stored.astype(np.float64) * 65535 / (2**bits - 1)).astype(np.uint16)
    elif bits < 8:
        stored = np.round(stored.astype(np.float64) * 255 / (2**bits - 1)).astype(np.uint8)
    Image.fromarray(stored).save(path, format="PNG", compress_level=0)


def write_nifti(path: Path, image: torch.Tensor) -> None:
    """(1, H, W, D) HU as NIfTI of 16 bits, uncompressed."""
    affine = np.asarray(image.affine, dtype=float) if isinstance(image, MetaTensor) else np.eye(4)
    stored = stored_hounsfield(image[0]).astype(np.int32) + LOWEST_HU
    volume = nibabel.Nifti1Image(stored.clip(-(2**15), 2**15 - 1).astype(np.int16), affine)
    volume.header.set_xyzt_units("mm")
    nibabel.save(volume, path)


def write_radiograph(
    path: Path, image: torch.Tensor, bits: int, sent: SentImage, case: Mapping[str, Any]
) -> None:
    """(1, H, W) display values as Digital X-Ray Image Storage - For Presentation.

    Args:
        path: of the file.
        image: its spacing is written where it is known.
        bits: stored.
        sent: identifiers.
        case: its ``view``, PA or AP, is written.
    """
    dataset = _new_dataset(sent, DigitalXRayImageStorageForPresentation, "DX", sent.sop_instance(), 1)
    view = str(case.get("view") or "").upper()
    dataset.ImageType = ["DERIVED", "PRIMARY"]
    dataset.PresentationIntentType = "FOR PRESENTATION"
    dataset.ViewPosition = view if view in VIEWS else ""
    dataset.ImageLaterality = "U"
    dataset.PatientOrientation = ["L", "F"]
    dataset.AnatomicRegionSequence = DicomSequence([code(CHEST)])
    dataset.ViewCodeSequence = DicomSequence([code(VIEWS[view if view in VIEWS else "PA"])])
    spacing = known_spacing(image)
    steps = [round(step, _DECIMALS) for step in spacing[:2]] if spacing else [1.0, 1.0]
    dataset.ImagerPixelSpacing = steps
    if spacing:
        dataset.PixelSpacing = steps
    dataset.DetectorType, dataset.PositionerType = "DIRECT", ""
    dataset.PixelIntensityRelationship, dataset.PixelIntensityRelationshipSign = "LOG", -1
    dataset.RescaleSlope, dataset.RescaleIntercept, dataset.RescaleType = 1, 0, "US"
    dataset.WindowCenter, dataset.WindowWidth = 2 ** (bits - 1), 2**bits
    dataset.PresentationLUTShape = "IDENTITY"
    dataset.LossyImageCompression, dataset.BurnedInAnnotation = "00", "NO"
    dataset.AcquisitionContextSequence = DicomSequence([])
    set_pixels(dataset, stored_display(image[0], bits), bits)
    dataset.save_as(path, enforce_file_format=True)


def write_ct(folder: Path, image: MetaTensor, sent: SentImage) -> None:
    """(1, H, W, D) HU into a new folder: one CT Image Storage file a slice.

    Args:
        folder: is made.
        image: a MetaTensor whose affine leads to RAS.
        sent: identifiers.
    """
    folder.mkdir()
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ np.asarray(image.affine, dtype=float)  # RAS to LPS
    steps = np.linalg.norm(affine[:3, :3], axis=0)
    down, right = affine[:3, 0] / steps[0], affine[:3, 1] / steps[1]
    stored = stored_hounsfield(image[0])
    for number in range(stored.shape[2]):
        dataset = _new_dataset(sent, CTImageStorage, "CT", sent.sop_instance(number), number + 1)
        dataset.ImageType = ["DERIVED", "PRIMARY", "AXIAL"]
        dataset.FrameOfReferenceUID, dataset.PositionReferenceIndicator = sent.frame, ""
        dataset.PatientPosition = "HFS"
        dataset.ImageOrientationPatient = [round(float(part), _DECIMALS) for part in (*right, *down)]
        place = affine[:3, 2] * number + affine[:3, 3]
        dataset.ImagePositionPatient = [round(float(part), _DECIMALS) for part in place]
        dataset.PixelSpacing = [round(float(step), _DECIMALS) for step in steps[:2]]
        dataset.SliceThickness = round(float(steps[2]), _DECIMALS)
        dataset.KVP, dataset.AcquisitionNumber = None, 1
        dataset.RescaleSlope, dataset.RescaleIntercept, dataset.RescaleType = 1, LOWEST_HU, "HU"
        set_pixels(dataset, np.ascontiguousarray(stored[:, :, number]), 16)
        dataset.save_as(folder / f"{number + 1:05d}.dcm", enforce_file_format=True)


def _new_dataset(sent: SentImage, sop_class: UID, modality: str, instance: str, number: int) -> FileDataset:
    """Patient, study, series and equipment: the same words in all files but for the identifiers."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = sop_class, UID(instance)
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SpecificCharacterSet = "ISO_IR 100"
    dataset.SOPClassUID, dataset.SOPInstanceUID = sop_class, UID(instance)
    dataset.PatientName, dataset.PatientID = f"{sent.identifier}^AUDIT", sent.identifier
    dataset.PatientSex = dataset.PatientBirthDate = ""
    dataset.PatientIdentityRemoved, dataset.DeidentificationMethod = "YES", "srcmatters audit prepare"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = UID(sent.study), UID(sent.series)
    for name in ("StudyDate", "SeriesDate", "ContentDate", "AcquisitionDate"):
        setattr(dataset, name, _DATE)
    for name in ("StudyTime", "SeriesTime", "ContentTime", "AcquisitionTime"):
        setattr(dataset, name, _TIME)
    dataset.StudyID, dataset.AccessionNumber = "1", sent.identifier
    dataset.ReferringPhysicianName = ""
    dataset.SeriesNumber, dataset.InstanceNumber = 1, number
    dataset.Modality, dataset.BodyPartExamined = modality, "CHEST"
    dataset.Manufacturer, dataset.ManufacturerModelName = _MANUFACTURER, "audit"
    return dataset


#: How a file of each format is called; "": a folder.
ENDINGS: Mapping[tuple[str, str], str] = {
    ("radiograph", "dicom"): ".dcm",
    ("radiograph", "png"): ".png",
    ("ct", "dicom"): "",
    ("ct", "nifti"): ".nii",
}
Writer = Callable[[Path, torch.Tensor, SentImage, Mapping[str, Any]], None]


def writer_of(modality: str, file_format: str, bits: int | None) -> Writer:
    """What writes one image.

    Args:
        modality: see :data:`ENDINGS`.
        file_format: see there.
        bits: of a radiograph's grey values.
    """
    depth = bits or 16
    writers: dict[tuple[str, str], Writer] = {
        ("radiograph", "dicom"): lambda path, image, sent, case: write_radiograph(
            path, image, depth, sent, case
        ),
        ("radiograph", "png"): lambda path, image, sent, case: write_png(path, image, depth),
        ("ct", "dicom"): lambda path, image, sent, case: write_ct(path, MetaTensor(image), sent),
        ("ct", "nifti"): lambda path, image, sent, case: write_nifti(path, image),
    }
    return writers[modality, file_format]
