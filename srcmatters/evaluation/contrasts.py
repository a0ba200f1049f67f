"""Differences between sources: the primary comparison and all the others, each with its corrected p."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from srcmatters.evaluation.analysis_plan import CONTRAST_METRICS, AnalysisPlan
from srcmatters.evaluation.estimates import LEAN_RANGE, boundary_error, widened
from srcmatters.evaluation.fold_tests import (
    delong_p_value,
    nadeau_bengio_p_value,
    permutation_test_over_folds,
)
from srcmatters.evaluation.resampled_runs import ResampledRuns
from srcmatters.evaluation.resampled_statistics import ResampledStatistic, difference
from srcmatters.evaluation.run_groups import Repetition
from srcmatters.numbers import share

#: The AUCs that a metric is made of: environment, and whether at p_art 0 instead.
_AREAS: dict[str, tuple[tuple[str, bool], ...]] = {
    "clean_auc": (("clean_auc", False),),
    "iid_auc": (("iid_auc", False),),
    "ood_auc": (("ood_auc", False),),
    "iid_minus_ood_auc": (("iid_auc", False), ("ood_auc", False)),
    "learned_lean": (("aligned_auc", False), ("ood_auc", False), ("aligned_auc", True), ("ood_auc", True)),
}


def source_pairs(sources: Sequence[str], plan: AnalysisPlan) -> list[tuple[str, str]]:
    """All pairs a - b: those that the plan names first and in its order, then the rest by the alphabet."""
    named = [name for name in plan.sources if name in sources]
    return list(combinations([*named, *(name for name in sorted(sources) if name not in named)], 2))


def boundary_errors(runs: ResampledRuns, source: str, p_art: float, metric: str) -> list[float]:
    """Errors of those mean AUCs of a cell that are nearly 0 or 1, where resampling finds too
    little spread.
    """
    group, errors = runs.group, []
    for name, at_0 in _AREAS[metric]:
        if name == "aligned_auc" and group.sampled:
            continue
        values = [one.value for one in runs.of(source, 0.0 if at_0 else p_art, name).values()]
        finite = [value for value in values if np.isfinite(value)]
        if finite:
            errors.append(boundary_error(float(np.mean(finite)), group.positives, group.negatives))
    return errors


def contrast_rows(
    runs: ResampledRuns, plan: AnalysisPlan, notes: list[str], thorough: bool = True
) -> list[dict[str, Any]]:
    """Every pair of sources at every p_art by every metric; what cannot be compared goes into ``notes``.

    Unless ``thorough`` by the plan's metric and the primary test alone.
    """
    group, rows = runs.group, []
    for first, second in source_pairs(group.sources, plan):
        for p_art in sorted(set(group.shares(first)) & set(group.shares(second))):
            _note_differing(runs, first, second, p_art, notes)
            for metric in CONTRAST_METRICS if thorough else (plan.metric,):
                sides = [runs.of(source, p_art, metric) for source in (first, second)]
                places = [place for place in sides[0] if place in sides[1]]
                if not places:
                    continue
                extra = [
                    error
                    for source in (first, second)
                    for error in boundary_errors(runs, source, p_art, metric)
                ]
                shared = [{place: side[place] for place in places} for side in sides]
                row = _compare(runs, plan, shared, extra)
                if thorough:
                    row |= _beside(runs, plan, shared)
                if metric == "learned_lean" and not group.sampled:
                    row["superiority_difference"] = _superiority_difference(runs, first, second, p_art)
                names = {"p_art": p_art, "metric": metric, "source_a": first, "source_b": second}
                rows.append({**group.axes, **names, **row})
    return rows


def _superiority_difference(runs: ResampledRuns, first: str, second: str, p_art: float) -> float:
    """What was learnt of the scale-free effect, first less second, over the repetitions of both."""
    sides = [runs.of(source, p_art, "learned_superiority") for source in (first, second)]
    differences = [sides[0][place].value - sides[1][place].value for place in sides[0] if place in sides[1]]
    return float(np.nanmean(differences))


def _note_differing(runs: ResampledRuns, first: str, second: str, p_art: float, notes: list[str]) -> None:
    """Folds and seeds that one of two sources lacks, and test sets that differ."""
    group = runs.group
    a, b = group.runs(first, p_art), group.runs(second, p_art)
    places = [place for place in a if place in b]
    where = f"{group.label} at p_art {share(p_art)}: {first} and {second}"
    if len(places) < max(len(a), len(b)):
        notes.append(
            f"{where} have {len(places)} folds and seeds in common ({len(a)} and {len(b)} were run); they are"
            " compared on those"
        )
    differing = sum(
        set(group.tables[a[place]]["case_id"]) != set(group.tables[b[place]]["case_id"]) for place in places
    )
    if differing:
        notes.append(f"{where} were tested on different cases in {differing} of {len(places)} runs")


def _paired(sides: list[dict[Repetition, ResampledStatistic]]) -> dict[Repetition, ResampledStatistic]:
    paired = {place: difference(one, sides[1][place]) for place, one in sides[0].items()}
    return {place: one for place, one in paired.items() if np.isfinite(one.value)}


def _compare(
    runs: ResampledRuns,
    plan: AnalysisPlan,
    sides: list[dict[Repetition, ResampledStatistic]],
    extra: list[float],
) -> dict[str, Any]:
    """The difference of two sources and the primary test."""
    estimated = widened(runs.group.over(_paired(sides)), extra)
    low, high = estimated.interval(plan.confidence, *LEAN_RANGE)
    return {
        "difference": estimated.value,
        "low": low,
        "high": high,
        "standard_error": estimated.standard_error,
        "p_value": estimated.p_value(),
        "p_equivalence": estimated.p_equivalence(plan.equivalence_margin),
        "detectable_difference": estimated.detectable_difference(plan.confidence),
        "trainings": estimated.trainings,
        "training_cohort": bool(runs.group.refits),
    }


def _beside(
    runs: ResampledRuns, plan: AnalysisPlan, sides: list[dict[Repetition, ResampledStatistic]]
) -> dict[str, float]:
    """The tests that are given beside the primary one."""
    group, paired = runs.group, _paired(sides)
    values = np.array([one.value for one in paired.values()])
    first, second = (np.array([one.value for one in side.values()]) for side in sides)
    permuted = permutation_test_over_folds(first[np.isfinite(first)], second[np.isfinite(second)], plan.seed)
    influence = np.array([one.influence for one in paired.values()])
    corrected = np.nan if group.one_test_set else nadeau_bengio_p_value(values, group.test_to_train)
    return {
        "p_delong": delong_p_value(values, influence) if len(paired) else np.nan,
        "p_nadeau_bengio": corrected,
        "p_permutation": permuted.p_value,
        "p_permutation_attainable": permuted.attainable,
    }


def with_families(contrasts: pd.DataFrame, plan: AnalysisPlan) -> pd.DataFrame:
    """Sort contrasts into families and correct their p: Holm for the primary, Benjamini-Hochberg otherwise.

    The primary family is what the plan declares. Null controls are a family of their own, and so are runs at
    p_art 0, where nothing could be learnt: neither dilutes the others. Equivalence tests are corrected by
    Holm in every family.

    Args:
        contrasts: with p_value, p_equivalence, control, confounder, metric, p_art, source_a and source_b.
        plan: the declared comparison.

    Returns:
        A copy with family, correction, p_adjusted, p_equivalence_adjusted and equivalent.
    """
    primary = (contrasts["metric"] == plan.metric) & np.isclose(contrasts["p_art"].astype(float), plan.p_art)
    if plan.confounder is not None:
        primary &= contrasts["confounder"] == plan.confounder
    if plan.sources:
        primary &= contrasts["source_a"].isin(plan.sources) & contrasts["source_b"].isin(plan.sources)
    family = pd.Series(np.where(primary, "primary", "secondary"), index=contrasts.index, dtype=object)
    family[~primary & (contrasts["p_art"].astype(float) == 0)] = "reference"
    family[contrasts["control"] != "none"] = "control"
    adjusted = contrasts.assign(
        family=family, correction=family.map(lambda name: "holm" if name == "primary" else "bh")
    )
    adjusted["p_adjusted"] = adjusted["p_equivalence_adjusted"] = np.nan
    for name, members in adjusted.groupby("family"):
        method = "holm" if name == "primary" else "fdr_bh"
        adjusted.loc[members.index, "p_adjusted"] = adjusted_p_values(members["p_value"], method)
        equivalence = adjusted_p_values(members["p_equivalence"], "holm")
        adjusted.loc[members.index, "p_equivalence_adjusted"] = equivalence
    return adjusted.assign(equivalent=adjusted["p_equivalence_adjusted"] < 1 - plan.confidence)


def adjusted_p_values(p_values: pd.Series, method: str) -> np.ndarray:
    """p values of a family, corrected; those that are NaN stay NaN and do not count.

    Args:
        p_values: of one family.
        method: "holm", or "fdr_bh" (Benjamini-Hochberg).
    """
    result = np.full(len(p_values), np.nan)
    known = p_values.notna().to_numpy()
    values = p_values.to_numpy(dtype=float)[known]
    if not len(values):
        return result
    if method == "fdr_bh":
        result[known] = stats.false_discovery_control(values)
        return result
    order = np.argsort(values)
    steps = np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1))
    corrected = np.empty(len(values))
    corrected[order] = np.minimum(steps, 1.0)
    result[known] = corrected
    return result
