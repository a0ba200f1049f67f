"""The phantom on disk: PNG, NIfTI and DICOM, all obviously synthetic."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import nibabel
import numpy as np
from PIL import Image
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence as DicomSequence
from pydicom.uid import (
    UID,
    CTImageStorage,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    generate_uid,
)

from srcmatters.phantom.computed_tomography import WHOLE, voxel_axes
from srcmatters.phantom.patient import PhantomPatient
from srcmatters.phantom.radiography import detector_field

STUDY_DATE = "20200101"
RESCALE_INTERCEPT = -1024
CHEST = ("51185008", "SCT", "Chest")
VIEWS = {"PA": ("399348003", "SCT", "postero-anterior"), "AP": ("272479007", "SCT", "antero-posterior")}


def write_png(path: Path, image: np.ndarray) -> None:
    """Write (H, W) uint8 as 8-bit grey PNG."""
    Image.fromarray(image).save(path)


def write_nifti(path: Path, volume: np.ndarray, spacing_mm: Sequence[float], slices: slice = WHOLE) -> None:
    """Write (H, W, D) HU, the ``slices`` of a CT, as NIfTI with axes x, y, z and an affine into RAS+, mm."""
    columns, depths, heights = voxel_axes(spacing_mm)
    affine = np.diag([-spacing_mm[1], -spacing_mm[0], spacing_mm[2], 1.0])
    affine[:3, 3] = [-columns[0], -depths[0], heights[slices][0]]
    image = nibabel.Nifti1Image(volume.transpose(1, 0, 2), affine)
    image.header.set_xyzt_units("mm")
    nibabel.save(image, path)


def write_ct_series(
    folder: Path,
    volume: np.ndarray,
    patient: PhantomPatient,
    spacing_mm: Sequence[float],
    slices: slice = WHOLE,
) -> None:
    """Write (H, W, D) HU, the ``slices`` of a CT, into a new ``folder``: one CT Image Storage file each."""
    folder.mkdir()
    columns, depths, heights = voxel_axes(spacing_mm)
    for number, z in enumerate(heights[slices]):
        dataset = new_dataset(patient, CTImageStorage, "CT", number + 1)
        dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        dataset.FrameOfReferenceUID = uid(patient, "frame")
        dataset.PositionReferenceIndicator = ""
        dataset.PatientPosition = "HFS"
        dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        dataset.ImagePositionPatient = [float(columns[0]), float(depths[0]), float(z)]
        dataset.SliceLocation = float(z)
        dataset.PixelSpacing = [spacing_mm[0], spacing_mm[1]]
        dataset.SliceThickness = spacing_mm[2]
        dataset.KVP, dataset.ConvolutionKernel = 120, "PHANTOM"
        dataset.AcquisitionNumber = 1
        if patient.contrast_agent:
            dataset.ContrastBolusAgent = "PHANTOM AGENT"
        dataset.RescaleSlope, dataset.RescaleIntercept, dataset.RescaleType = 1, RESCALE_INTERCEPT, "HU"
        stored = np.clip(volume[:, :, number] - RESCALE_INTERCEPT, 0, 4095).astype(np.uint16)
        set_pixels(dataset, stored, 12)
        dataset.save_as(folder / f"slice-{number + 1:04d}.dcm", enforce_file_format=True)


def write_digital_xray(path: Path, image: np.ndarray, patient: PhantomPatient) -> None:
    """Write (H, W) uint8 as Digital X-Ray Image Storage - For Presentation, MONOCHROME2."""
    dataset = new_dataset(patient, DigitalXRayImageStorageForPresentation, "DX", patient.acquisition + 1)
    dataset.ImageType = ["ORIGINAL", "PRIMARY"]
    dataset.PresentationIntentType = "FOR PRESENTATION"
    dataset.ViewPosition = patient.view
    dataset.ImageLaterality = "U"
    dataset.PatientOrientation = ["L", "F"]
    dataset.AnatomicRegionSequence = DicomSequence([code(CHEST)])
    dataset.ViewCodeSequence = DicomSequence([code(VIEWS[patient.view])])
    spacing = round(detector_field(patient).width_mm / image.shape[0], 6)
    dataset.ImagerPixelSpacing = dataset.PixelSpacing = [spacing, spacing]
    dataset.DetectorType = "DIRECT"
    dataset.PixelIntensityRelationship, dataset.PixelIntensityRelationshipSign = "LOG", -1
    dataset.RescaleSlope, dataset.RescaleIntercept, dataset.RescaleType = 1, 0, "US"
    dataset.WindowCenter, dataset.WindowWidth = 128, 256
    dataset.PresentationLUTShape = "IDENTITY"
    dataset.LossyImageCompression, dataset.BurnedInAnnotation = "00", "NO"
    dataset.AcquisitionContextSequence = DicomSequence([])
    set_pixels(dataset, image, 8)
    dataset.save_as(path, enforce_file_format=True)


def new_dataset(patient: PhantomPatient, sop_class: UID, modality: str, number: int) -> FileDataset:
    """Patient, study, series, equipment and SOP common modules; UIDs follow from (seed, index, number)."""
    instance = uid(patient, modality, number)
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = sop_class, instance
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SpecificCharacterSet = "ISO_IR 100"
    dataset.SOPClassUID, dataset.SOPInstanceUID = sop_class, instance
    dataset.PatientName = f"PHANTOM^{patient.index + 1:04d}"
    dataset.PatientID, dataset.PatientSex = patient.patient_id, patient.sex
    dataset.PatientAge, dataset.PatientBirthDate = f"{patient.age:03d}Y", ""
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = (
        uid(patient, "study"),
        uid(patient, "series", modality),
    )
    dataset.StudyDate = dataset.SeriesDate = dataset.ContentDate = STUDY_DATE
    dataset.AcquisitionDate = STUDY_DATE
    dataset.StudyTime = dataset.ContentTime = dataset.AcquisitionTime = "120000"
    dataset.StudyID, dataset.AccessionNumber, dataset.ReferringPhysicianName = "1", "", ""
    dataset.StudyDescription = "Synthetic chest phantom, not a person"
    dataset.SeriesNumber, dataset.InstanceNumber = 1, number
    dataset.Modality, dataset.BodyPartExamined = modality, "CHEST"
    dataset.Manufacturer, dataset.ManufacturerModelName = patient.manufacturer, "srcmatters phantom"
    return dataset


def set_pixels(dataset: Dataset, pixels: np.ndarray, bits_stored: int) -> None:
    """Image pixel module for (rows, columns) of uint8 or uint16."""
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.BitsAllocated = pixels.dtype.itemsize * 8
    dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = bits_stored, bits_stored - 1, 0
    padding = b"\0" if pixels.nbytes % 2 else b""
    dataset.PixelData = np.ascontiguousarray(pixels).tobytes() + padding
    dataset["PixelData"].VR = "OB" if dataset.BitsAllocated == 8 else "OW"


def code(triple: tuple[str, str, str]) -> Dataset:
    """A coded concept: value, scheme, meaning."""
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = triple
    return item


def uid(patient: PhantomPatient, *what: object) -> UID:
    """A deterministic UID for one thing of one patient."""
    identity = ["srcmatters phantom", str(patient.seed), str(patient.index), *map(str, what)]
    return generate_uid(entropy_srcs=identity)
