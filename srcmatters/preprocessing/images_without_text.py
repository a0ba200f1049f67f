"""Which images may be shown to others: those in whose pixels nobody is named, as far as can be told."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from pydicom import dcmread

from srcmatters.images import LoadCTd
from srcmatters.images.burnt_in_text import text_lines
from srcmatters.images.digests import image_files
from srcmatters.images.reading import is_dicom, is_volume
from srcmatters.preprocessing.both_states import positions
from srcmatters.preprocessing.state_cache import StateCache

_LOOKED_AT = 12  # images that are opened at most: where all of them have text, the others will have it, too


def without_text(cache: StateCache, rows: Iterable[int], count: int) -> tuple[list[int], int]:
    """The first images that may be shown.

    Args:
        cache: of the images.
        rows: of its cases, in the order of preference.
        count: how many are wanted.

    Returns:
        Up to ``count`` of the rows, and how many were passed over because text may be in their pixels. The
        first twelve rows are looked at.
    """
    shown: list[int] = []
    passed_over = 0
    for row in [int(row) for row in rows][:_LOOKED_AT]:
        if len(shown) == count:
            break
        if shows_text(cache, row):
            passed_over += 1
        else:
            shown.append(row)
    return shown, passed_over


def shows_text(cache: StateCache, row: int) -> bool:
    """Whether text may be in the pixels of a case, and name its patient.

    Its DICOM header says so (BurnedInAnnotation), or lines of text are found in the file, at the file's own
    resolution. The slices of a CT are not searched. A file that cannot be read any more counts as one with
    text.

    Args:
        cache: of the images.
        row: of its cases.
    """
    case = cache.cases.iloc[row]
    path, load = Path(case["image"]), cache.preprocessing.transforms[0]
    try:
        if _header_says_so(path):
            return True
        if isinstance(load, LoadCTd) and (path.is_dir() or is_volume(path)):
            return False
        place = positions(cache.cases.iloc[[row]])[0]
        image = load({"image": str(path), "case_id": case["case_id"], **place})["image"]
    except Exception:  # whatever is wrong with it: nothing shows that nobody is named in it
        return True
    plane = image.as_tensor()[0].squeeze(-1)
    return plane.ndim == 2 and text_lines(plane.numpy()) > 0


def _header_says_so(path: Path) -> bool:
    """BurnedInAnnotation YES of a DICOM file, or of any of a series."""
    for one in image_files(path):
        if is_dicom(one):
            header = dcmread(one, stop_before_pixels=True, specific_tags=["BurnedInAnnotation"])
            if str(header.get("BurnedInAnnotation", "")).strip().upper() == "YES":
                return True
    return False
