"""Pictures: PNG, JPEG and TIFF of grey images, 8 or 16 bit."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from PIL import Image

from srcmatters.errors import InputError

_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "I", "I;16", "I;16B", "I;16L", "I;16N")
_DEEPEST = 65535
#: Whatever a file is called: Pillow would go by its content, and start Ghostscript for some.
_FORMATS = ("PNG", "JPEG", "TIFF", "BMP")


def open_picture(path: Path) -> Image.Image:
    """A picture that was opened but not decoded; use it in a `with`.

    Raises:
        PIL.UnidentifiedImageError: its content is not PNG, JPEG, TIFF or BMP.
    """
    return Image.open(path, formats=_FORMATS)


def read_picture(path: Path) -> np.ndarray:
    """(rows, columns) float32 in [0, 1] of a picture; colour becomes luminance.

    Raises:
        InputError: several frames, or pixels of a kind whose range nobody knows.
    """
    with open_picture(path) as picture:
        frames = getattr(picture, "n_frames", 1)
        if frames > 1:
            raise InputError(f"{path}: {frames} frames, expected one")
        if picture.mode not in _MODES:
            raise InputError(f"{path}: pixels of kind {picture.mode}, expected 8 or 16 bit grey or colour")
        deep = picture.mode.startswith("I")
        grey = picture if deep else picture.convert("L")
        pixels = np.asarray(grey, dtype=np.float32)
    if not deep:
        return pixels / np.float32(255)
    warn_if_dark(path, float(pixels.max()))
    return pixels / np.float32(_DEEPEST)


def warn_if_dark(path: Path, brightest: float, deepest: int = _DEEPEST) -> None:
    """Say so if an image uses so little of its 16 bits that it will be black."""
    if 0 < brightest < deepest / 8:
        warnings.warn(
            f"{path}: 16 bit, but its brightest pixel is {brightest:.0f} of {deepest}; it will be almost"
            " black: rescale such images first",
            stacklevel=4,
        )
