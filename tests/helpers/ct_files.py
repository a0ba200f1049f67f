"""CT files that the tests write: DICOM series, enhanced CT, NIfTI and ITK, in any orientation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import CTImageStorage, EnhancedCTImageStorage, ExplicitVRLittleEndian, generate_uid

SPACING = (1.5, 2.0, 2.5)  # along H, W and D, mm
SHAPE = (6, 8, 5)
LPS = {"R": (-1, 0, 0), "L": (1, 0, 0), "A": (0, -1, 0), "P": (0, 1, 0), "I": (0, 0, -1), "S": (0, 0, 1)}
Change = Callable[[Dataset, int], None]


def volume(shape: Sequence[int] = SHAPE) -> np.ndarray:
    """(H, W, D) whole HU, every voxel different and below air's at first: nothing can be exchanged unseen."""
    return np.arange(np.prod(shape), dtype=np.int16).reshape(shape) * 3 - 1000


def stored_as(hu: np.ndarray, axes: str) -> tuple[np.ndarray, np.ndarray]:
    """The same volume with other stored axes, and its affine into LPS mm.

    Args:
        hu: (H, W, D), whose first voxel is at the origin of the patient.
        axes: where the stored axes lead: "PLS" are H, W and D; "SLA" has rows to superior, ...
    """
    order = ["PA LR IS".index(axis) // 3 for axis in axes]
    turned = hu.transpose(order)
    affine = np.eye(4)
    for at, axis in enumerate(axes):
        step = np.array(LPS[axis]) * SPACING[order[at]]
        affine[:3, at] = step
        if axis in "ARI":
            turned = np.flip(turned, at)
            affine[:3, 3] -= step * (turned.shape[at] - 1)
    return turned, affine


def write_series(folder: Path, hu: np.ndarray, axes: str = "PLS", change: Change | None = None) -> Path:
    """A series whose slices are the last of the stored axes; file names are in no order.

    Args:
        folder: made anew.
        hu: (H, W, D).
        axes: see :func:`stored_as`.
        change: what is done to the dataset of slice k before it is written.
    """
    folder.mkdir(parents=True)
    turned, affine = stored_as(hu, axes)
    series = generate_uid()
    for number in range(turned.shape[2]):
        dataset = new_slice(turned[:, :, number], series)
        dataset.ImagePositionPatient = list(affine[:3, 3] + number * affine[:3, 2])
        steps = np.linalg.norm(affine[:3, :2], axis=0)
        dataset.ImageOrientationPatient = [*(affine[:3, 1] / steps[1]), *(affine[:3, 0] / steps[0])]
        dataset.PixelSpacing = list(steps)
        dataset.InstanceNumber = 100 - number * 7 % 5
        if change is not None:
            change(dataset, number)
        dataset.save_as(folder / f"{number * 3 % 7}-{number}.dcm", enforce_file_format=True)
    return folder


def new_slice(hu: np.ndarray, series: str, sop_class: str = CTImageStorage) -> Dataset:
    """A CT of (rows, columns) or (frames, rows, columns) HU, stored as unsigned 12 bit from -1024."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = sop_class, generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = Dataset()
    dataset.file_meta = meta
    dataset.SOPClassUID, dataset.SOPInstanceUID = sop_class, meta.MediaStorageSOPInstanceUID
    dataset.Modality, dataset.BodyPartExamined, dataset.SeriesInstanceUID = "CT", "CHEST", series
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.SliceThickness, dataset.RescaleSlope, dataset.RescaleIntercept = SPACING[2], 1, -1024
    store(dataset, hu + 1024)
    return dataset


def store(dataset: Dataset, pixels: np.ndarray, bits: int = 12) -> None:
    """Put pixels of (rows, columns) or (frames, rows, columns) into a dataset."""
    if pixels.ndim == 3:
        dataset.NumberOfFrames = len(pixels)
    dataset.Rows, dataset.Columns = pixels.shape[-2:]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.PixelRepresentation = 8 if bits <= 8 else 16, int(pixels.min() < 0)
    dataset.BitsStored, dataset.HighBit = bits, bits - 1
    kind = ("u" if pixels.min() >= 0 else "i") + str(dataset.BitsAllocated // 8)
    dataset.PixelData = np.ascontiguousarray(pixels).astype(kind).tobytes()


def item(**fields: Any) -> Dataset:
    """One item of a sequence."""
    dataset = Dataset()
    for name, value in fields.items():
        setattr(dataset, name, value)
    return dataset


def write_enhanced(path: Path, hu: np.ndarray, order: Sequence[int], intercepts: Sequence[float]) -> Path:
    """An enhanced CT of (H, W, D) whose frames are the slices in ``order``, each rescaled in its own way."""
    frames = np.stack([hu[:, :, k] - intercepts[k] for k in order])
    dataset = new_slice(np.zeros((2, 2), int), generate_uid(), EnhancedCTImageStorage)
    del dataset.RescaleSlope, dataset.RescaleIntercept, dataset.SliceThickness
    store(dataset, frames.astype(int), bits=16)
    dataset.SharedFunctionalGroupsSequence = [
        item(
            PlaneOrientationSequence=[item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])],
            PixelMeasuresSequence=[item(PixelSpacing=list(SPACING[:2]), SliceThickness=SPACING[2])],
        )
    ]
    dataset.PerFrameFunctionalGroupsSequence = [
        item(
            PlanePositionSequence=[item(ImagePositionPatient=[0, 0, k * SPACING[2]])],
            PixelValueTransformationSequence=[item(RescaleSlope=1, RescaleIntercept=intercepts[k])],
        )
        for k in order
    ]
    dataset.save_as(path, enforce_file_format=True)
    return path


def write_nifti(path: Path, hu: np.ndarray, axes: str = "LPS", dtype: type = np.int16) -> Path:
    """NIfTI with other stored axes; its affine leads to RAS+."""
    turned, affine = stored_as(hu, axes)
    nibabel.save(nibabel.Nifti1Image(turned.astype(dtype), np.diag([-1, -1, 1, 1]) @ affine), path)
    return path


def write_itk(path: Path, hu: np.ndarray, axes: str = "LPS") -> Path:
    """A file of ITK with other stored axes."""
    import itk

    turned, affine = stored_as(hu, axes)
    image = itk.image_from_array(np.ascontiguousarray(turned.T))
    steps = np.linalg.norm(affine[:3, :3], axis=0)
    image.SetSpacing([float(step) for step in steps])
    image.SetOrigin([float(number) for number in affine[:3, 3]])
    image.SetDirection(itk.matrix_from_array(np.ascontiguousarray(affine[:3, :3] / steps)))
    itk.imwrite(image, str(path))
    return path
