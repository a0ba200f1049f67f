"""Pictures: PNG, JPEG and TIFF of grey images, 8 or 16 bit."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageOps
from PIL.TiffImagePlugin import (
    BITSPERSAMPLE,
    IMAGELENGTH,
    IMAGEWIDTH,
    PHOTOMETRIC_INTERPRETATION,
    PLANAR_CONFIGURATION,
    SAMPLEFORMAT,
    TiffImageFile,
)

from srcmatters.errors import InputError

_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "I;16", "I;16B", "I;16L", "I;16N")
#: What PNG and PGM of 16 bits come as from some versions of Pillow.
_DEEP_ELSEWHERE = ("I",)
_DEEPEST = 65535
#: Whatever a file is called: Pillow would go by its content, and start Ghostscript for some.
_FORMATS = ("PNG", "JPEG", "TIFF", "BMP")
_ON_ITS_SIDE = (5, 6, 7, 8)
_WHITE_IS_ZERO, _UNSIGNED, _SEPARATE = 0, 1, 2  # values of TIFF 6.0


def open_picture(path: Path) -> Image.Image:
    """A picture that was opened but not decoded; use it in a `with`.

    Raises:
        PIL.UnidentifiedImageError: its content is not PNG, JPEG, TIFF or BMP.
    """
    return Image.open(path, formats=_FORMATS)


def read_picture(path: Path) -> np.ndarray:
    """(rows, columns) float32 in [0, 1] of a picture the way it is shown; colour becomes luminance.

    An orientation in the file (EXIF, TIFF) is applied, and white is bright where a TIFF says that it is 0.

    Raises:
        InputError: several frames, pixels of a kind whose range nobody knows (signed, 32 bit, colours in
            separate planes), or an image in the transparency alone.
    """
    with open_picture(path) as picture:
        frames = getattr(picture, "n_frames", 1)
        if frames > 1:
            raise InputError(f"{path}: {frames} frames, expected one")
        tiff = isinstance(picture, TiffImageFile)
        inverted = _check_tiff(path, picture) if tiff else False
        if picture.mode not in (*_MODES, *_DEEP_ELSEWHERE):
            raise InputError(f"{path}: pixels of kind {picture.mode}, expected 8 or 16 bit grey or colour")
        deep = picture.mode.startswith("I")
        halved = not deep and _is_read_by_half(picture)
        picture.load()
        # Pillow turns a TIFF as it loads it, and leaves the others as they are stored.
        upright = picture if tiff else ImageOps.exif_transpose(picture)
        pixels = np.asarray(upright if deep else upright.convert("L"), dtype=np.float32)
        _check_transparency(path, upright, pixels)
    if halved:
        warn_if_dark(path, float(pixels.max()) * 256 + 255)
    if not deep:
        return pixels / np.float32(255)
    if inverted:
        pixels = np.float32(_DEEPEST) - pixels
    warn_if_dark(path, float(pixels.max()))
    return pixels / np.float32(_DEEPEST)


def _is_read_by_half(picture: Image.Image) -> bool:
    """Whether Pillow reads the upper 8 of 16 bits: those of colours, and of grey with transparency."""
    tiles = getattr(picture, "tile", None) or []
    return any(";16" in str(tile[3]) for tile in tiles)


def _check_tiff(path: Path, picture: Image.Image) -> bool:
    """Whether 16-bit pixels are still the wrong way round: Pillow inverts those of 8 bits alone."""
    tags = picture.tag_v2  # type: ignore[attr-defined]
    bits = tuple(tags.get(BITSPERSAMPLE, (1,)))
    formats = tuple(tags.get(SAMPLEFORMAT, (_UNSIGNED,)))
    if set(formats) != {_UNSIGNED}:
        kinds = {2: "signed integers", 3: "floats"}
        kind = kinds.get(next(kind for kind in formats if kind != _UNSIGNED), "of unknown type")
        raise InputError(f"{path}: TIFF pixels are {kind} (SampleFormat), expected unsigned 8 or 16 bit")
    orientation = tags.get(ExifTags.Base.Orientation, 1)
    if orientation in _ON_ITS_SIDE and tags[IMAGEWIDTH] != tags[IMAGELENGTH]:
        # Pillow 13.0 reads its rows with the wrong length.
        raise InputError(f"{path}: TIFF of Orientation {orientation} that is not square, expected it upright")
    if max(bits) > 16:
        raise InputError(f"{path}: TIFF of {max(bits)} bits a pixel, expected 8 or 16")
    if len(bits) > 1 and tags.get(PLANAR_CONFIGURATION, 1) == _SEPARATE:
        raise InputError(f"{path}: TIFF with colours in separate planes, expected grey or interleaved colour")
    return picture.mode.startswith("I") and tags.get(PHOTOMETRIC_INTERPRETATION) == _WHITE_IS_ZERO


def _check_transparency(path: Path, picture: Image.Image, pixels: np.ndarray) -> None:
    if pixels.min() < pixels.max() or "A" not in picture.getbands():
        return
    if len(np.unique(np.asarray(picture.getchannel("A")))) > 1:
        raise InputError(f"{path}: the image lies in the transparency alone, expected grey values")


def check_not_constant(path: Path, low: float, high: float) -> None:
    """Refuse an image that shows nothing, which a network would learn from all the same.

    Raises:
        InputError: every pixel has the same value; names the file and the value.
    """
    if low == high:
        raise InputError(f"{path}: every pixel is {low:g}, expected an image")


def warn_if_dark(path: Path, brightest: float, deepest: int = _DEEPEST) -> None:
    """Say so if an image uses so little of its 16 bits that it will be black."""
    if 0 < brightest < deepest / 8:
        warnings.warn(
            f"{path}: 16 bit, but its brightest pixel is {brightest:.0f} of {deepest}; it will be almost"
            " black: rescale such images first",
            stacklevel=4,
        )
