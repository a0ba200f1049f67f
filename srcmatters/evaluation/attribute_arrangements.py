"""Permutations of an attribute that keep what belongs together: patients, labels, numbers of images."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations, product
from math import comb, prod

import numpy as np

_BLOCK = 4_000_000  # numbers in one array


@dataclass(frozen=True)
class Arrangements:
    """Every way, or a random sample of the ways, in which an attribute could have been distributed.

    A patient whose images all have one value hands it as a whole to another such patient with the same
    labels. A patient whose images differ keeps the set of values: they are permuted among the images of one
    label, and whole sets change places between patients with equal numbers of images of each label.

    Args:
        strata: of the patients with one value each: rows of their cases, by patient.
        values: their values, alike.
        blocks: of the others: (patients, images) rows of cases and number of images with label 0.
        member: (cases,) the values as they are.
    """

    strata: list[list[np.ndarray]]
    values: list[np.ndarray]
    blocks: list[tuple[np.ndarray, int]]
    member: np.ndarray

    @property
    def movable(self) -> int:
        """Patients whose values can change."""
        constant = sum(len(values) for values in self.values if len(set(values)) > 1)
        return constant + sum(
            len(rows) for rows, split in self.blocks if _can_change(self.member[rows], split)
        )

    @property
    def ways(self) -> float:
        """Number of different arrangements; infinite where images differ within a patient."""
        if any(_can_change(self.member[rows], split) for rows, split in self.blocks):
            return float("inf")
        return prod(_multinomial(values) for values in self.values)

    def all(self) -> np.ndarray:
        """(ways, cases) every arrangement."""
        orders = [list(_orders(tuple(values))) for values in self.values]
        result = np.tile(self.member, (int(self.ways), 1))
        for place, choice in enumerate(product(*orders)):
            for stratum, values in zip(self.strata, choice, strict=True):
                for rows, value in zip(stratum, values, strict=True):
                    result[place, rows] = value
        return result

    def sampled(self, count: int, stream: np.random.Generator) -> Iterator[np.ndarray]:
        """(some, cases) at a time, ``count`` random arrangements."""
        step = max(_BLOCK // len(self.member), 1)
        for start in range(0, count, step):
            drawn = np.tile(self.member, (min(step, count - start), 1))
            for stratum, values in zip(self.strata, self.values, strict=True):
                sizes = [len(rows) for rows in stratum]
                shuffled = stream.permuted(np.tile(values, (len(drawn), 1)), axis=1)
                drawn[:, np.concatenate(stratum)] = np.repeat(shuffled, sizes, axis=1)
            for rows, split in self.blocks:
                drawn[:, rows] = _shuffled(self.member[rows], split, len(drawn), stream)
            yield drawn


def arrangements(member: np.ndarray, labels: np.ndarray, patients: np.ndarray) -> Arrangements:
    """How an attribute may be permuted.

    Args:
        member: (cases,) value of each case, whole numbers.
        labels: (cases,) 0 or 1.
        patients: (cases,) whose case it is.
    """
    order = np.lexsort((labels, patients))
    ends = np.flatnonzero(patients[order][1:] != patients[order][:-1]) + 1
    constant: dict[tuple[int, ...], list[np.ndarray]] = {}
    varying: dict[tuple[int, int], list[np.ndarray]] = {}
    for rows in np.split(order, ends):
        if len(set(member[rows])) == 1:
            constant.setdefault(tuple(sorted(set(labels[rows]))), []).append(rows)
        else:
            positives = int((labels[rows] == 1).sum())
            varying.setdefault((len(rows) - positives, positives), []).append(rows)
    strata = list(constant.values())
    values = [np.array([member[rows[0]] for rows in stratum]) for stratum in strata]
    blocks = [(np.array(rows), counts[0]) for counts, rows in varying.items()]
    return Arrangements(strata, values, blocks, member)


def _can_change(values: np.ndarray, split: int) -> bool:
    """Whether a block of patients with differing images has more than one arrangement."""
    ordered = np.concatenate([np.sort(values[:, :split], axis=1), np.sort(values[:, split:], axis=1)], axis=1)
    within = any(len(set(part)) > 1 for row in values for part in (row[:split], row[split:]))
    return within or len(np.unique(ordered, axis=0)) > 1


def _shuffled(values: np.ndarray, split: int, count: int, stream: np.random.Generator) -> np.ndarray:
    """(count, patients, images): sets of values between patients, then within each patient and label."""
    keys = stream.random((count, len(values))).argsort(axis=1)
    drawn = values[keys]
    for part in (slice(0, split), slice(split, None)):
        drawn[:, :, part] = stream.permuted(drawn[:, :, part], axis=2)
    return drawn


def _multinomial(values: np.ndarray) -> float:
    left, ways = len(values), 1.0
    for count in np.unique(values, return_counts=True)[1]:
        ways *= comb(left, int(count))
        left -= int(count)
    return ways


def _orders(values: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """Every different order of some values."""
    first = min(values)
    count = values.count(first)
    rest = [value for value in values if value != first]
    for places in combinations(range(len(values)), count):
        for order in _orders(tuple(rest)) if rest else iter(((),)):
            left = iter(order)
            yield tuple(first if place in places else next(left) for place in range(len(values)))
