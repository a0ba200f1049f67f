"""A table as people have it (any separator, named labels, other column names), as a case table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from srcmatters.cohorts.case_table import check_cases
from srcmatters.errors import UNREADABLE_CSV, InputError, did_you_mean, first_line


def read_foreign_table(
    path: str | Path,
    positive: str | None = None,
    negatives: Sequence[str] = (),
    columns: Mapping[str, str] | None = None,
) -> pd.DataFrame:
    """Read a table whose rows are images.

    Args:
        path: text, separated by commas, semicolons, tabs or bars: whatever its first lines agree on.
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
        table = pd.read_csv(path, dtype=str, sep=None, engine="python", skip_blank_lines=False)
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


def _binary(table: pd.DataFrame, positive: str, negatives: Sequence[str], path: Path) -> pd.DataFrame:
    labels = table["label"].str.strip()
    values = sorted(labels.dropna().unique())
    for name, value in (("positive", positive), *(("negative", one) for one in negatives)):
        if value not in values:
            raise InputError(f"{name}: no row of {path} has label {value!r}{did_you_mean(value, values)}")
    kept = labels.isin([positive, *(negatives or values)])
    return table[kept].assign(label=(labels[kept] == positive).astype(int).astype(str))


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
