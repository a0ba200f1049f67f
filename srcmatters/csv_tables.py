"""CSV: tables that people wrote, read with their mistakes named, and ours, which no spreadsheet executes."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import IO, Any

import pandas as pd

from srcmatters.errors import UNREADABLE_CSV, InputError, first_line

#: A cell that begins so is a formula to a spreadsheet. File names and identifiers of others may (OWASP, "CSV
#: injection"); such text is written with an apostrophe in front, by which a spreadsheet knows it for text.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_QUOTE = "'"
_SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "bars"}


def read_their_csv(path: str | Path, dtype: Any = str) -> pd.DataFrame:
    """A table that somebody else wrote.

    Args:
        path: CSV file, also .csv.gz.
        dtype: see :func:`pandas.read_csv`.

    Returns:
        The table; blank lines are no rows, but the index counts them, so that index + 2 is the line as an
        editor counts.

    Raises:
        InputError: not readable, or separated by something else than commas; names it.
    """
    try:
        table = pd.read_csv(path, dtype=dtype, skip_blank_lines=False)
    except UNREADABLE_CSV as error:
        other = _other_separator(_first_text(path))
        reason = f"its columns are separated by {other}" if other else first_line(error)
        raise InputError(f"{path}: not a readable CSV file ({reason})") from error
    other = _other_separator(str(table.columns[0])) if len(table.columns) < 3 else None
    if other:
        raise InputError(
            f"{path}: its columns are separated by {other}, expected commas; `srcmatters cohorts table {path}"
            " --out cases.csv` writes it so"
        )
    if not isinstance(table.index, pd.RangeIndex):  # pandas takes the first cells of longer rows for names
        named, there = len(table.columns), len(table.columns) + table.index.nlevels
        raise InputError(
            f"{path}, row 2: {there} cells under {named} names of columns, expected as many; numbers are"
            " written with a point (63.5), and a cell with a comma in it stands in quotes"
        )
    check_names_once(path)
    table = table[table.notna().any(axis=1)]
    return as_read(table)


def check_names_once(path: str | Path, separator: str = ",") -> None:
    """Refuse two columns of one name, of which pandas would take the first.

    Args:
        path: CSV file with a header, also .csv.gz.
        separator: of its columns.

    Raises:
        InputError: names the column.
    """
    header = pd.read_csv(path, sep=separator, header=None, nrows=1, dtype=str, encoding="utf-8-sig")
    names = header.iloc[0].dropna().str.strip()
    twice = names[names.duplicated() & (names != "")]
    if len(twice):
        raise InputError(f"{path}: two columns are called {twice.iloc[0]!r}, expected one")


def _first_text(path: str | Path) -> str:
    try:
        with Path(path).open(errors="replace") as file:
            return file.readline(10_000)
    except OSError:
        return ""


def _other_separator(header: str) -> str | None:
    separators = [name for sign, name in _SEPARATORS.items() if sign in header]
    return separators[0] if separators else None


def write_csv(table: pd.DataFrame, place: str | PathLike[str] | IO[str], **options: Any) -> None:
    """Write a table so that no spreadsheet takes its text for formulas.

    Args:
        table: any table; numbers are written as they are.
        place: path or open file.
        options: of :meth:`pandas.DataFrame.to_csv`; without the index unless asked for.
    """
    _guarded(table).to_csv(place, **{"index": False, **options})


def csv_text(table: pd.DataFrame, **options: Any) -> str:
    """What :func:`write_csv` writes."""
    return str(_guarded(table).to_csv(**{"index": False, **options}))


def read_csv(path: str | PathLike[str] | IO[Any], **options: Any) -> pd.DataFrame:
    """A table that :func:`write_csv` wrote, or anybody; text is as it was before.

    Args:
        path: path or open file.
        options: of :func:`pandas.read_csv`, whose errors are raised.
    """
    return as_read(pd.read_csv(path, **options))


def as_read(table: pd.DataFrame) -> pd.DataFrame:
    """Text without the apostrophe that keeps spreadsheets from executing it."""
    return _mapped(table, lambda text: text[1:] if text[:1] == _QUOTE and text[1:2] in _FORMULA else text)


def _guarded(table: pd.DataFrame) -> pd.DataFrame:
    return _mapped(table, lambda text: _QUOTE + text if text[:1] in _FORMULA else text)


def _mapped(table: pd.DataFrame, change: Any) -> pd.DataFrame:
    """Every cell of text changed, numbers and empty cells as they are."""
    texts: Mapping[Any, pd.Series] = {
        name: table[name].map(lambda cell: change(cell) if isinstance(cell, str) and cell else cell)
        for name in table.columns
        if not (pd.api.types.is_numeric_dtype(table[name]) or pd.api.types.is_bool_dtype(table[name]))
    }
    return table.assign(**texts) if texts else table
