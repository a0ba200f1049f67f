"""The rules that an exported bundle declares, held against what a header says: refused, flagged or let in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from srcmatters.errors import InputError
from srcmatters.images.declarations import check_declared

Header = Mapping[str, Any]
_GREY = ("MONOCHROME1", "MONOCHROME2")
_SMALLER, _LARGER = 2, 8  # than the training images, and still the same picture after resizing
#: Devices of one kind differ a little from each other: so far beyond the training's range is still inside.
TOLERANCE = 0.1
#: View positions by the names that headers and tables give them.
_VIEWS = {
    "POSTERO-ANTERIOR": "PA",
    "POSTEROANTERIOR": "PA",
    "ANTERO-POSTERIOR": "AP",
    "ANTEROPOSTERIOR": "AP",
    "LEFT LATERAL": "LL",
    "RIGHT LATERAL": "RL",
    "LATERAL": "LL",
}


@dataclass(frozen=True)
class Verdict:
    """What the rules say of an image.

    Args:
        refusals: why it is not read, each in one line.
        flags: what a person should know of it.
    """

    refusals: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()


def modality_of(rules: Mapping[str, Any]) -> str:
    """The kind of image that a bundle reads, as :data:`srcmatters.images.MODALITIES` calls it."""
    return "CT" if rules["modality"] == "ct" else "radiograph"


def judge_headers(headers: Sequence[Header], rules: Mapping[str, Any]) -> Verdict:
    """Hold headers against the rules, before any pixel is decoded.

    Refused: another modality, body part or view than the bundle's; colour; several frames of a radiograph.
    Flagged: no view where the bundle wants one, burnt-in annotation, no header.

    Args:
        headers: of an image or of all images of a series
            (:func:`srcmatters.clinical.decoding_tasks.read_fields`); none of a file that is no DICOM.
        rules: of the bundle.
    """
    if not headers:
        return Verdict(flags=("no DICOM header says which modality, body part and view it shows",))
    refusals = [*_declared(headers[0], rules), *_colour(headers), *_frames(headers[0], rules)]
    refused_view, flagged_view = _view(headers[0], rules)
    flags = [*flagged_view, *_burnt_in(headers)]
    return Verdict(tuple([*refusals, *refused_view]), tuple(flags))


def mixed_series(headers: Iterable[Header]) -> set[str]:
    """SeriesInstanceUID of series that images of several patients claim: none of them is to be trusted."""
    patients: dict[str, set[str]] = {}
    for header in headers:
        patients.setdefault(header["SeriesInstanceUID"], set()).add(header["PatientID"])
    return {series for series, found in patients.items() if series and len(found) > 1}


def judge_image(
    size: tuple[int, int], spacing: tuple[float, float] | None, rules: Mapping[str, Any]
) -> Verdict:
    """Hold what was read against the ranges of the training images.

    Refused: a pixel spacing more than 10 % out of range. Flagged: an unknown spacing; a size below half of
    the smallest or above eight times the largest (images are resized, and training sets are often reduced
    copies of what a detector gives).

    Args:
        size: rows and columns.
        spacing: mm between rows and between columns; None: unknown.
        rules: of the bundle.
    """
    refusals, flags = [], []
    spacings, sizes = rules["input"]["spacing_mm"], rules["input"]["size"]
    if spacings and spacing is None:
        flags.append(f"pixel spacing unknown, expected {_range(spacings)} mm")
    elif spacings and spacing and not all(_inside(step, spacings) for step in spacing):
        refusals.append(
            f"pixel spacing is {spacing[0]:g} x {spacing[1]:g} mm, expected {_range(spacings)} mm"
        )
    usual = [sizes[0] / _SMALLER, sizes[1] * _LARGER] if sizes else []
    if usual and not all(usual[0] <= length <= usual[1] for length in size):
        flags.append(f"size is {size[0]} x {size[1]} pixels, expected {_range(usual)}")
    return Verdict(tuple(refusals), tuple(flags))


def _declared(header: Header, rules: Mapping[str, Any]) -> list[str]:
    try:
        check_declared(header, Path("image"), modality_of(rules), rules["body_part"])
    except InputError as error:
        return [str(error).removeprefix("image: ")]
    return []


def _colour(headers: Sequence[Header]) -> list[str]:
    found = sorted({header["PhotometricInterpretation"] for header in headers} - set(_GREY))
    if not found:
        return []
    return [f"PhotometricInterpretation is {found[0] or 'missing'}, expected {' or '.join(_GREY)}"]


def _frames(header: Header, rules: Mapping[str, Any]) -> list[str]:
    if modality_of(rules) != "radiograph" or header["NumberOfFrames"] <= 1:
        return []
    return [f"{header['NumberOfFrames']} frames, expected one"]


def _view(header: Header, rules: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    wanted = rules["input"]["views"]
    if not wanted or modality_of(rules) != "radiograph":
        return [], []
    found = _named_view(header["ViewPosition"])
    expected = " or ".join(wanted)
    if not found:
        return [], [f"ViewPosition is missing, expected {expected}"]
    if found in {_named_view(view) for view in wanted}:
        return [], []
    return [f"ViewPosition is {header['ViewPosition']}, expected {expected}"], []


def _named_view(view: str) -> str:
    return _VIEWS.get(view.strip().upper(), view.strip().upper())


def _burnt_in(headers: Sequence[Header]) -> list[str]:
    if any(header["BurnedInAnnotation"] == "YES" for header in headers):
        return ["BurnedInAnnotation is YES: text in the image may be what the network looks at"]
    return []


def _inside(value: float, limits: Sequence[float]) -> bool:
    return limits[0] * (1 - TOLERANCE) <= value <= limits[1] * (1 + TOLERANCE)


def _range(limits: Sequence[float]) -> str:
    return f"{limits[0]:g} to {limits[1]:g}"
