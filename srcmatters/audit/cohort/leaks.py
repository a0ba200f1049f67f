"""Leaks of a case table: images and patients in two sets, empty cells, and facts that predict the label."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, product

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from srcmatters.cohorts.duplicates import near_pairs
from srcmatters.cohorts.null_controls import shuffled_by_patient
from srcmatters.evaluation.attribute_groups import AttributeGroups, attribute_groups
from srcmatters.evaluation.contrasts import adjusted_p_values
from srcmatters.evaluation.ladder_steps import column_step
from srcmatters.evaluation.linear_probe import FOLDS, linear_probe
from srcmatters.evaluation.resampling import Ranking, auc, replicate_auc, resample_patients

PERMUTATIONS = 999
_RESAMPLES = 1000
_EXPECTED = 5.0  # cases that an empty cell would have, were label and attributes independent
_MOST_VALUES = 20


@dataclass(frozen=True)
class FactLeak:
    """What one fact about the cases tells of the label.

    Args:
        fact: name of the column or of the property of the files.
        auc: of its values, turned so that it is .5 or more (numbers); of a cross-validated probe (texts).
        low: lower end of its 95 % interval, patients resampled.
        high: upper end.
        p_value: by permutation of the labels of whole patients.
        p_adjusted: corrected by Holm over the facts.
        cases: that have a value.
    """

    fact: str
    auc: float
    low: float
    high: float
    p_value: float
    p_adjusted: float
    cases: int


@dataclass(frozen=True)
class EmptyCell:
    """A combination of label and attributes without any case.

    Args:
        cell: such as "negative, sex M, view PA".
        expected: cases that it would have, were the label independent of the attributes.
    """

    cell: str
    expected: float


def fact_leaks(
    facts: pd.DataFrame, labels: np.ndarray, patients: np.ndarray, seed: int = 0
) -> tuple[list[FactLeak], list[str]]:
    """AUC of every fact, with its interval and its null.

    Of numbers it is the AUC of the value itself, so that what rises and falls again is not seen. Texts are
    read by a cross-validated probe; their null is that of the share of positives by value.

    Args:
        facts: (cases,) numbers or texts of each; a missing value leaves the case out.
        labels: (cases,) 0 or 1.
        patients: (cases,) whose case it is.
        seed: of permutations, folds and resampling.

    Returns:
        One per fact that varies, the strongest first; names of those that were not tested.
    """
    names, stream = np.asarray(patients).astype(str), np.random.default_rng(seed)
    shuffled = np.array([shuffled_by_patient(labels, names, stream) for _ in range(PERMUTATIONS)]).T
    rows, left_out = [], []
    for fact in facts:
        entries = facts[fact]
        present = entries.notna().to_numpy()
        numeric = pd.api.types.is_numeric_dtype(entries) and not pd.api.types.is_bool_dtype(entries)
        kinds = int(entries[present].nunique())
        patients_of = [len(set(names[present & (labels == label)])) for label in (0, 1)]
        if kinds < 2 or min(patients_of) < FOLDS or (not numeric and kinds > _MOST_VALUES):
            left_out.append(str(fact))
            continue
        parts = (labels[present], names[present], shuffled[present])
        tested = _of_number if numeric else _of_text
        rows.append((str(fact), *tested(entries[present], *parts, seed), int(present.sum())))
    if not rows:
        return [], left_out
    adjusted = adjusted_p_values(pd.Series([row[4] for row in rows], dtype=float), "holm")
    leaks = [FactLeak(*row[:5], float(p), row[5]) for row, p in zip(rows, adjusted, strict=True)]
    return sorted(leaks, key=lambda one: -one.auc), left_out


def _of_number(
    entries: pd.Series, labels: np.ndarray, patients: np.ndarray, shuffled: np.ndarray, seed: int
) -> tuple[float, float, float, float]:
    values = entries.to_numpy(dtype=float)
    weights = resample_patients(patients, _RESAMPLES, seed)
    area = auc(Ranking(labels, values, weights.rows(patients)))
    turned = values if area >= 0.5 else -values
    ranking = Ranking(labels, turned, weights.rows(patients))
    area = auc(ranking)
    low, high = np.nanquantile(replicate_auc(ranking, weights), [0.025, 0.975])
    null = _areas(rankdata(turned), shuffled)
    return area, float(low), float(high), _p_value(abs(area - 0.5), np.abs(null - 0.5))


def _of_text(
    entries: pd.Series, labels: np.ndarray, patients: np.ndarray, shuffled: np.ndarray, seed: int
) -> tuple[float, float, float, float]:
    features, _, _ = column_step(entries.astype(str).to_frame())
    assert features is not None
    probe = linear_probe(features, labels, patients.tolist(), seed, tuned=False)
    member = pd.factorize(entries.astype(str))[0]
    columns = np.column_stack([labels, shuffled]).astype(float)
    inside = np.eye(member.max() + 1)[member]
    rates = (inside.T @ columns) / inside.sum(0)[:, None]
    areas = np.array(
        [_areas(rankdata(rates[member, place]), columns[:, [place]])[0] for place in range(len(rates[0]))]
    )
    return probe.auc, probe.low, probe.high, _p_value(areas[0], areas[1:])


def _areas(ranks: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(permutations,) AUC of ranks under labels (cases, permutations); NaN without both."""
    positives = labels.sum(0)
    pairs = positives * (len(labels) - positives)
    with np.errstate(invalid="ignore", divide="ignore"):
        return (ranks @ labels - positives * (positives + 1) / 2) / pairs


