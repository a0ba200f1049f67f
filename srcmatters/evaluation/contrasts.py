"""Differences between sources: the primary comparison and all the others, each with its corrected p."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from statsmodels.stats.multitest import multipletests

from srcmatters.evaluation.analysis_plan import CONTRAST_METRICS, AnalysisPlan
from srcmatters.evaluation.estimates import Estimate, boundary_error, widened
from srcmatters.evaluation.fold_tests import (
    delong_p_value,
    nadeau_bengio_p_value,
    permutation_test_over_folds,
)
from srcmatters.evaluation.resampled_statistics import Figure, difference
from srcmatters.evaluation.run_groups import ResampledRuns

_AREAS = {
    "clean_auc": ("clean_auc",),
    "iid_auc": ("iid_auc",),
    "ood_auc": ("ood_auc",),
    "iid_minus_ood_auc": ("iid_auc", "ood_auc"),
}


def source_pairs(sources: Sequence[str], plan: AnalysisPlan) -> list[tuple[str, str]]:
    """All pairs a - b: those that the plan names first and in its order, then the rest by the alphabet."""
    named = [name for name in plan.sources if name in sources]
    return list(combinations([*named, *(name for name in sorted(sources) if name not in named)], 2))


def boundary_errors(runs: ResampledRuns, source: str, p_art: float, names: Sequence[str]) -> list[float]:
    """Errors of those mean AUCs of a cell that are exactly 0 or 1, where resampling finds none."""
    group, errors = runs.group, []
    for name in names:
        values = [figure.value for figure in runs.of(source, p_art, name).values()]
        finite = [value for value in values if np.isfinite(value)]
        if finite:
            errors.append(boundary_error(float(np.mean(finite)), group.positives, group.negatives))
    return errors


def contrast_rows(runs: ResampledRuns, plan: AnalysisPlan, notes: list[str]) -> list[dict[str, Any]]:
    """Every pair of sources at every p_art by every metric; what cannot be compared goes into ``notes``."""
    group, rows = runs.group, []
    one_test_set = group.one_test_set
    for first, second in source_pairs(group.sources, plan):
        for p_art in sorted(set(group.shares(first)) & set(group.shares(second))):
            places = _common(runs, first, second, p_art, notes)
            for metric in CONTRAST_METRICS if places else ():
                pair = [runs.of(source, p_art, metric) for source in (first, second)]
                sides = [[figures[place] for place in places] for figures in pair]
                extra = [
                    error
                    for source in (first, second)
                    for error in boundary_errors(runs, source, p_art, _AREAS[metric])
                ]
                row = _compare(runs, plan, sides, extra, one_test_set)
                names = {"p_art": p_art, "metric": metric, "source_a": first, "source_b": second}
                rows.append({**group.axes, **names, **row})
    return rows


def _common(runs: ResampledRuns, first: str, second: str, p_art: float, notes: list[str]) -> list:
    """Folds and seeds that both sources have."""
    group = runs.group
    a, b = group.runs(first, p_art), group.runs(second, p_art)
    places = [place for place in a if place in b]
    where = f"{group.axes['confounder']} at p_art {p_art:g}: {first} and {second}"
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
    return places


def _compare(
    runs: ResampledRuns,
    plan: AnalysisPlan,
    sides: list[list[Figure]],
    extra: list[float],
    one_test_set: bool,
) -> dict[str, Any]:
    group = runs.group
    paired = [difference(a, b) for a, b in zip(*sides, strict=True)]
    paired = [figure for figure in paired if np.isfinite(figure.value)]
    found = widened(group.over(paired), extra)
    values = np.array([figure.value for figure in paired])
    low, high = found.interval(plan.confidence)
    folds = int(group.cells.get("num_folds", pd.Series([group.cells["fold"].nunique()])).iloc[0])
    first, second = (np.array([figure.value for figure in side]) for side in sides)
    permuted = permutation_test_over_folds(first[np.isfinite(first)], second[np.isfinite(second)], plan.seed)
    influence = np.array([figure.influence for figure in paired])
    corrected = nadeau_bengio_p_value(values, 1 / (folds - 1)) if folds > 1 and not one_test_set else np.nan
    return {
        "difference": found.value,
        "low": low,
        "high": high,
        "standard_error": found.standard_error,
        "p_value": found.p_value(),
        "p_delong": delong_p_value(values, influence) if len(paired) else np.nan,
        "p_nadeau_bengio": corrected,
        "p_permutation": permuted.p_value,
        "p_permutation_attainable": permuted.attainable,
        **_equivalence(found, plan),
        "detectable_difference": found.detectable_difference(plan.confidence),
        "trainings": found.trainings,
    }


def _equivalence(found: Estimate, plan: AnalysisPlan) -> dict[str, Any]:
    if not np.isfinite(found.value) or not np.isfinite(found.standard_error):
        return {"p_equivalence": np.nan, "equivalent": False}
    p_value = found.p_equivalence(plan.equivalence_margin)
    return {"p_equivalence": p_value, "equivalent": bool(p_value < 1 - plan.confidence)}


def with_families(contrasts: pd.DataFrame, plan: AnalysisPlan) -> pd.DataFrame:
    """Sort contrasts into families and correct their p: Holm for the primary, Benjamini-Hochberg otherwise.

    The primary family is what the plan declares. Null controls are a family of their own.

    Args:
        contrasts: with p_value, control, confounder, metric, p_art, source_a and source_b.
        plan: the declared comparison.

    Returns:
        A copy with family, correction and p_adjusted.
    """
    primary = (contrasts["metric"] == plan.metric) & np.isclose(contrasts["p_art"].astype(float), plan.p_art)
    if plan.confounder is not None:
        primary &= contrasts["confounder"] == plan.confounder
    if plan.sources:
        primary &= contrasts["source_a"].isin(plan.sources) & contrasts["source_b"].isin(plan.sources)
    family = pd.Series(np.where(primary, "primary", "secondary"), index=contrasts.index, dtype=object)
    family[contrasts["control"] != "none"] = "control"
    adjusted = contrasts.assign(
        family=family, correction=family.map(lambda name: "holm" if name == "primary" else "bh")
    )
    adjusted["p_adjusted"] = np.nan
    for name, members in adjusted.groupby("family"):
        method = "holm" if name == "primary" else "fdr_bh"
        adjusted.loc[members.index, "p_adjusted"] = adjusted_p_values(members["p_value"], method)
    return adjusted


def adjusted_p_values(p_values: pd.Series, method: str) -> np.ndarray:
    """p values of a family, corrected; those that are NaN stay NaN and do not count."""
    result = np.full(len(p_values), np.nan)
    known = p_values.notna().to_numpy()
    if known.any():
        result[known] = multipletests(p_values[known], method=method)[1]
    return result
