"""Null controls: what must come out as nothing, judged together and by the declared margin."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from srcmatters.evaluation.analysis_plan import AnalysisPlan
from srcmatters.evaluation.contrasts import boundary_errors
from srcmatters.evaluation.estimates import LEAN_RANGE, Estimate, widened
from srcmatters.evaluation.resampled_runs import ResampledRuns, test_set
from srcmatters.evaluation.resampled_statistics import (
    ResampledStatistic,
    combine,
    difference,
    resampled_auc,
)
from srcmatters.evaluation.run_groups import Repetition, RunGroup

Reference = Mapping[str, Mapping[Repetition, pd.DataFrame]]


def reference_tables(group: RunGroup) -> dict[str, dict[Repetition, pd.DataFrame]]:
    """Prediction tables at p_art 0 of a group without control, by source, fold and seed."""
    return {
        source: {place: group.tables[label] for place, label in group.runs(source, 0.0).items()}
        for source in group.sources
        if 0.0 in group.shares(source)
    }


def control_rows(
    runs: ResampledRuns, reference: Reference, permutations: Mapping[Any, pd.DataFrame], plan: AnalysisPlan
) -> list[dict[str, Any]]:
    """One row per source, p_art and metric of a null control.

    Shuffled labels: i.i.d. - o.o.d. AUC must be 0 and the clean AUC .5. A confounder that is independent of
    the label is not null in that sense: features react to what nobody taught them. Its null is i.i.d. -
    o.o.d. of the network trained at p_art 0, in the same test environments (the same carriers); without such
    runs it cannot be judged (NaN).

    Args:
        runs: of the control.
        reference: of :func:`reference_tables`, of the runs without control.
        permutations: by cell, the AUCs of heads fitted to permuted labels
            (:attr:`StudyResults.permutations`).
        plan: declared margin and confidence.
    """
    group, rows = runs.group, []
    for source in group.sources:
        for p_art in group.shares(source):
            gaps, null = runs.of(source, p_art, "iid_minus_ood_auc"), "0"
            if group.axes["control"] != "shuffled_labels":
                if p_art == 0:  # nobody carries the confounder: the study's own runs at p_art 0
                    continue
                gaps = _to_reference(runs, source, p_art, reference.get(source, {}))
                null = "the same at p_art 0"
            gap = widened(group.over(gaps), boundary_errors(runs, source, p_art, "iid_minus_ood_auc"))
            names = {**group.axes, "source": source, "p_art": p_art}
            own = [
                permutations[label] for label in group.runs(source, p_art).values() if label in permutations
            ]
            rows.append({**names, "metric": "iid_minus_ood_auc", "null": null})
            rows[-1] |= _judged(gap, plan) | _permuted(own, "iid_minus_ood_auc", 0.0)
            if group.axes["control"] == "shuffled_labels":
                clean = group.over(runs.of(source, p_art, "clean_auc"))
                rows.append({**names, "metric": "clean_auc", "null": "chance"})
                rows[-1] |= _judged(_shifted(clean, -0.5), plan) | _permuted(own, "clean_auc", 0.5)
    return rows


def _to_reference(
    runs: ResampledRuns, source: str, p_art: float, tables: Mapping[Repetition, pd.DataFrame]
) -> dict[Repetition, ResampledStatistic]:
    """i.i.d. - o.o.d. of the control less that of p_art 0 with the carriers of the control."""
    group, differences = runs.group, {}
    if group.sampled:
        return {}
    for place, label in group.runs(source, p_art).items():
        own = group.tables[label].set_index("case_id")
        if place not in tables or set(tables[place]["case_id"]) != set(own.index):
            continue
        table = tables[place].assign(
            carries=own["carries"].reindex(tables[place]["case_id"]).to_numpy(dtype=bool)
        )
        areas = [
            resampled_auc(test_set(table, name, group.weights).ranking, group.weights)
            for name in ("iid", "ood")
        ]
        gap = runs.statistics[label]["iid_minus_ood_auc"]
        differences[place] = difference(gap, combine((1, -1), areas))
    return differences


def _shifted(estimate: Estimate, by: float) -> Estimate:
    return Estimate(
        estimate.value + by, estimate.standard_error, estimate.degrees_of_freedom, estimate.trainings
    )


def _judged(estimated: Estimate, plan: AnalysisPlan) -> dict[str, Any]:
    low, high = estimated.interval(plan.confidence, *LEAN_RANGE)
    return {
        "value": estimated.value,
        "low": low,
        "high": high,
        "p_value": estimated.p_value(),
        "p_beyond": estimated.p_beyond(plan.equivalence_margin),
        "p_equivalence": estimated.p_equivalence(plan.equivalence_margin),
        "trainings": estimated.trainings,
    }


def _permuted(tables: list[pd.DataFrame], metric: str, null: float) -> dict[str, float]:
    """Mean over permutations of the labels, and the exact two-sided p of the labels that were trained with.

    Every fold permutes by itself, as the control does; the b-th permutations of all folds make one mean.
    """
    if not tables:
        return {"permutation_mean": np.nan, "p_permutation": np.nan}
    ordered = [table.sort_values("permutation") for table in tables]
    areas = [
        one["iid_auc"].to_numpy() - one["ood_auc"].to_numpy()
        if metric == "iid_minus_ood_auc"
        else one[metric].to_numpy()
        for one in ordered
    ]
    means = np.nanmean(np.array(areas), axis=0)
    centre = float(means[1:].mean())
    as_far = np.abs(means - centre) >= abs(means[0] - centre) - 1e-12
    return {"permutation_mean": centre - null, "p_permutation": float(as_far.mean())}
