"""Identifiers and ages as people and devices write them, brought to one spelling."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd

from srcmatters.errors import InputError

_NUMBER = re.compile(r"0*(?P<digits>\d+)(?:\.0+)?")
_AGE = re.compile(r"(?P<number>\d{1,3})(?P<unit>[DWMY])")
_DAYS = {"D": 1.0, "W": 7.0, "M": 30.4375, "Y": 365.25}


def years(age: object) -> object:
    """A DICOM age string (nnnD, nnnW, nnnM, nnnY) in years, rounded to .01; anything else as it is."""
    match = _AGE.fullmatch(age.strip()) if isinstance(age, str) else None
    return age if match is None else round(int(match["number"]) * _DAYS[match["unit"]] / 365.25, 2)


def without_blanks(identifiers: pd.Series) -> pd.Series:
    """Identifiers without the blanks around them, which exports of tables leave behind."""
    return identifiers.map(lambda name: name.strip() if isinstance(name, str) else name)


def check_one_spelling(patients: pd.Series, rows: np.ndarray, origin: str | Path) -> None:
    """Refuse patients whose identifiers are one number written in two ways: 61 and 00000061, 103 and 103.0.

    They may be one patient, who would be in training and in test, or two: only the table's maker knows.

    Args:
        patients: identifiers, as text.
        rows: of the file, for the message.
        origin: the file.

    Raises:
        InputError: naming both spellings and their rows.
    """
    first: dict[str, tuple[str, int]] = {}
    for name, row in zip(patients, rows, strict=True):
        number = _NUMBER.fullmatch(name)
        if number is None:
            continue
        before, where = first.setdefault(number["digits"], (name, int(row)))
        if before != name:
            raise InputError(
                f"{origin}, row {row}, column 'patient_id': {name!r} differs from {before!r} of row {where}"
                " in form only, expected one spelling per patient"
            )
