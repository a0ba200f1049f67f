"""Text that was written into the pixels of a radiograph: a name, a date, "PORTABLE"."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import ndimage

_LEAST = 4  # characters of a line: fewer are markers, which stand on most radiographs
_PIXELS, _SMALLEST, _LARGEST = 5, 0.004, 0.08  # height of a character: at least; and as share of the rows
_WIDEST = 1.6  # width of a character, of its height
_NEAR = 0.12  # of the darkest or brightest value: lossy compression smears what was written
_CONTRAST = 0.25  # to what is around a character, of the whole range
_SURROUNDINGS = 20  # percent of a character's box that are background at least
_EMPTIEST = 0.12  # share of its box that a character fills at least
_SAME_HEIGHT, _SAME_BASE = 0.25, 0.2  # differences in a line, of the height
_GAP = 1.2  # between two characters, of the height
_MOST = 1000  # components of a band: more are specks
_SMEARED = 2  # pixels around a stroke that a lossy file greys
_NOISE = 0.06  # share of the pixels at which something begins: more is noise


class _Character(NamedTuple):
    """A component that may be one, in pixels."""

    left: int
    right: int
    top: int
    bottom: int

    @property
    def height(self) -> int:
        return self.bottom - self.top


def text_lines(image: np.ndarray) -> int:
    """Count the lines of text in an image.

    A line is at least four components of nearly the brightest (or darkest) value, equally high, on one base
    line and close to each other. Letters of lead, which are no uniform value, and single markers are none.

    Args:
        image: (rows, columns); characters below 5 pixels or .4 % of the rows are not seen, nor is text in an
            image whose extremes are noise.
    """
    return sum(len(lines) for _, lines in _lines_by_value(image))


def text_pixels(image: np.ndarray) -> np.ndarray:
    """Where the characters of the lines are that :func:`text_lines` counts.

    Args:
        image: (rows, columns).

    Returns:
        (rows, columns) bool: the strokes, and two pixels around them.
    """
    mask = np.zeros(image.shape, dtype=bool)
    extent = image.max() - image.min()
    for value, lines in _lines_by_value(image):
        for one in (one for line in lines for one in line):
            box = np.s_[one.top : one.bottom, one.left : one.right]
            mask[box] |= _near(image[box], value, extent)
    return ndimage.binary_dilation(mask, iterations=_SMEARED) if mask.any() else mask


def _lines_by_value(image: np.ndarray) -> list[tuple[float, list[list[_Character]]]]:
    """Lines of text of the brightest and of the darkest value."""
    low, high = float(image.min()), float(image.max())
    if not high > low:
        return []
    # Both ways round: what is written on film, and what was inverted afterwards.
    return [(value, _lines_of(_characters(image, value, high - low))) for value in (high, low)]


def _characters(image: np.ndarray, value: float, extent: float) -> list[_Character]:
    """Components near a value that are as large as characters and stand out, from left to right."""
    characters = []
    for band in _bands(image, value, extent):
        labelled, count = ndimage.label(_near(image[band], value, extent), np.ones((3, 3)))
        if count > _MOST:
            continue
        areas = np.bincount(labelled.ravel(), minlength=count + 1)[1:]
        for area, (rows, columns) in zip(areas, ndimage.find_objects(labelled), strict=True):
            top, bottom = rows.start + band.start, rows.stop + band.start
            one = _Character(columns.start, columns.stop, top, bottom)
            if _is_character(one, int(area), len(image)) and _stands_out(one, image, value, extent):
                characters.append(one)
    return sorted(characters)


def _near(image: np.ndarray, value: float, extent: float) -> np.ndarray:
    return np.abs(image - value) <= _NEAR * extent


def _bands(image: np.ndarray, value: float, extent: float) -> list[slice]:
    """Rows in which several components begin, as in the rows of a line; none where the extremes are noise.

    Labelling all of the image would take ten times as long.
    """
    step = int(_smallest(len(image))) // 2  # no character lies between two rows that are looked at
    mask = _near(image[::step], value, extent)
    begins = np.count_nonzero(mask[:, 1:] & ~mask[:, :-1], axis=1)
    if begins.sum() > _NOISE * mask.size:
        return []
    edges = np.flatnonzero(np.diff(begins >= _LEAST, prepend=False, append=False)).reshape(-1, 2)
    runs = [(int(start), int(stop)) for start, stop in edges]
    return [slice(max(0, start - 1) * step, (stop + 1) * step) for start, stop in runs if stop - start > 1]


def _smallest(rows: int) -> float:
    """Height of the smallest character, pixels."""
    return max(_PIXELS, _SMALLEST * rows)


def _is_character(one: _Character, area: int, rows: int) -> bool:
    height, width = one.height, one.right - one.left
    if not _smallest(rows) <= height <= _LARGEST * rows or width > _WIDEST * height:
        return False
    return area >= height and area > _EMPTIEST * height * width


def _stands_out(one: _Character, image: np.ndarray, value: float, extent: float) -> bool:
    around = image[max(0, one.top - 2) : one.bottom + 2, max(0, one.left - 2) : one.right + 2]
    distances = np.abs(around - value)
    return bool(np.percentile(distances, 100 - _SURROUNDINGS) > _CONTRAST * extent)


def _lines_of(characters: list[_Character]) -> list[list[_Character]]:
    lines: list[list[_Character]] = []
    for one in characters:
        for line in lines:
            if _continues(line[-1], one):
                line.append(one)
                break
        else:
            lines.append([one])
    return [line for line in lines if len(line) >= _LEAST]


def _continues(last: _Character, one: _Character) -> bool:
    return (
        abs(one.height - last.height) <= max(1, _SAME_HEIGHT * last.height)
        and abs(one.bottom - last.bottom) <= max(1, _SAME_BASE * last.height)
        and -1 <= one.left - last.right <= _GAP * last.height
    )
