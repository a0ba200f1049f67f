"""Groups of cases by an attribute: values of a column, bands of numbers, and cases without a value."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd

#: Cases without a value are a group of their own: why a value is missing may tell something of the label.
MISSING = "missing"
#: Patients below which a group is named and not tested.
LEAST_PATIENTS = 10
_BANDS = 3  # into which a column of numbers is cut
_DISTINCT = 8  # more different numbers than this are cut into bands
_MOST_VALUES = 20  # a column with more different texts is free text, or identifiers


@dataclass(frozen=True)
class AttributeGroups:
    """The group of every case.

    Args:
        name: of the attribute.
        levels: names of the groups that are large enough, numbers and bands in ascending order.
        member: (cases,) position in ``levels``; -1 in a group that is too small.
        numeric: whether the groups are bands of numbers.
        small: patients in each group that is too small to be tested, by name.
        varying: patients whose images are in several groups.
    """

    name: str
    levels: tuple[str, ...]
    member: np.ndarray
    numeric: bool
    small: dict[str, int]
    varying: int


def attribute_groups(
    entries: pd.Series, patients: np.ndarray, least_patients: int = LEAST_PATIENTS
) -> AttributeGroups | str:
    """Divide cases by a column of the case table.

    Args:
        entries: (cases,) numbers or texts. More than 8 different numbers are cut into three bands of similar
            size; missing ones are a group.
        patients: (cases,) whose case it is.
        least_patients: of a group that is tested.

    Returns:
        The groups, or why there are none to compare.
    """
    name = str(entries.name)
    numeric = pd.api.types.is_numeric_dtype(entries) and not pd.api.types.is_bool_dtype(entries)
    if not numeric and entries.nunique() > _MOST_VALUES:
        return f"{entries.nunique()} different texts, expected {_MOST_VALUES} or fewer"
    groups = named_groups(entries).fillna(MISSING)
    of_patients = pd.Series(patients, index=entries.index)
    sizes = of_patients.groupby(groups.to_numpy()).nunique()
    if len(sizes) < 2:
        return f"every value is {sizes.index[0]!r}"
    levels = sorted((level for level in sizes.index if sizes[level] >= least_patients), key=order_of_groups)
    small = {str(level): int(size) for level, size in sizes.items() if size < least_patients}
    if len(levels) < 2:
        return f"fewer than two groups of {least_patients} or more patients"
    place = {level: position for position, level in enumerate(levels)}
    member = groups.map(lambda level: place.get(level, -1)).to_numpy(dtype=int)
    varying = int((groups.groupby(of_patients).nunique() > 1).sum())
    banded = bool(numeric and entries.nunique() > 2)
    return AttributeGroups(name, tuple(levels), member, banded, small, varying)


def named_groups(entries: pd.Series) -> pd.Series:
    """What names the group of every entry; numbers are cut into three bands of similar size.

    Args:
        entries: numbers or texts; a missing one stays missing.
    """
    numbers = pd.api.types.is_numeric_dtype(entries) and not pd.api.types.is_bool_dtype(entries)
    if not numbers or entries.nunique() <= _DISTINCT:
        return entries.map(
            lambda value: f"{value:g}" if isinstance(value, float) else str(value), na_action="ignore"
        )
    edges = np.unique(entries.quantile(np.linspace(0, 1, _BANDS + 1), interpolation="nearest"))
    names = [f"{low:g} to {high:g}" for low, high in pairwise(edges)]
    return pd.cut(entries, edges.tolist(), labels=names, include_lowest=True).astype(object)


def order_of_groups(name: str) -> tuple[float, str]:
    """Numbers and bands of numbers by size (10 after 9, 5 to 12 before 12 to 40), before words."""
    try:
        return float(name.split(" ", 1)[0]), name
    except ValueError:
        return float("inf"), name
