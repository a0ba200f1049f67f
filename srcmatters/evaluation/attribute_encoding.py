"""Encoded: can an attribute be read from the features, among cases of one label?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from srcmatters.evaluation.attribute_groups import LEAST_PATIENTS, AttributeGroups
from srcmatters.evaluation.linear_probe import LinearProbe, linear_probe


@dataclass(frozen=True)
class Encoding:
    """AUC of a probe for an attribute among the cases of one label.

    Args:
        label: 0 or 1.
        auc: .5 is chance; of several groups the mean over each against the others.
        low: lower end of its 95 % interval, patients resampled.
        high: upper end.
        groups: that were probed.
    """

    label: int
    auc: float
    low: float
    high: float
    groups: tuple[str, ...]


def attribute_encoding(
    features: np.ndarray,
    labels: np.ndarray,
    patients: np.ndarray,
    groups: AttributeGroups,
    seed: int = 0,
    least_patients: int = LEAST_PATIENTS,
    runs: np.ndarray | None = None,
) -> list[Encoding]:
    """Cross-validate a linear probe for an attribute within each label.

    Args:
        features: (cases, F), before the model's head.
        labels: (cases,) 0 or 1.
        patients: (cases,) whose case it is.
        groups: of the attribute.
        seed: of folds and resampling.
        least_patients: of a group and of the others among the cases of a label, to be probed.
        runs: (cases,) whose features they are: every network has a probe of its own, and the AUC is the mean
            over networks. None: one network.

    Returns:
        One per label in which there are two groups that are large enough.
    """
    runs = np.zeros(len(labels), dtype=int) if runs is None else runs
    results = []
    for label in (0, 1):
        probes: dict[str, list[LinearProbe]] = {}
        for run in np.unique(runs):
            rows = np.flatnonzero((labels == label) & (groups.member >= 0) & (runs == run))
            for level, inside in _probed(groups, rows, patients, least_patients):
                names = patients[rows].astype(str).tolist()
                probe = linear_probe(features[rows], inside.astype(int), names, seed, tuned=False)
                probes.setdefault(level, []).append(probe)
        if not probes:
            continue
        everything = [probe for of_level in probes.values() for probe in of_level]
        area = float(np.mean([one.auc for one in everything]))
        resampled = np.mean([one.resampled for one in everything], axis=0)
        low, high = np.clip(np.nanquantile(resampled, [0.025, 0.975]), 0, 1)
        results.append(Encoding(label, area, float(low), float(high), tuple(probes)))
    return results


def _probed(
    groups: AttributeGroups, rows: np.ndarray, patients: np.ndarray, least_patients: int
) -> Iterator[tuple[str, np.ndarray]]:
    """Groups that are large enough among some cases, and which of these are in them; of two groups one."""
    member, names = groups.member[rows], patients[rows].astype(str)
    of_two = len(groups.levels) == 2
    for place, level in enumerate(groups.levels):
        inside = member == place
        fewest = min(len(set(names[inside])), len(set(names[~inside])))
        if fewest >= least_patients and not (of_two and place == 0):
            yield level, inside
