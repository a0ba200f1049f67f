"""Images as a file can hold them: whole numbers of the depth that the original had."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from srcmatters.images.dicom_slices import read_dicom
from srcmatters.images.pictures import open_picture
from srcmatters.images.reading import PICTURES, as_input_error, has_ending, is_dicom

#: HU are stored as unsigned 16 bits above this.
LOWEST_HU = -1024
_DEEPEST = 16


def stored_bits(path: str | Path) -> int:
    """Bits of a grey value of a radiograph's file: BitsStored of DICOM, 8 or 16 of a picture, 16 of others.

    Raises:
        InputError: not readable; names the file.
    """
    path = Path(path)
    with as_input_error(path, "radiograph"):
        if is_dicom(path):
            return min(int(read_dicom(path).BitsStored), _DEEPEST)
        if has_ending(path, PICTURES):
            with open_picture(path) as picture:
                return _DEEPEST if picture.mode.startswith("I") else 8
    return _DEEPEST


def stored_display(image: torch.Tensor, bits: int) -> np.ndarray:
    """Display values as stored: uint8 up to 8 bits, else uint16, the range [0, 1] over all values.

    What is beyond the range is cut off, as in every file.
    """
    highest = 2**bits - 1
    values = torch.round(torch.as_tensor(image).double().clamp(0, 1) * highest).numpy()
    return values.astype(np.uint8 if bits <= 8 else np.uint16)


def stored_hounsfield(image: torch.Tensor) -> np.ndarray:
    """HU as stored above :data:`LOWEST_HU`, uint16."""
    values = torch.round(torch.as_tensor(image).double()) - LOWEST_HU
    return values.clamp(0, 2**_DEEPEST - 1).numpy().astype(np.uint16)


def as_stored(image: torch.Tensor, bits: int | None) -> torch.Tensor:
    """What is read again of an image that was written: the same rounding without a file.

    Args:
        image: display values of a radiograph, or HU.
        bits: of the file's grey values; None: HU.

    Returns:
        As ``image``, float32; a MetaTensor keeps its affine and meta.
    """
    if bits is None:
        values = stored_hounsfield(image).astype(np.float32) + np.float32(LOWEST_HU)
    else:
        values = stored_display(image, bits).astype(np.float32) / np.float32(2**bits - 1)
    rounded = torch.from_numpy(values)
    if type(image) is torch.Tensor:
        return rounded
    kept = image.clone()
    kept[:] = rounded
    return kept