def _p_value(observed: float, null: np.ndarray) -> float:
    null = null[np.isfinite(null)]
    return float((1 + np.sum(null >= observed - 1e-12)) / (1 + len(null)))


def empty_cells(columns: pd.DataFrame, labels: np.ndarray, patients: np.ndarray) -> list[EmptyCell]:
    """Combinations of the label with one attribute, or with two, that no case has.

    Only cells in which 5 or more cases were expected; one that follows from an empty cell of fewer
    attributes is not listed again.

    Args:
        columns: (cases,) of each attribute; numbers are cut into bands.
        labels: (cases,) 0 or 1.
        patients: (cases,) whose case it is.
    """
    groups = [attribute_groups(columns[name], patients, 1) for name in columns]
    known = [one for one in groups if isinstance(one, AttributeGroups)]
    empty: list[tuple[frozenset[str], EmptyCell]] = []
    for attributes in (*combinations(known, 1), *combinations(known, 2)):
        for places in product(*(range(len(one.levels)) for one in attributes)):
            inside = np.logical_and.reduce(
                [one.member == place for one, place in zip(attributes, places, strict=True)]
            )
            for label, word in ((0, "negative"), (1, "positive")):
                expected = float(inside.sum() * np.mean(labels == label))
                if expected < _EXPECTED or (inside & (labels == label)).any():
                    continue
                words = [
                    f"{one.name} {one.levels[place]}" for one, place in zip(attributes, places, strict=True)
                ]
                key = frozenset([word, *words])
                if not any(other < key for other, _ in empty):
                    empty.append((key, EmptyCell(", ".join([word, *words]), expected)))
    return [one for _, one in empty]


def near_between(cases: pd.DataFrame, hashes: np.ndarray) -> dict[str, int]:
    """Counts of pairs of images of different patients that look the same, exact copies included.

    Args:
        cases: case table.
        hashes: (cases, 4) perceptual hashes.

    Returns:
        ``look_alikes`` and, of these, ``look_alikes_of_both_labels``.
    """
    first, second = near_pairs(hashes).T
    patients, labels = cases["patient_id"].to_numpy(), cases["label"].to_numpy()
    strangers = patients[first] != patients[second]
    torn = labels[first] != labels[second]
    return {
        "look_alikes": int(strangers.sum()),
        "look_alikes_of_both_labels": int((strangers & torn).sum()),
    }


def shared_between(cases: pd.DataFrame, digests: Sequence[str]) -> dict[str, int]:
    """Counts of images that are there twice, and of patients and images in two sets.

    Args:
        cases: case table; ``split`` names the sets where there is one.
        digests: (cases,) hash of each image's content.

    Returns:
        ``duplicates`` (images that are there more than once), ``duplicates_of_both_labels``,
        ``duplicates_of_several_patients``, ``patients_of_both_labels``, and with a column split
        ``patients_in_both_sets`` and ``images_in_both_sets``.
    """
    image = pd.Series(list(digests), index=cases.index, dtype=str)
    for name in ("x_mm", "y_mm", "z_mm"):  # other places in one volume are other images
        if name in cases:
            image = image + "|" + cases[name].astype(str)
    by_image, by_patient = cases.groupby(image), cases.groupby("patient_id")
    counts = {
        "duplicates": int((by_image.size() > 1).sum()),
        "duplicates_of_both_labels": int((by_image["label"].nunique() > 1).sum()),
        "duplicates_of_several_patients": int((by_image["patient_id"].nunique() > 1).sum()),
        "patients_of_both_labels": int((by_patient["label"].nunique() > 1).sum()),
    }
    if "split" in cases:
        counts["patients_in_both_sets"] = int((by_patient["split"].nunique() > 1).sum())
        counts["images_in_both_sets"] = int((by_image["split"].nunique() > 1).sum())
    return counts
