"""The rules that an exported bundle declares, held against what a header says: refused, flagged or let in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydicom.uid import (
    UID,
    CTImageStorage,
    DigitalXRayImageStorageForProcessing,
    EnhancedCTImageStorage,
    LegacyConvertedEnhancedCTImageStorage,
)

from srcmatters.errors import InputError
from srcmatters.images.declarations import check_declared

Header = Mapping[str, Any]
_GREY = ("MONOCHROME1", "MONOCHROME2")
_CT_CLASSES = (CTImageStorage, EnhancedCTImageStorage, LegacyConvertedEnhancedCTImageStorage)
_PATIENT = ("PatientID", "PatientName", "PatientBirthDate")
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
_LATERAL = {"LL", "RL"}


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

    Refused: another modality, body part or view than the bundle's; colour; several frames of a radiograph;
    values of a detector that were not made for people; of CT localizers, and captures of a screen.
    Flagged: no body part or view where the bundle wants one, a CT that was computed of another, burnt-in
    annotation, no header.

    Args:
        headers: of an image or of all images of a series
            (:func:`srcmatters.clinical.header_tasks.read_fields`); none of a file that is no DICOM.
        rules: of the bundle.
    """
    if not headers:
        return Verdict(flags=("no DICOM header says which modality, body part and view it shows",))
    refusals = [*_declared(headers, rules), *_colour(headers)]
    own = _judge_scan if modality_of(rules) == "CT" else _judge_radiograph
    own_refusals, own_flags = own(headers, rules)
    flags = [*_body_part_missing(headers, rules), *own_flags, *_burnt_in(headers)]
    return Verdict(tuple([*refusals, *own_refusals]), tuple(flags))


def mixed_series(headers: Iterable[Header]) -> dict[str, str]:
    """Series that images of several patients or studies claim: none of them is to be trusted.

    Returns:
        SeriesInstanceUID -> what is wrong, in words.
    """
    found: dict[str, list[Header]] = {}
    for header in headers:
        found.setdefault(header["SeriesInstanceUID"], []).append(header)
    mixed = {}
    for series, members in found.items():
        if series and len({tuple(one[name] for name in _PATIENT) for one in members}) > 1:
            mixed[series] = "several patients in one series, expected one"
        elif series and len({one["StudyInstanceUID"] for one in members}) > 1:
            mixed[series] = "one series in several studies, expected one"
    return mixed


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


def _declared(headers: Sequence[Header], rules: Mapping[str, Any]) -> list[str]:
    """Every different statement of a series, not only that of its first image."""
    reasons: dict[str, None] = {}
    for header in headers:
        try:
            check_declared(header, Path("image"), modality_of(rules), rules["body_part"])
        except InputError as error:
            reasons[str(error).removeprefix("image: ")] = None
    return list(reasons)


def _body_part_missing(headers: Sequence[Header], rules: Mapping[str, Any]) -> list[str]:
    if rules["body_part"] and not any(header["BodyPartExamined"] for header in headers):
        return [f"BodyPartExamined is missing, expected {rules['body_part']}"]
    return []


def _colour(headers: Sequence[Header]) -> list[str]:
    found = sorted({header["PhotometricInterpretation"] for header in headers} - set(_GREY))
    if not found:
        return []
    return [f"PhotometricInterpretation is {found[0] or 'missing'}, expected {' or '.join(_GREY)}"]


def _judge_radiograph(headers: Sequence[Header], rules: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    header = headers[0]
    refusals, flags = _view(header, rules)
    if header["NumberOfFrames"] > 1:
        refusals.insert(0, f"{header['NumberOfFrames']} frames, expected one")
    raw = header["SOPClassUID"] == DigitalXRayImageStorageForProcessing
    if raw or header["PresentationIntentType"].upper() == "FOR PROCESSING":
        refusals.append("values for processing, expected an image for presentation")
    return refusals, flags


def _judge_scan(headers: Sequence[Header], rules: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    refusals, flags = [], []
    for name in sorted({header["SOPClassUID"] for header in headers} - set(_CT_CLASSES)):
        refusals.append(
            f"SOPClassUID is {UID(name).name or 'missing'}, expected an image storage class of CT"
        )
    if all("LOCALIZER" in header["ImageType"] for header in headers):
        refusals.append("ImageType is LOCALIZER, expected slices")
    if len({header["FrameOfReferenceUID"] for header in headers} - {""}) > 1:
        refusals.append("several frames of reference in one series, expected one")
    if any("SECONDARY" in header["ImageType"][1:2] for header in headers):
        flags.append("ImageType is SECONDARY: computed of other images, expected what the scanner made")
    return refusals, flags


def _view(header: Header, rules: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    wanted = rules["input"]["views"]
    if not wanted:
        return [], []
    found, expected = _named_view(header["ViewPosition"]), " or ".join(wanted)
    known = {_named_view(view) for view in wanted}
    # The row of a frontal view runs from one side of the body to the other.
    towards = "".join(header["PatientOrientation"][:1])[:1]
    if towards in ("A", "P") and not known & _LATERAL:
        return [f"PatientOrientation is that of a lateral view, expected {expected}"], []
    if not found:
        return [], [f"ViewPosition is missing, expected {expected}"]
    if found in known:
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
