"""From what a collection says of an image (present, absent, uncertain, nothing) to label 1, 0 or no case."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from srcmatters.cohorts.case_table import check_cases
from srcmatters.csv_tables import read_their_csv
from srcmatters.errors import InputError, did_you_mean

NO_FINDING = "No Finding"
#: What becomes of an image whose finding is marked as uncertain (-1 in CheXpert and MIMIC-CXR).
UNCERTAIN = ("leave-out", "positive", "negative")
#: Which images without the finding have label 0.
NEGATIVES = ("no-finding", "others")


@dataclass(frozen=True)
class LabelChoice:
    """What makes an image positive or negative.

    Args:
        finding: label 1 are images that have it, by the collection's own name.
        uncertain: see :data:`UNCERTAIN`.
        negatives: "no-finding": label 0 are images without any finding; "others": all in which the finding is
            absent or not mentioned.
        view: keep this view position only; None keeps all.

    Raises:
        InputError: an unknown value of ``uncertain`` or ``negatives``.
    """

    finding: str
    uncertain: str = "leave-out"
    negatives: str = "no-finding"
    view: str | None = None

    def __post_init__(self) -> None:
        for name, known in (("uncertain", UNCERTAIN), ("negatives", NEGATIVES)):
            if getattr(self, name) not in known:
                raise InputError(
                    f"{name}: {getattr(self, name)!r} is unknown{did_you_mean(getattr(self, name), known)}"
                )


@dataclass(frozen=True)
class PublishedCohort:
    """A case table and what is not in it.

    Args:
        cases: checked case table; image paths are relative to the label file's folder.
        left_out: why images of the label file have no row, and how many of them.
    """

    cases: pd.DataFrame
    left_out: dict[str, int]


def read_label_file(path: str | Path, columns: Sequence[str], collection: str) -> pd.DataFrame:
    """A collection's CSV file, all columns as text.

    Args:
        path: the file, also .csv.gz.
        columns: that it must have.
        collection: its name, for messages.

    Raises:
        InputError: no such file, or not one of this collection; names the column that is not there.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path} does not exist, expected a label file of {collection}")
    table = read_their_csv(path)
    for column in columns:
        if column not in table:
            raise InputError(f"{path}: no column {column!r}, expected a label file of {collection}")
    return table


def finding_column(table: pd.DataFrame, finding: str, known: Sequence[str], path: str | Path) -> pd.Series:
    """The column of a finding as numbers: 1 present, 0 absent, -1 uncertain, nan not mentioned.

    Raises:
        InputError: a finding that the file does not have, or another value.
    """
    if finding not in known:
        raise InputError(f"finding: {path} has no {finding!r}{did_you_mean(finding, known)}")
    values = pd.to_numeric(table[finding], errors="coerce")
    wrong = table.index[~(values.isin([1, 0, -1]) | table[finding].isna())]
    if len(wrong):
        got = table[finding][wrong[0]]
        raise InputError(
            f"{path}, row {wrong[0] + 2}, column {finding!r}: got {got}, expected 1, 0, -1 or nothing"
        )
    return values


def labelled(
    rows: pd.DataFrame, state: pd.Series, healthy: pd.Series, choice: LabelChoice, origin: str | Path
) -> PublishedCohort:
    """The case table of the images whose label is decided.

    Args:
        rows: case table without labels; its index says where in the file each row was.
        state: (rows,) 1 present, 0 absent, -1 uncertain, nan not mentioned.
        healthy: (rows,) bool, no finding at all.
        choice: what makes a label.
        origin: the file, for messages.

    Raises:
        InputError: no image is left, or see :func:`srcmatters.cohorts.check_cases`.
    """
    value = {"leave-out": np.nan, "positive": 1.0, "negative": 0.0}[choice.uncertain]
    absent = healthy if choice.negatives == "no-finding" else pd.Series(True, index=rows.index)
    label = pd.Series(np.where(absent, 0.0, np.nan), index=rows.index)
    label = label.mask(state == 1, 1.0).mask(state == -1, value)
    left_out = {f"uncertain of {choice.finding}": int((label.isna() & (state == -1)).sum())}
    left_out["with other findings only"] = int((label.isna() & (state != -1)).sum())
    kept = label.notna()
    if choice.view is not None:
        other = (
            rows.get("view", pd.Series("", index=rows.index)).fillna("").str.upper() != choice.view.upper()
        )
        left_out[f"in another view than {choice.view}"] = int((kept & other).sum())
        kept &= ~other
    if not kept.any():
        raise InputError(f"{origin}: no image with or without {choice.finding} is left, expected some")
    cases = rows[kept].assign(label=label[kept].astype(int))
    return PublishedCohort(check_cases(cases, origin), {why: n for why, n in left_out.items() if n})


def years_or_nothing(ages: pd.Series) -> pd.Series:
    """Ages in years; nothing where a collection writes what is no age (0 is a newborn's)."""
    numbers = pd.to_numeric(ages, errors="coerce")
    return numbers.where(numbers.between(0, 120))


def sex_letter(words: pd.Series) -> pd.Series:
    """F or M of Female, male, F, ...; nothing of anything else."""
    letters = words.fillna("").str.strip().str[:1].str.upper()
    return letters.where(letters.isin(["F", "M"]))
