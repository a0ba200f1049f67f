"""Subgroups: the AUC of every group of a column of the case table, and whether they differ at all."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from srcmatters.evaluation.analysis_plan import AnalysisPlan
from srcmatters.evaluation.attribute_groups import named_groups, order_of_groups
from srcmatters.evaluation.cell_tables import cells_of
from srcmatters.evaluation.estimates import auc_interval, estimate, image_freedom
from srcmatters.evaluation.resampled_runs import ResampledRuns, TestSet
from srcmatters.evaluation.resampled_statistics import resampled_effect
from srcmatters.evaluation.resampling import PatientWeights, auc, auc_influence
from srcmatters.evaluation.run_groups import RunGroup


def subgroup_rows(runs: ResampledRuns, plan: AnalysisPlan) -> list[dict[str, Any]]:
    """One row per source, p_art, metric and group of a column of the case table.

    Metrics are the AUC in each environment, i.i.d. - o.o.d. AUC and the effect in log-odds. There are many,
    so their errors are the analytic ones (:func:`auc_influence`) instead of resampled ones.
    """
    group, rows = runs.group, []
    for column in plan.subgroups:
        values = column_values(group, column)
        for source, p_art, labels in cells_of(group) if len(values) else ():
            for metric in (*group.environments, "iid_minus_ood", *(() if group.sampled else ("effect",))):
                groups = [
                    {"value": value, **_subgroup(runs, labels, metric, values == value, plan)}
                    for value in sorted(set(values), key=order_of_groups)
                ]
                p_value = heterogeneity([(row["auc"], row.pop("standard_error")) for row in groups])
                worst = _worst(metric, [row["auc"] for row in groups], p_value < 1 - plan.confidence)
                axes = {"source": source, "p_art": p_art, "environment": metric, "column": column}
                rows += [
                    {**group.axes, **axes, **row, "p_heterogeneity": p_value, "worst": place == worst}
                    for place, row in enumerate(groups)
                ]
    return rows


def heterogeneity(groups: list[tuple[float, float]]) -> float:
    """p of the hypothesis that all groups have the same value (Cochran's Q); NaN for fewer than two.

    Args:
        groups: value and standard error of each; those without are left out.
    """
    known = np.array([one for one in groups if np.isfinite(one).all() and one[1] > 0])
    if len(known) < 2:
        return float("nan")
    weights = 1 / known[:, 1] ** 2
    mean = np.average(known[:, 0], weights=weights)
    return float(stats.chi2.sf(np.sum(weights * (known[:, 0] - mean) ** 2), len(known) - 1))


def _worst(metric: str, values: list[float], differ: bool) -> int | None:
    """Place of the lowest AUC, or of the largest loss or effect; None unless the groups differ at all."""
    present = [place for place, value in enumerate(values) if np.isfinite(value)]
    if not differ or not present:
        return None
    larger_is_worse = metric in ("iid_minus_ood", "effect")
    return max(present, key=lambda place: abs(values[place]) if larger_is_worse else -values[place])


def column_values(group: RunGroup, column: str) -> pd.Series:
    """What names the group of every case, by case_id; numbers are cut into three bands of similar size."""
    tables = [table[["case_id", column]] for table in group.tables.values() if column in table]
    if not tables:
        return pd.Series(dtype=str)
    entries = pd.concat(tables).drop_duplicates("case_id").set_index("case_id")[column].dropna()
    return named_groups(entries).astype(str)


def _subgroup(
    runs: ResampledRuns, labels: list[Any], metric: str, members: pd.Series, plan: AnalysisPlan
) -> dict[str, Any]:
    """A metric of the cases of one group: mean over the runs that have it."""
    group = runs.group
    names = {"iid_minus_ood": ("iid", "ood"), "effect": ("clean",)}.get(metric, (metric,))
    parts = [_part(runs.tests[label, name], members) for name in names for label in labels]
    if metric == "effect":
        pairs = [_effect(group, label, members) for label in labels]
    else:
        of_environment = [
            [_area(group, _part(runs.tests[label, name], members)) for label in labels] for name in names
        ]
        pairs = [
            (one[0][0] - one[1][0], one[0][1] - one[1][1]) if len(one) == 2 else one[0]
            for one in zip(*of_environment, strict=True)
        ]
    pairs = [pair for pair in pairs if np.isfinite(pair[0])]
    influence = np.array([pair[1] for pair in pairs])
    covariance = influence @ influence.T if len(pairs) else np.zeros((0, 0))
    people = [
        len(
            np.unique(np.concatenate([part.ranking.patients[part.ranking.labels == label] for part in parts]))
        )
        for label in (1, 0)
    ]
    estimated = estimate(np.array([pair[0] for pair in pairs]), covariance, image_freedom(*people))
    if metric in names:
        low, high = auc_interval(estimated, people[0], people[1], plan.confidence)
    else:
        low, high = estimated.interval(plan.confidence, -np.inf, np.inf)
    cases = np.concatenate([part.case_ids for part in parts])
    positive = np.concatenate([part.ranking.labels for part in parts]) == 1
    counts = {"cases": len(np.unique(cases)), "positives": len(np.unique(cases[positive]))}
    error = {"standard_error": estimated.standard_error}
    return {"auc": estimated.value, "low": low, "high": high, **counts, **error}


def _part(test: TestSet, members: pd.Series) -> TestSet:
    return test.subset(members.reindex(test.case_ids, fill_value=False).to_numpy(dtype=bool))


def _area(group: RunGroup, part: TestSet) -> tuple[float, np.ndarray]:
    if not part.ranking.parts():
        return float("nan"), np.full(len(group.weights.counts), np.nan)
    return auc(part.ranking), auc_influence(part.ranking, len(group.weights.counts))


def _effect(group: RunGroup, label: Any, members: pd.Series) -> tuple[float, np.ndarray]:
    table = group.tables[label]
    own = table[members.reindex(table["case_id"].astype(str), fill_value=False).to_numpy(dtype=bool)]
    if own.empty:
        return float("nan"), np.full(len(group.weights.counts), np.nan)
    effect = resampled_effect(own, PatientWeights(group.weights.position, group.weights.counts[:, :1]))
    return effect.value, effect.influence
