"""A table as people have it (any separator, named labels, other column names), as a case table."""

from __future__ import annotations

import gzip
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from srcmatters.cohorts.case_table import check_cases
from srcmatters.csv_tables import check_names_once
from srcmatters.errors import UNREADABLE_CSV, InputError, did_you_mean, first_line

_SEPARATORS = (",", ";", "\t", "|")
_LONGEST_HEADER = 100_000  # characters


def read_foreign_table(
    path: str | Path,
    positive: str | None = None,
    negatives: Sequence[str] = (),
    columns: Mapping[str, str] | None = None,
) -> pd.DataFrame:
    """Read a table whose rows are images.

    Args:
        path: text, separated by commas, semicolons, tabs or bars: whatever its first line has most of.
        positive: value of the label with label 1; None: labels are 0 and 1 already.
        negatives: values with label 0, all others are left out; empty: every other value.
        columns: names in the file by names here: ``{"image": "Filename"}``.

    Returns:
        A checked case table; image paths are as they are in the file.

    Raises:
        InputError: not readable, a column or value that is not there, and see
            :func:`srcmatters.cohorts.check_cases`.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path} does not exist, expected a table of images")
    try:
        separator = _separator(path)
        # Spreadsheets begin a table with a byte order mark.
        table = pd.read_csv(path, dtype=str, sep=separator, skip_blank_lines=False, encoding="utf-8-sig")
        check_names_once(path, separator)
    except InputError:
        raise
    except UNREADABLE_CSV as error:
        raise InputError(f"{path}: not a readable table ({first_line(error)})") from error
    table = table[table.notna().any(axis=1)].rename(columns=lambda name: str(name).strip())
    for here, there in (columns or {}).items():
        if there not in table:
            raise InputError(f"{path}: no column {there!r}{did_you_mean(there, table.columns)}")
        table = table.drop(columns=here, errors="ignore").rename(columns={there: here})
    if positive is not None and "label" in table:
        table = _binary(table, positive, negatives, path)
    for name in ("x_mm", "y_mm", "z_mm", "age", "label"):
        if name in table:
            table[name] = _numbers(table[name], path, name)
    return check_cases(table, path)


def _separator(path: Path) -> str:
    opened = gzip.open if path.suffix.lower() == ".gz" else open
    with opened(path, "rt", encoding="utf-8-sig") as file:
        header = file.readline(_LONGEST_HEADER)
    return max(_SEPARATORS, key=header.count)


def _binary(table: pd.DataFrame, positive: str, negatives: Sequence[str], path: Path) -> pd.DataFrame:
    labels = table["label"].str.strip()
    values = sorted(labels.dropna().unique())
    for name, value in (("positive", positive), *(("negative", one) for one in negatives)):
        if value not in values:
            raise InputError(f"{name}: no row of {path} has label {value!r}{did_you_mean(value, values)}")
    for value in values:
        if value != positive and value not in negatives and _alike(value, positive):
            raise InputError(
                f"{path}, column 'label': {value!r} and {positive!r} differ in form only, expected one"
                " spelling"
            )
    kept = labels.isin([positive, *(negatives or values)])
    return table[kept].assign(label=(labels[kept] == positive).astype(int).astype(str))


def _alike(one: str, other: str) -> bool:
    """Whether two labels are one that was written in two ways: yes and YES, 1 and 1.0."""
    numbers = pd.to_numeric(pd.Series([one, other]), errors="coerce")
    return one.casefold() == other.casefold() or bool(numbers[0] == numbers[1])


def _numbers(column: pd.Series, path: Path, name: str) -> pd.Series:
    """Numbers with a point or a comma; what is neither is left to the check of the case table."""
    text = column.astype("string").str.strip()
    with_point = text.str.replace(r"^(-?\d+),(\d+)$", r"\1.\2", regex=True)
    numbers = pd.to_numeric(with_point, errors="coerce")
    if (numbers.isna() & text.notna()).any() and name == "age":
        return column  # 058Y, which the case table reads
    wrong = column.index[numbers.isna() & text.notna()]
    if len(wrong):
        raise InputError(
            f"{path}, row {wrong[0] + 2}, column {name!r}: got {column[wrong[0]]}, expected a number"
        )
    return numbers
