"""DICOM radiographs that the tests write."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid


def write_dicom(path: Path, pixels: np.ndarray, bits: int = 8, **tags: object) -> Path:
    """A DX of (rows, columns) stored pixels.

    Args:
        path: of the file.
        pixels: negative ones need ``PixelRepresentation=1``.
        bits: BitsStored.
        tags: other elements by keyword; a tuple is a VR and a value, for those that devices write wrongly.
    """
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.1.1"
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = pydicom.Dataset()
    dataset.file_meta = meta
    dataset.SOPClassUID, dataset.SOPInstanceUID = (
        meta.MediaStorageSOPClassUID,
        meta.MediaStorageSOPInstanceUID,
    )
    dataset.Modality = "DX"
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.SamplesPerPixel, dataset.PixelRepresentation = 1, 0
    dataset.BitsStored, dataset.HighBit = bits, bits - 1
    dataset.BitsAllocated = 8 if bits <= 8 else 16
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.PixelData = pixels.astype(np.uint8 if bits <= 8 else np.uint16).tobytes()
    for name, value in tags.items():
        if isinstance(value, tuple):
            dataset.add_new(name, *value)
        else:
            setattr(dataset, name, value)
    dataset.save_as(path, enforce_file_format=True)
    return path
