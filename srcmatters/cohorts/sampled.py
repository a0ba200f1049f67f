"""Sampled confounders: sex, age band, view, manufacturer: cohorts chosen so that it goes with the label."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from srcmatters.case_stream import case_stream
from srcmatters.errors import InputError, did_you_mean

_BAND = re.compile(r"\s*(?P<sign>>=|<=|>|<)\s*(?P<limit>-?\d+(\.\d+)?)\s*")
_BETWEEN = re.compile(r"\s*(?P<low>\d+(\.\d+)?)\s*-\s*(?P<high>\d+(\.\d+)?)\s*")
_SIGNS: dict[str, Callable[[pd.Series, float], pd.Series]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}
_ROLES = ("train", "validation", "test")
# Cells: label and whether the case has the value. A positive with it carries the confounder.
_CELLS = {"positives with it": (1, True), "positives without": (1, False),
          "negatives with it": (0, True), "negatives without": (0, False)}  # fmt: skip
_NEEDED = {"train": tuple(_CELLS)[:2] + tuple(_CELLS)[3:], "test": tuple(_CELLS)}
_NEEDED["validation"] = _NEEDED["train"]


@dataclass(frozen=True)
class SampledCohort:
    """Five case tables whose columns are those of the table they came from, and ``carries``.

    Args:
        train: ``p_art`` of the positives have the value, no negative does.
        validation: likewise, other patients.
        iid_test: likewise, other patients again.
        ood_test: the correlation reversed: no positive has the value, every negative does. Its positives
            without the value may be in ``iid_test`` too, as a case is in both environments of a confounder
            that is added to images.
        test_pool: as many test cases of each of the four cells, the same for every ``p_art``; both test sets
            are part of it. Within the groups of the column it is a clean test set that does not change.
        counts: how many cases there were: per role and cell, "missing" (nothing in the column), "neither"
            (neither the value nor the other one) and "unmatched" (left out by ``match``).
    """

    train: pd.DataFrame
    validation: pd.DataFrame
    iid_test: pd.DataFrame
    ood_test: pd.DataFrame
    test_pool: pd.DataFrame
    counts: dict[str, int]


def sample_cohort(
    cases: pd.DataFrame,
    column: str,
    value: str,
    p_art: float,
    other: str | None = None,
    test_fraction: float = 0.3,
    fold: int = 0,
    num_folds: int = 5,
    train_size: int | None = None,
    validation_size: int | None = None,
    test_size: int | None = None,
    seed: int = 0,
    independent: bool = False,
    match: Sequence[str] | Mapping[str, float | None] = (),
) -> SampledCohort:
    """Choose cases so that a property of the patient goes with the label.

    Nothing is painted: images stay as they are.

    First every patient gets a role (test, validation, training), whatever ``p_art``: drawn per patient, in
    the proportions asked for within patients of the same kind of cases. Then, within a role, cases are taken
    by a rank that depends on seed and case alone. So no patient is in two roles; the positives with the value
    at p_art = .2 are among those at .5; and all sets have the same size and the same negatives whatever
    ``p_art``; the o.o.d. test set and the test pool are the same cases. What changes with ``p_art`` is which
    positives train, validate and are i.i.d. tested. Both classes have the same size.

    What else goes with the column goes with the label as well: where every man without the finding was
    imaged lying down, sex brings the view with it. ``match`` makes the cells alike in other columns.

    Args:
        cases: case table with case_id, patient_id, label and ``column``.
        column: any column: "sex", "view", "age", "manufacturer", ...
        value: what goes with the label: an entry of the column ("F"), or for numbers a band: "60-79" (both
            included), ">=60", also "age>=60".
        p_art: share of the positives that have it, 0..1.
        other: what the rest has, in the same notation; None: whatever is not ``value``.
        test_fraction: share of the patients that is kept for testing, in (0, 1).
        fold: which part of the other patients validates, 0 .. num_folds - 1.
        num_folds: parts, at least 2. The test patients are those of every fold.
        train_size: cases per class in training; None: as many as can be had at every ``p_art``.
        validation_size: likewise for validation.
        test_size: likewise for each of the two test sets.
        seed: seed of roles and ranks.
        independent: the null control: ``p_art`` of the negatives have the value as well.
        match: other columns in which the cells of each role are made alike (coarsened exact matching): a list
            of names, matched exactly, or a mapping of names to calipers, the width of the bands into which
            numbers are cut ({"view": None, "age": 10}). Cases without a partner are left out and counted.

    Raises:
        InputError: an unknown column or value, a share out of range, or more cases asked for than there are:
            the message says what can be had at most.

    Source: Juodelyte et al. 2024, the experiment on sex (share p of the positives female, negatives male;
    o.o.d. 200 male positives, 200 female negatives), without its leak of patients between the sets.
    """
    _check(cases, column, p_art, test_fraction, fold, num_folds)
    table, counts = _with_cells(cases, column, value, other)
    roles = _roles(table, test_fraction, fold, num_folds, seed)
    needed = dict.fromkeys(_ROLES, tuple(_CELLS)) if independent else _NEEDED
    pools = {
        (role, cell): _ranked(table[(roles == role) & (table["_cell"] == cell)], seed)
        for role in _ROLES
        for cell in _CELLS
    }
    if match:
        before = sum(len(pools[role, cell]) for role in _ROLES for cell in needed[role])
        for role in _ROLES:
            _match(pools, role, needed[role], match)
        counts["unmatched"] = before - sum(len(pools[role, cell]) for role in _ROLES for cell in needed[role])
    counts |= {f"{role}, {cell}": len(pool) for (role, cell), pool in pools.items()}
    requested = dict(zip(_ROLES, (train_size, validation_size, test_size), strict=True))
    sizes = {role: _size(role, requested[role], pools, needed[role], f"{column} {value}") for role in _ROLES}

    def correlated(role: str) -> pd.DataFrame:
        carrying = round(p_art * sizes[role])
        parts = [pools[role, "positives with it"][:carrying]]
        parts += [pools[role, "positives without"][: sizes[role] - carrying]]
        carrying = carrying if independent else 0
        parts += [pools[role, "negatives with it"][:carrying]]
        return _assemble([*parts, pools[role, "negatives without"][: sizes[role] - carrying]])

    reversed_cells = ("positives without", "negatives with it")
    ood_test = _assemble([pools["test", cell][: sizes["test"]] for cell in reversed_cells])
    pool = _assemble([pools["test", cell][: sizes["test"]] for cell in _CELLS])
    train, validation, iid_test = (correlated(role) for role in _ROLES)
    return SampledCohort(train, validation, iid_test, ood_test, pool, counts)


def _match(
    pools: dict[tuple[str, str], pd.DataFrame],
    role: str,
    cells: tuple[str, ...],
    match: Sequence[str] | Mapping[str, float | None],
) -> None:
    """Keep as many cases of every stratum in each of the cells, those of the lowest ranks.

    Source: Iacus, King and Porro 2012, coarsened exact matching.
    """
    widths = dict(match) if isinstance(match, Mapping) else dict.fromkeys(match)
    strata = {}
    for cell in cells:
        pool = pools[role, cell]
        for column in widths:
            if column not in pool:
                raise InputError(f"match: no column {column!r}{did_you_mean(column, map(str, pool.columns))}")
        parts = [_bands(pool[column], width, column) for column, width in widths.items()]
        strata[cell] = pd.Series(list(zip(*parts, strict=True)), index=pool.index, dtype=object)
    counts = [one.value_counts().to_dict() for one in strata.values()]
    common = set.intersection(*(set(one) for one in counts))
    most = {name: min(one[name] for one in counts) for name in common}
    for cell, names in strata.items():
        places = names.groupby(names).cumcount()
        kept = [place < most.get(name, 0) for place, name in zip(places, names, strict=True)]
        pools[role, cell] = pools[role, cell][np.array(kept, dtype=bool)]


def _bands(entries: pd.Series, width: float | None, column: str) -> list[str]:
    if width is None:
        return entries.astype(str).tolist()
    numbers = pd.to_numeric(entries, errors="coerce")
    if not width > 0 or numbers.isna().all():
        raise InputError(
            f"match: got a caliper of {width!r} for {column!r}, expected a width in a column of numbers"
        )
    return [f"{value:g}" for value in np.floor(numbers / width)]


def matches(entries: pd.Series, value: str, column: str) -> pd.Series:
    """Which entries are ``value``, or lie in the band it states; missing ones are False.

    Raises:
        InputError: a band on a column without numbers, or a value that no entry has.
    """
    text = str(value).strip()
    bare = text.removeprefix(column).strip() if _BAND.fullmatch(text.removeprefix(column)) else text
    band, between = _BAND.fullmatch(bare), _BETWEEN.fullmatch(bare)
    literal = entries.notna() & (entries.astype(str).str.strip() == text)
    if literal.any() or not (band or between):
        if not literal.any():
            present = sorted(entries.dropna().astype(str).str.strip().unique())[:20]
            raise InputError(f"value: no case has {column} {text!r}{did_you_mean(text, present)}")
        return literal
    numbers = pd.to_numeric(entries, errors="coerce")
    if numbers.isna().all():
        raise InputError(f"value: {text!r} is a band of numbers, but column {column!r} holds none")
    if band:
        matching = _SIGNS[band["sign"]](numbers, float(band["limit"]))
    else:
        assert between is not None
        matching = numbers.between(float(between["low"]), float(between["high"]))
    if not matching.any():
        raise InputError(
            f"value: no case has {column} {text}, there is {numbers.min():g} to {numbers.max():g}"
        )
    return matching


def _check(
    cases: pd.DataFrame, column: str, p_art: float, test_fraction: float, fold: int, num_folds: int
) -> None:
    for needed in ("case_id", "patient_id", "label", column):
        if needed not in cases:
            raise InputError(f"cases: no column {needed!r}{did_you_mean(needed, map(str, cases.columns))}")
    if not cases["label"].isin([0, 1]).all():
        raise InputError("cases, column 'label': expected 0 or 1 everywhere")
    if cases["case_id"].duplicated().any():
        raise InputError("cases, column 'case_id': expected a value that no other row has")
    if not 0 <= p_art <= 1:
        raise InputError(f"p_art: got {p_art}, expected a share between 0 and 1")
    if not 0 < test_fraction < 1:
        raise InputError(
            f"test_fraction: got {test_fraction}, expected a share between 0 and 1, both excluded"
        )
    if num_folds < 2 or not 0 <= fold < num_folds:
        raise InputError(f"fold: got {fold} of num_folds {num_folds}, expected 0 <= fold < num_folds >= 2")


def _with_cells(
    cases: pd.DataFrame, column: str, value: str, other: str | None
) -> tuple[pd.DataFrame, dict[str, int]]:
    """Cases that have either value, with ``carries`` and their cell; and how many have neither."""
    entries = cases[column]
    missing = entries.isna() | (entries.astype(str).str.strip() == "")
    having = matches(entries, value, column) & ~missing
    without = ~having & ~missing if other is None else matches(entries, other, column) & ~missing
    if (having & without).any():
        raise InputError(f"other: {column} {other!r} and {value!r} overlap, expected two separate groups")
    used = having | without
    table = cases[used].assign(carries=having[used])
    table["_cell"] = _cell_names(table["label"], table["carries"])
    return table, {"missing": int(missing.sum()), "neither": int((~used & ~missing).sum())}


def _cell_names(labels: pd.Series, carries: pd.Series) -> pd.Series:
    cell_of = {place: cell for cell, place in _CELLS.items()}
    places = zip(labels.astype(int), carries, strict=True)
    return pd.Series([cell_of[label, bool(carrying)] for label, carrying in places], index=labels.index)


def _roles(table: pd.DataFrame, test_fraction: float, fold: int, num_folds: int, seed: int) -> pd.Series:
    """Role of each case, the same for all cases of a patient."""
    # Of shuffled labels the true ones divide the patients, as in every other run of the study.
    kept = _cell_names(table["true_label"], table["carries"]) if "true_label" in table else table["_cell"]
    kinds = kept.groupby(table["patient_id"]).agg(lambda cells: " + ".join(sorted(set(cells))))
    role_of: dict[object, str] = {}
    for _, patients in kinds.groupby(kinds):
        names = sorted(patients.index, key=lambda name: case_stream(seed, str(name), "role").random())
        testing = round(test_fraction * len(names))
        role_of.update(dict.fromkeys(names[:testing], "test"))
        for place, name in enumerate(names[testing:]):
            role_of[name] = "validation" if place % num_folds == fold else "train"
    return table["patient_id"].map(role_of)


def _ranked(pool: pd.DataFrame, seed: int) -> pd.DataFrame:
    ranks = [case_stream(seed, str(name), "assignment").random() for name in pool["case_id"]]
    return pool.iloc[np.argsort(ranks, kind="stable")]


def _size(
    role: str,
    requested: int | None,
    pools: dict[tuple[str, str], pd.DataFrame],
    needed: tuple[str, ...],
    what: str,
) -> int:
    """Cases per class; every cell the role needs has to hold as many, so that any p_art is possible."""
    available = {cell: len(pools[role, cell]) for cell in needed}
    scarce = min(available, key=lambda cell: available[cell])
    most = available[scarce]
    if most == 0:
        raise InputError(f"cases: no {scarce} ({what}) among the {role} patients, expected one at least")
    if requested is not None and not 0 < requested <= most:
        raise InputError(
            f"{role}_size: got {requested} per class, expected 1 to {most}: there are only {most} {scarce} "
            f"({what}) among the {role} patients"
        )
    return most if requested is None else requested


def _assemble(parts: list[pd.DataFrame]) -> pd.DataFrame:
    """One table, in the order of the original."""
    return pd.concat(parts).sort_index().drop(columns="_cell").reset_index(drop=True)
