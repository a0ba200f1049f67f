"""What each source learnt to lean on: the loss under reversal less that at p_art 0, judged by a margin."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from srcmatters.evaluation.analysis_plan import AnalysisPlan
from srcmatters.evaluation.contrasts import adjusted_p_values, boundary_errors
from srcmatters.evaluation.estimates import LEAN_RANGE, widened
from srcmatters.evaluation.resampled_runs import ResampledRuns
from srcmatters.numbers import number

#: Reasons of :func:`ignorance`.
IGNORANT = "is not shown to know the target"
NO_REFERENCE = "there is no run at p_art 0, so its clean AUC without the confounder is unknown"
_ENOUGH_FREEDOM = 29  # thirty seeds

#: A source whose clean AUC at p_art 0 is not shown to lie above this does not know the target.
LEAST_CLEAN_AUC = 0.6


def spoken_p_art(shares: pd.Series | np.ndarray | list[float], plan: AnalysisPlan) -> float:
    """The p_art of the plan if there are runs at it, else the highest."""
    present = np.asarray(shares, dtype=float)
    declared = present[np.isclose(present, plan.p_art)]
    return float(declared[0] if len(declared) else present.max())


def lean_rows(runs: ResampledRuns, plan: AnalysisPlan) -> list[dict[str, Any]]:
    """One row per source and p_art above 0; null controls have none."""
    group = runs.group
    if group.axes["control"] != "none":
        return []
    shares = sorted({share for source in group.sources for share in group.shares(source) if share > 0})
    if not shares:
        return []
    spoken, rows = spoken_p_art(shares, plan), []
    for source in group.sources:
        for p_art in group.shares(source):
            if p_art > 0:
                family = "declared" if np.isclose(p_art, spoken) else "other"
                rows.append({**group.axes, "source": source, "p_art": p_art, "family": family})
                rows[-1] |= _lean(runs, source, p_art, plan)
    return rows


def _lean(runs: ResampledRuns, source: str, p_art: float, plan: AnalysisPlan) -> dict[str, Any]:
    metric = "learned_lean" if runs.of(source, p_art, "learned_lean") else "iid_minus_ood_auc"
    lean = runs.mean(source, p_art, metric)
    lean = widened(lean, boundary_errors(runs, source, p_art, metric))
    low, high = lean.interval(plan.confidence, *LEAN_RANGE)
    row = {
        "metric": metric,
        "lean": lean.value,
        "low": low,
        "high": high,
        "standard_error": lean.standard_error,
        "degrees_of_freedom": lean.degrees_of_freedom,
        "p_value": lean.p_value(),
        "p_beyond": lean.p_beyond(plan.equivalence_margin),
        "p_equivalence": lean.p_equivalence(plan.equivalence_margin),
        "of_patients": lean.of_patients,
        "of_folds": lean.of_folds,
        "of_seeds": lean.of_seeds,
        "trainings": lean.trainings,
        "seeds": len({seed for _, seed in runs.group.runs(source, p_art)}),
        "training_cohort": bool(runs.group.refits),
    }
    if metric == "learned_lean" and not runs.group.sampled:
        learned = runs.mean(source, p_art, "learned_superiority")
        ends = learned.interval(plan.confidence)
        row |= {"superiority": learned.value, "superiority_low": ends[0], "superiority_high": ends[1]}
    return row


def with_adjusted(rows: pd.DataFrame, group_by: str) -> pd.DataFrame:
    """A copy with p_value, p_beyond and p_equivalence corrected by Holm within each family.

    Args:
        rows: with these columns.
        group_by: column that names the family.
    """
    adjusted = rows.copy()
    for name in ("p_value", "p_beyond", "p_equivalence"):
        adjusted[f"{name}_adjusted"] = np.nan
        for _, members in adjusted.groupby(group_by):
            corrected = adjusted_p_values(members[name], "holm")
            adjusted.loc[members.index, f"{name}_adjusted"] = corrected
    return adjusted


def with_not_excluded(rows: pd.DataFrame, confidence: float) -> pd.DataFrame:
    """A copy with ``not_excluded``: losses that all together are exceeded in no more than 1 - confidence.

    One-sided limits at 1 - (1 - confidence) / n over the n rows of a family (Bonferroni), never below the end
    of the row's own interval: a study that says twelve times what is not excluded is right in all of them.
    NaN where few seeds that differ are most of the uncertainty: leans are skewed over seeds, those that come
    out small also differ little, and in simulation a limit from five or ten of them was exceeded by 6 to 7 %
    of the sources instead of 2.5 %.

    Args:
        rows: with lean, high, standard_error, degrees_of_freedom, of_seeds and family.
        confidence: of the study.
    """
    members = rows.groupby("family")["lean"].transform("size")
    quantile = stats.t.isf((1 - confidence) / members, rows["degrees_of_freedom"])
    limit = np.minimum(rows["lean"] + quantile * rows["standard_error"], LEAN_RANGE[1])
    by_seeds = rows["of_seeds"] ** 2 > rows["standard_error"] ** 2 / 2
    told = rows["high"].notna() & ~(by_seeds & (rows["degrees_of_freedom"] < _ENOUGH_FREEDOM))
    return rows.assign(not_excluded=np.fmax(np.fmax(limit, rows["high"]), 0.0).where(told))


def ignorance(environments: pd.DataFrame, margin: float) -> dict[str, str]:
    """Sources that cannot be ranked by their lean, and why: what knows nothing loses nothing.

    Args:
        environments: rows of :attr:`Analysis.environments` of one group of runs.
        margin: by which the clean AUC at p_art 0 may lie below the best.

    Returns:
        By source, a reason; sources that know the target are not in it.
    """
    clean = environments[
        (environments["environment"] == "clean") & (environments["p_art"].astype(float) == 0)
    ]
    clean = clean.drop_duplicates("source").set_index("source")
    best, reasons = clean["auc"].max(), {}
    for source in environments["source"].unique():
        if source not in clean.index:
            reasons[source] = NO_REFERENCE
            continue
        auc, low = (clean.loc[source, name].item() for name in ("auc", "auc_low"))
        if not low > LEAST_CLEAN_AUC:
            reasons[source] = IGNORANT
        elif auc < best - margin:
            reasons[source] = (
                f"has a clean AUC of {number(auc)} at p_art 0, more than {number(margin)} below the best,"
                f" {number(best)}"
            )
    return reasons
