"""The values of CT slices: decoded one at a time and rescaled into the volume, without a copy between."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np
from pydicom import Dataset
from pydicom.pixels import apply_modality_lut, iter_pixels, pixel_array

from srcmatters.errors import InputError
from srcmatters.images.dicom_slices import DicomSlice, read_slice
from srcmatters.images.reading import as_input_error
from srcmatters.images.volumes import Crop, Fill

#: What a scanner measures, HU. What lies below, and padding above, is no tissue, and becomes the lower end.
LOWEST_HU, HIGHEST_HU = -1024.0, 3071.0


def filling(slices: Sequence[DicomSlice], opened: Dataset | None = None) -> Fill:
    """What writes slices, in this order, into a volume.

    Args:
        slices: all of the volume; only what is asked for is decoded.
        opened: their file, if they share one and it is read already.
    """
    return partial(_fill, slices, opened)


def _fill(
    slices: Sequence[DicomSlice], opened: Dataset | None, out: np.ndarray, planes: range, crop: Crop
) -> None:
    selected = [slices[plane] for plane in planes]
    for at, (stored, header) in enumerate(_decoded(selected, opened)):
        _rescale(stored[crop], header, selected[at], out[:, :, at])


def values(one: DicomSlice) -> np.ndarray:
    """(rows, columns) float32 of one slice: HU, or what the file stores."""
    out = np.empty((*one.shape, 1), np.float32)
    _fill([one], None, out, range(1), (slice(None), slice(None)))
    return out[:, :, 0]


def _decoded(slices: Sequence[DicomSlice], opened: Dataset | None) -> Iterator[tuple[np.ndarray, Dataset]]:
    for path, part in itertools.groupby(slices, key=lambda one: one.path):
        frames = [one.frame for one in part]
        with as_input_error(path, "CT"):
            header = read_slice(path) if opened is None else opened
            if "PixelData" not in header:
                raise InputError(f"{path}: DICOM without pixel data, expected CT")
            if frames[0] is None:
                # A view spares a copy, but unused bits stay in it, and pydicom warns of them.
                whole = header.BitsStored == header.BitsAllocated
                yield pixel_array(header, view_only=whole), header
                continue
            for stored in iter_pixels(header, indices=[int(frame or 0) for frame in frames]):
                yield stored, header


def _rescale(stored: np.ndarray, header: Dataset, one: DicomSlice, out: np.ndarray) -> None:
    """Modality rescale of one slice into ``out``; nothing in HU is lower than :data:`LOWEST_HU`."""
    if "ModalityLUTSequence" in header:
        out[...] = apply_modality_lut(stored, header)
        return
    slope, intercept = one.slope, one.intercept
    out[...] = stored
    if slope != 1:
        out *= np.float32(slope)
    out += np.float32(intercept)
    if not one.in_hounsfield:
        return
    # Padding is often not declared, and lossy compression leaves specks around it.
    np.maximum(out, np.float32(LOWEST_HU), out=out)
    padding = header.get("PixelPaddingValue")
    if padding is None:
        return
    # Signed values are often declared as unsigned ones.
    edges = [padding, header.get("PixelPaddingRangeLimit", padding)]
    low, high = np.sort(np.array(edges, np.int64).astype(stored.dtype))
    if max(float(low) * slope, float(high) * slope) + intercept > HIGHEST_HU:
        out[(stored >= low) & (stored <= high)] = LOWEST_HU
