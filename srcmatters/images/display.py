"""How a DICOM radiograph is displayed: through its look-up tables, over its range, with bright bone."""

from __future__ import annotations

import math
from copy import deepcopy

import numpy as np
from pydicom import Dataset
from pydicom.multival import MultiValue
from pydicom.pixels import apply_color_lut, apply_modality_lut, apply_voi_lut

_WIDEST_ENTRY = 16  # bits, of a look-up table
#: Elements that are used together, or not at all.
_WINDOW = ("WindowCenter", "WindowWidth")
_BT601 = np.array([0.299, 0.587, 0.114])  # weights of red, green and blue
_RESCALE = ("RescaleSlope", "RescaleIntercept")


def displayed(dataset: Dataset) -> np.ndarray:
    """The one frame of a radiograph, (rows, columns) float32 in [0, 1].

    Its pixels pass through the modality and VOI look-up tables. What is black and white is what the VOI table
    or the window says; without either the range of the stored bits, or of what is there in files of more than
    8 bits. That range leaves out padding, which is black. MONOCHROME1 is inverted.

    Args:
        dataset: with its pixel data; display elements that say nothing are removed from it.
    """
    if dataset.PhotometricInterpretation == "PALETTE COLOR":
        return _luminance(dataset)
    _remove_what_says_nothing(dataset)
    stored = dataset.pixel_array
    values = _through_voi_table(apply_modality_lut(stored, dataset), dataset).astype(np.float32)
    by_its_own_range = _says_no_range(dataset)
    padding = _padding(dataset, stored) if by_its_own_range else None
    low, high = _seen_range(values, padding) if by_its_own_range else _declared_range(dataset)
    # In place: every new array of this size costs as much as decoding.
    values -= low
    values /= high - low
    np.clip(values, 0, 1, out=values)
    if dataset.PhotometricInterpretation == "MONOCHROME1":
        np.subtract(1, values, out=values)
    if padding is not None:
        values[padding] = 0  # after the inversion: it is no anatomy in either
    return values


def _through_voi_table(values: np.ndarray, dataset: Dataset) -> np.ndarray:
    """Values after the VOI look-up table or the window.

    pydicom counts the entries of a table in the type of what they hold: of 4096 entries of 8 bits it reads
    the first 256. So entries are handed over as 16 bits, and values as whole numbers that are in the table.
    """
    if "VOILUTSequence" not in dataset:
        return np.asarray(apply_voi_lut(values, dataset))
    table = deepcopy(dataset.VOILUTSequence[0])
    entries, first, _ = table.LUTDescriptor
    table.LUTDescriptor = [entries, first, _WIDEST_ENTRY]
    wide = Dataset()
    wide.file_meta = dataset.file_meta
    wide.VOILUTSequence = [table]
    inside = np.clip(np.rint(values), first, first + (entries or 2**16) - 1)
    return np.asarray(apply_voi_lut(inside.astype(np.int32), wide))


def _luminance(dataset: Dataset) -> np.ndarray:
    """Luminance (ITU-R BT.601) of the colours that stored indices stand for, in [0, 1]."""
    colours = apply_color_lut(dataset.pixel_array, dataset)[..., :3]
    deepest = float(np.iinfo(colours.dtype).max)
    return (colours.astype(np.float64) @ _BT601 / deepest).astype(np.float32)


def _remove_what_says_nothing(dataset: Dataset) -> None:
    """Take out empty tables, and windows and rescales that lack a part, so that nobody takes them for one."""
    if not dataset.get("ModalityLUTSequence"):
        _remove(dataset, "ModalityLUTSequence")
    table = dataset.get("VOILUTSequence")
    if not table or table[0].get("LUTDescriptor") is None or table[0].get("LUTData") is None:
        _remove(dataset, "VOILUTSequence")
    if any(dataset.get(part) in (None, "") for part in _RESCALE):  # one that is not finite is refused later
        _remove(dataset, *_RESCALE)
    if _number(dataset, "WindowCenter") is None or not (_number(dataset, "WindowWidth") or 0) > 0:
        _remove(dataset, *_WINDOW)


def _remove(dataset: Dataset, *keywords: str) -> None:
    for keyword in keywords:
        if keyword in dataset:
            delattr(dataset, keyword)


def _number(dataset: Dataset, keyword: str) -> float | None:
    """The first value of an element; None where it is absent, empty or no finite number."""
    value = dataset.get(keyword)
    if isinstance(value, MultiValue):
        value = value[0] if value else None
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def _says_no_range(dataset: Dataset) -> bool:
    """Whether the stored range says little about what was exposed, so that what is there is shown."""
    declared = "VOILUTSequence" in dataset or "WindowCenter" in dataset
    return not declared and int(dataset.BitsStored) > 8


def _seen_range(values: np.ndarray, padding: np.ndarray | None) -> tuple[float, float]:
    """Lowest and highest value that is no padding."""
    where = True if padding is None else ~padding
    low = float(values.min(where=where, initial=np.inf))
    high = float(values.max(where=where, initial=-np.inf))
    return low, high if high > low else low + 1


def _declared_range(dataset: Dataset) -> tuple[float, float]:
    """What is black and what is white on the display, from the header."""
    for table in ("VOILUTSequence", "ModalityLUTSequence"):
        if table in dataset:
            return 0.0, float(2 ** int(dataset[table][0].LUTDescriptor[2]) - 1)
    # pydicom spreads a window over the whole range that the stored bits can reach.
    bits = int(dataset.BitsStored)
    lowest = -(2 ** (bits - 1)) if int(dataset.PixelRepresentation) else 0
    slope, intercept = float(dataset.get("RescaleSlope", 1)), float(dataset.get("RescaleIntercept", 0))
    edges = lowest * slope + intercept, (lowest + 2**bits - 1) * slope + intercept
    # pydicom's window follows a negative slope: its darkest value is then the highest one.
    return edges if "WindowCenter" in dataset else (min(edges), max(edges))


def _padding(dataset: Dataset, stored: np.ndarray) -> np.ndarray | None:
    """Which stored pixels only fill it up to a rectangle; None if none do, or all, which is no image."""
    first = _number(dataset, "PixelPaddingValue")
    if first is None:
        return None
    limit = _number(dataset, "PixelPaddingRangeLimit")
    low, high = sorted(_with_sign(dataset, int(edge)) for edge in (first, first if limit is None else limit))
    padding = (stored >= low) & (stored <= high)
    return padding if padding.any() and not padding.all() else None


def _with_sign(dataset: Dataset, value: int) -> int:
    """A stored value with the sign of the pixels: devices write signed values as unsigned, or the reverse."""
    stored, allocated = 2 ** int(dataset.BitsStored), 2 ** int(dataset.BitsAllocated)
    if not int(dataset.PixelRepresentation):
        return value if value >= 0 else value + allocated
    if value < stored // 2:
        return value
    return value - (stored if value < stored else allocated)
