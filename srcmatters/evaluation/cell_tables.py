"""Tables of single sources: figures per environment, gaps between environments, subgroups."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

from srcmatters.evaluation.analysis_plan import AnalysisPlan
from srcmatters.evaluation.classification import (
    average_precision,
    brier_score,
    calibration,
    decide,
    fix_threshold,
)
from srcmatters.evaluation.contrasts import boundary_errors
from srcmatters.evaluation.estimates import auc_interval, estimate, image_freedom, widened
from srcmatters.evaluation.resampling import auc, auc_influence
from srcmatters.evaluation.run_groups import ResampledRuns, RunGroup, TestSet

_BANDS = 3  # into which a column of numbers is cut
_SCORED = ("labels", "scores")
_DISTINCT = 8  # more different numbers than this are cut into bands


def _cells(group: RunGroup) -> Iterator[tuple[str, float, list[Any]]]:
    for source in group.sources:
        for p_art in group.shares(source):
            yield source, p_art, list(group.runs(source, p_art).values())


def environment_rows(runs: ResampledRuns, plan: AnalysisPlan) -> list[dict[str, Any]]:
    """One row per source, p_art and environment."""
    group, rows = runs.group, []
    for source, p_art, labels in _cells(group):
        thresholds = [_threshold(group.validation.get(label), plan.sensitivity) for label in labels]
        for environment in group.environments:
            area = runs.mean(source, p_art, f"{environment}_auc")
            low, high = auc_interval(area, group.positives, group.negatives, plan.confidence)
            names = {"source": source, "p_art": p_art, "environment": environment}
            figures = {"auc": area.value, "auc_low": low, "auc_high": high}
            others = _classification([runs.tests[label, environment] for label in labels], thresholds)
            chosen = group.cells.loc[labels]
            counts = {"folds": chosen["fold"].nunique(), "seeds": chosen["seed"].nunique()}
            rows.append({**group.axes, **names, **figures, **others, **counts})
    return rows


def _classification(tests: list[TestSet], thresholds: list[float]) -> dict[str, Any]:
    """Figures within each run averaged; calibration of all runs together: a fold is too small."""
    per_run = []
    for test, threshold in zip(tests, thresholds, strict=True):
        labels, scores = test.ranking.labels, test.ranking.scores
        decided = decide(labels, scores, threshold)
        precision = average_precision(labels, scores)
        brier = brier_score(labels, scores)
        per_run.append((precision, brier, threshold, decided.sensitivity, decided.specificity))
    rankings = [test.ranking for test in tests]
    recalibrated = calibration(
        *(np.concatenate([getattr(one, name) for one in rankings]) for name in _SCORED)
    )
    names = ("auprc", "brier", "threshold", "sensitivity", "specificity")
    return {
        **dict(zip(names, np.mean(per_run, axis=0).tolist(), strict=True)),
        "calibration_slope": recalibrated.slope,
        "calibration_intercept": recalibrated.intercept,
        "cases": len(np.unique(np.concatenate([test.case_ids for test in tests]))),
        "patients": len(np.unique(np.concatenate([one.patients for one in rankings]))),
    }


def _threshold(validation: pd.DataFrame | None, sensitivity: float | None) -> float:
    """Fixed as who trained the network would: on validation cases that are confounded as the training is."""
    if validation is None:
        return float("nan")
    scores = np.where(validation["carries"], validation["score_confounded"], validation["score_clean"])
    return fix_threshold(validation["label"].to_numpy(), scores, sensitivity)


def gap_rows(runs: ResampledRuns, plan: AnalysisPlan) -> list[dict[str, Any]]:
    """One row per source and p_art: what the reversed correlation costs, and what the confounder does."""
    group, rows = runs.group, []
    for source, p_art, _ in _cells(group):
        gap = runs.mean(source, p_art, "iid_minus_ood_auc")
        gap = widened(gap, boundary_errors(runs, source, p_art, ("iid_auc", "ood_auc")))
        low, high = gap.interval(plan.confidence)
        row = {"source": source, "p_art": p_art, "iid_minus_ood": gap.value, "low": low, "high": high}
        effect = (np.nan, np.nan, np.nan)
        if not group.sampled:
            shift = runs.mean(source, p_art, "effect")
            effect = (shift.value, *shift.interval(plan.confidence, -np.inf, np.inf))
        named = zip(("effect", "effect_low", "effect_high"), effect, strict=True)
        rows.append({**group.axes, **row, **dict(named)})
    return rows


def subgroup_rows(runs: ResampledRuns, plan: AnalysisPlan) -> list[dict[str, Any]]:
    """One row per source, p_art, environment and group of a column of the case table.

    There are many, so their errors are the analytic ones (:func:`auc_influence`) instead of resampled ones.
    """
    group, rows = runs.group, []
    for column in plan.subgroups:
        values = column_values(group, column)
        for source, p_art, labels in _cells(group) if len(values) else ():
            for environment in group.environments:
                tests = [runs.tests[label, environment] for label in labels]
                named = [values.reindex(test.case_ids).to_numpy() for test in tests]
                found = [
                    {"value": value, **_subgroup(tests, [names == value for names in named], group, plan)}
                    for value in sorted(
                        {str(name) for names in named for name in names if name == name}, key=_order
                    )
                ]
                worst = min((row["auc"] for row in found if np.isfinite(row["auc"])), default=np.nan)
                axes = {"source": source, "p_art": p_art, "environment": environment, "column": column}
                rows += [{**group.axes, **axes, **row, "worst": row["auc"] == worst} for row in found]
    return rows


def column_values(group: RunGroup, column: str) -> pd.Series:
    """What names the group of every case, by case_id; numbers are cut into three bands of similar size."""
    tables = [table[["case_id", column]] for table in group.tables.values() if column in table]
    if not tables:
        return pd.Series(dtype=str)
    entries = pd.concat(tables).drop_duplicates("case_id").set_index("case_id")[column].dropna()
    numbers = pd.api.types.is_numeric_dtype(entries) and not pd.api.types.is_bool_dtype(entries)
    if not numbers or entries.nunique() <= _DISTINCT:
        return entries.map(lambda value: f"{value:g}" if isinstance(value, float) else str(value))
    edges = np.unique(entries.quantile(np.linspace(0, 1, _BANDS + 1), interpolation="nearest"))
    names = [f"{low:g} to {high:g}" for low, high in pairwise(edges)]
    return pd.cut(entries, edges.tolist(), labels=names, include_lowest=True).astype(str)


def _order(name: str) -> tuple[float, str]:
    """Numbers and bands of numbers by size, before words."""
    try:
        return float(name.split(" ", 1)[0]), name
    except ValueError:
        return float("inf"), name


def _subgroup(
    tests: list[TestSet], rows: list[np.ndarray], group: RunGroup, plan: AnalysisPlan
) -> dict[str, Any]:
    parts = [test.subset(chosen) for test, chosen in zip(tests, rows, strict=True)]
    rankings = [part.ranking for part in parts if part.ranking.parts()]
    influence = np.array([auc_influence(one, len(group.weights.counts)) for one in rankings])
    covariance = influence @ influence.T if len(rankings) else np.zeros((0, 0))
    people = [
        len(
            np.unique(np.concatenate([part.ranking.patients[part.ranking.labels == label] for part in parts]))
        )
        for label in (1, 0)
    ]
    area = estimate(np.array([auc(one) for one in rankings]), covariance, image_freedom(*people))
    low, high = auc_interval(area, people[0], people[1], plan.confidence)
    cases = np.concatenate([part.case_ids for part in parts])
    positive = np.concatenate([part.ranking.labels for part in parts]) == 1
    counts = {"cases": len(np.unique(cases)), "positives": len(np.unique(cases[positive]))}
    return {"auc": area.value, "low": low, "high": high, **counts}
