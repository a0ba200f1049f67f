"""The rules that an exported bundle declares, held against what a header says: refused, flagged or let in."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
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
from srcmatters.exported_bundle.input_rules import INPUT_RULES, Finding
from srcmatters.images.declarations import check_declared

Header = Mapping[str, Any]
_GREY = ("MONOCHROME1", "MONOCHROME2")
#: As whole values: there are non-human primates, and humanised mice.
_HUMAN = ("HUMAN", "HUMANS", "HOMO SAPIENS", "HOMO SAPIENS SAPIENS")
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
class Admission:
    """What the rules say of an image.

    Args:
        refusals: why it is not read, each in one line.
        flags: what a person should know of it.
    """

    refusals: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()

    def __add__(self, other: Admission) -> Admission:
        return Admission(self.refusals + other.refusals, self.flags + other.flags)


def weigh(findings: Iterable[Finding], rules: Mapping[str, Any]) -> Admission:
    """Refuse, flag or pass over what was found, as the bundle declares.

    Args:
        findings: each under a name of :data:`srcmatters.exported_bundle.input_rules.INPUT_RULES`.
        rules: of the bundle; those that it cannot choose about are refused.
    """
    by_action: dict[str, list[str]] = {"refuse": [], "flag": [], "ignore": []}
    for name, reason in findings:
        by_action[rules["actions"].get(name, INPUT_RULES[name].actions[0])].append(reason)
    return Admission(tuple(by_action["refuse"]), tuple(by_action["flag"]))


def modality_of(rules: Mapping[str, Any]) -> str:
    """The kind of image that a bundle reads, as :data:`srcmatters.images.MODALITIES` calls it."""
    return "CT" if rules["modality"] == "ct" else "radiograph"


def judge_headers(headers: Sequence[Header], rules: Mapping[str, Any]) -> Admission:
    """Hold headers against the rules, before any pixel is decoded.

    Args:
        headers: of an image or of all images of a series
            (:func:`srcmatters.deployment.prediction.header_tasks.read_fields`); none of a file that is not
            DICOM.
        rules: of the bundle.
    """
    if not headers:
        reason = "no DICOM header says which modality, body part and view it shows"
        return weigh([("header_missing", reason)], rules)
    own = _scan(headers) if modality_of(rules) == "CT" else _radiograph(headers[0], rules)
    every = (*_declared(headers, rules), *_species(headers), *_colour(headers))
    return weigh([*every, *own, *_burnt_in(headers)], rules)


def mixed_series(headers: Iterable[Header]) -> dict[str, str]:
    """Series that images of several patients or studies claim: none of them is to be trusted.

    Returns:
        SeriesInstanceUID -> what is wrong, in words.
    """
    by_series: dict[str, list[Header]] = {}
    for header in headers:
        by_series.setdefault(header["SeriesInstanceUID"], []).append(header)
    mixed = {}
    for series, members in by_series.items():
        if series and len({tuple(one[name] for name in _PATIENT) for one in members}) > 1:
            mixed[series] = "several patients in one series, expected one"
        elif series and len({one["StudyInstanceUID"] for one in members}) > 1:
            mixed[series] = "one series in several studies, expected one"
    return mixed


def judge_image(
    size: tuple[int, int], spacing: tuple[float, float] | None, rules: Mapping[str, Any]
) -> Admission:
    """Hold what was read against the ranges of the training images.

    Sizes are held against half of the smallest and eight times the largest: images are resized, and training
    sets are often reduced copies of what a detector gives. Where a box of some mm is cut out of the middle,
    nothing is resized, and that of a larger image shows something else: there the largest is the limit.

    Args:
        size: rows and columns.
        spacing: mm between rows and between columns; None: unknown.
        rules: of the bundle.
    """
    trained = rules["input"]
    findings = [*_spacing(spacing, trained["spacing_mm"]), *_size(size, trained["size"], rules["patch_mm"])]
    return weigh([*findings, *_position(rules)], rules)


def _spacing(spacing: tuple[float, float] | None, trained: Sequence[float] | None) -> Iterator[Finding]:
    if trained and spacing is None:
        yield "spacing_unknown", f"pixel spacing unknown, expected {_range(trained)} mm"
    elif trained and spacing and not all(_inside(step, trained) for step in spacing):
        step = f"{spacing[0]:g} x {spacing[1]:g} mm"
        yield "spacing", f"pixel spacing is {step}, expected {_range(trained)} mm"


def _position(rules: Mapping[str, Any]) -> Iterator[Finding]:
    if modality_of(rules) == "CT" and rules["input"]["positions"]:
        yield "middle_of_ct", "no position in the scan is given, expected one: its middle was read"


def _size(
    size: tuple[int, int], trained: Sequence[float] | None, patch_mm: float | None
) -> Iterator[Finding]:
    usual = [trained[0] / _SMALLER, trained[1] * (1 if patch_mm else _LARGER)] if trained else []
    if usual and not all(usual[0] <= length <= usual[1] for length in size):
        yield "size", f"size is {size[0]} x {size[1]} pixels, expected {_range(usual)}"


def _declared(headers: Sequence[Header], rules: Mapping[str, Any]) -> Iterator[Finding]:
    """Every different statement of a series, not only that of its first image."""
    required = {"modality": (modality_of(rules), None), "body_part": (None, rules["body_part"])}
    for name, declared in required.items():
        reasons: dict[str, None] = {}
        for header in headers:
            try:
                check_declared(header, Path("image"), *declared)
            except InputError as error:
                reasons[str(error).removeprefix("image: ")] = None
        yield from ((name, reason) for reason in reasons)
    if rules["body_part"] and not any(header["BodyPartExamined"] for header in headers):
        yield "body_part_missing", f"BodyPartExamined is missing, expected {rules['body_part']}"


def _species(headers: Sequence[Header]) -> Iterator[Finding]:
    """Animals are examined by the same devices, and their chests called so; headers of people say nothing."""
    all_species = sorted({header["PatientSpeciesDescription"] for header in headers})
    for species in all_species:
        if species and species.upper() not in _HUMAN:
            yield "species", f"PatientSpeciesDescription is {species}, expected human or nothing"


def _colour(headers: Sequence[Header]) -> Iterator[Finding]:
    unexpected = sorted({header["PhotometricInterpretation"] for header in headers} - set(_GREY))
    if unexpected:
        expected = " or ".join(_GREY)
        yield "colour", f"PhotometricInterpretation is {unexpected[0] or 'missing'}, expected {expected}"


def _radiograph(header: Header, rules: Mapping[str, Any]) -> Iterator[Finding]:
    if header["NumberOfFrames"] > 1:
        yield "frames", f"{header['NumberOfFrames']} frames, expected one"
    yield from _view(header, rules["input"]["views"])
    raw = header["SOPClassUID"] == DigitalXRayImageStorageForProcessing
    if raw or header["PresentationIntentType"].upper() == "FOR PROCESSING":
        yield "for_processing", "values for processing, expected an image for presentation"


def _scan(headers: Sequence[Header]) -> Iterator[Finding]:
    for uid in sorted({header["SOPClassUID"] for header in headers} - set(_CT_CLASSES)):
        class_name = UID(uid).name or "missing"
        yield "no_slices", f"SOPClassUID is {class_name}, expected an image storage class of CT"
    if all("LOCALIZER" in header["ImageType"] for header in headers):
        yield "no_slices", "ImageType is LOCALIZER, expected slices"
    if len({header["FrameOfReferenceUID"] for header in headers} - {""}) > 1:
        yield "frames", "several frames of reference in one series, expected one"
    if any("SECONDARY" in header["ImageType"][1:2] for header in headers):
        reason = "ImageType is SECONDARY: computed of other images, expected what the scanner made"
        yield "secondary_ct", reason


def _view(header: Header, views: Sequence[str] | None) -> Iterator[Finding]:
    if not views:
        return
    view, expected = _named_view(header["ViewPosition"]), " or ".join(views)
    known = {_named_view(view) for view in views}
    # The row of a frontal view runs from one side of the body to the other.
    towards = "".join(header["PatientOrientation"][:1])[:1]
    if towards in ("A", "P") and not known & _LATERAL:
        yield "view", f"PatientOrientation is that of a lateral view, expected {expected}"
    elif not view:
        yield "view_missing", f"ViewPosition is missing, expected {expected}"
    elif view not in known:
        yield "view", f"ViewPosition is {header['ViewPosition']}, expected {expected}"


def _named_view(view: str) -> str:
    return _VIEWS.get(view.strip().upper(), view.strip().upper())


def _burnt_in(headers: Sequence[Header]) -> Iterator[Finding]:
    if any(header["BurnedInAnnotation"] == "YES" for header in headers):
        reason = "BurnedInAnnotation is YES: text in the image may be what the network looks at"
        yield "burnt_in_annotation", reason


def _inside(value: float, limits: Sequence[float]) -> bool:
    return limits[0] * (1 - TOLERANCE) <= value <= limits[1] * (1 + TOLERANCE)


def _range(limits: Sequence[float]) -> str:
    return " to ".join(dict.fromkeys(f"{limit:g}" for limit in limits))
