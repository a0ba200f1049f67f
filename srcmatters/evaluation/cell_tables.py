"""Tables of single sources: metrics per environment, gaps between environments, effects on a case."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from srcmatters.evaluation.analysis_plan import AnalysisPlan
from srcmatters.evaluation.classification import average_precision, fix_threshold
from srcmatters.evaluation.contrasts import boundary_errors
from srcmatters.evaluation.environments import scores_as_assigned
from srcmatters.evaluation.estimates import auc_interval, widened
from srcmatters.evaluation.recalibration import recalibrate
from srcmatters.evaluation.resampled_runs import ResampledRuns, TestSet
from srcmatters.evaluation.resampled_statistics import ResampledStatistic, resampled_mean
from srcmatters.evaluation.run_groups import Repetition, RunGroup
from srcmatters.runs.prediction_table import log_odds

_SCORED = ("labels", "scores", "patients")


def cells_of(group: RunGroup) -> Iterator[tuple[str, float, list[Any]]]:
    """Source, p_art and labels of the runs of every cell."""
    for source in group.sources:
        for p_art in group.shares(source):
            yield source, p_art, list(group.runs(source, p_art).values())


def environment_rows(runs: ResampledRuns, plan: AnalysisPlan, thorough: bool = True) -> list[dict[str, Any]]:
    """One row per source, p_art and environment; unless ``thorough`` of the AUC alone."""
    group, rows = runs.group, []
    for source, p_art, labels in cells_of(group):
        places = group.runs(source, p_art)
        thresholds = {
            place: _threshold(group.validation.get(label), plan.sensitivity)
            for place, label in (places.items() if thorough else ())
        }
        cells = group.cells.loc[labels]
        counts = {"folds": cells["fold"].nunique(), "seeds": cells["seed"].nunique()}
        for environment in group.environments if thorough else ("clean", "iid", "ood"):
            area = runs.mean(source, p_art, f"{environment}_auc")
            low, high = auc_interval(area, group.positives, group.negatives, plan.confidence)
            row = {"source": source, "p_art": p_art, "environment": environment}
            row |= {"auc": area.value, "auc_low": low, "auc_high": high}
            rows.append({**group.axes, **row, **counts})
            if not thorough:
                continue
            tests = {place: runs.tests[label, environment] for place, label in places.items()}
            rows[-1] |= _classification(list(tests.values()), thresholds, plan.confidence)
            rows[-1] |= _intervals(runs, tests, thresholds, plan.confidence)
    return rows


def _intervals(
    runs: ResampledRuns,
    tests: dict[Repetition, TestSet],
    thresholds: dict[Repetition, float],
    confidence: float,
) -> dict[str, float]:
    """Brier score, sensitivity and specificity, each averaged over the runs, with its interval."""
    weights = runs.group.weights
    row: dict[str, float] = {}
    of_runs: dict[str, dict[Repetition, ResampledStatistic]] = {name: {} for name in _RATES}
    for place, test in tests.items():
        ranking = test.ranking
        called = np.where(np.isnan(thresholds[place]), np.nan, ranking.scores >= thresholds[place])
        values = {
            "brier": ((ranking.scores - ranking.labels) ** 2, np.ones(len(called), dtype=bool)),
            "sensitivity": (called, ranking.labels == 1),
            "specificity": (1 - called, ranking.labels == 0),
        }
        for name, (entries, rows) in values.items():
            of_runs[name][place] = resampled_mean(entries[rows], ranking.patients[rows], weights)
    for name, statistics in of_runs.items():
        estimated = runs.group.over(statistics)
        low, high = estimated.interval(confidence, 0.0, 1.0)
        row |= {name: estimated.value, f"{name}_low": low, f"{name}_high": high}
    return row


_RATES = ("brier", "sensitivity", "specificity")


def _classification(
    tests: list[TestSet], thresholds: dict[Repetition, float], confidence: float
) -> dict[str, Any]:
    """AUPRC within each run, averaged; calibration of all runs together, as a fold is too small: its interval
    is of other patients for these networks.
    """
    rankings = [test.ranking for test in tests]
    labels, scores, owner = (np.concatenate([getattr(one, name) for one in rankings]) for name in _SCORED)
    calibration: dict[str, float] = {}
    for name, one in recalibrate(log_odds(pd.Series(scores)), labels, owner).items():
        low, high = one.interval(confidence)
        calibration |= {name: one.value, f"{name}_low": low, f"{name}_high": high}
    return {
        "auprc": float(np.mean([average_precision(one.labels, one.scores) for one in rankings])),
        "threshold": float(np.mean(list(thresholds.values()))),
        **calibration,
        "cases": len(np.unique(np.concatenate([test.case_ids for test in tests]))),
        "patients": len(np.unique(np.concatenate([one.patients for one in rankings]))),
    }


def _threshold(validation: pd.DataFrame | None, sensitivity: float | None) -> float:
    """Fixed as who trained the network would: on validation cases that are confounded as the training is."""
    if validation is None:
        return float("nan")
    return fix_threshold(validation["label"].to_numpy(), scores_as_assigned(validation), sensitivity)


def gap_rows(runs: ResampledRuns, plan: AnalysisPlan) -> list[dict[str, Any]]:
    """One row per source and p_art: what the reversed correlation costs, and what the confounder does."""
    group, rows = runs.group, []
    for source, p_art, _ in cells_of(group):
        gap = runs.mean(source, p_art, "iid_minus_ood_auc")
        gap = widened(gap, boundary_errors(runs, source, p_art, "iid_minus_ood_auc"))
        low, high = gap.interval(plan.confidence)
        row = {"source": source, "p_art": p_art, "iid_minus_ood": gap.value, "low": low, "high": high}
        effects = {}
        if not group.sampled:
            effects = {name: runs.mean(source, p_art, name) for name in _EFFECTS if name != "flips"}
            effects["flips"] = group.over(_flips(runs, source, p_art, plan.sensitivity))
        for name, limits in _EFFECTS.items():
            value, ends = np.nan, (np.nan, np.nan)
            if name in effects:
                value, ends = effects[name].value, effects[name].interval(plan.confidence, *limits)
            row |= {name: value, f"{name}_low": ends[0], f"{name}_high": ends[1]}
        rows.append({**group.axes, **row})
    return rows


# Effects on a case and where their intervals end.
_EFFECTS = {
    "effect": (-np.inf, np.inf),
    "probability_effect": (-1.0, 1.0),
    "superiority": (0.0, 1.0),
    "flips": (0.0, 1.0),
}


def _flips(
    runs: ResampledRuns, source: str, p_art: float, sensitivity: float | None
) -> dict[Repetition, ResampledStatistic]:
    """Share of the test cases whose decision at the fixed threshold the confounder changes, in each run."""
    group, flips = runs.group, {}
    for place, label in group.runs(source, p_art).items():
        threshold, table = _threshold(group.validation.get(label), sensitivity), group.tables[label]
        decided = [table[f"score_{name}"].to_numpy() >= threshold for name in ("clean", "confounded")]
        flipped = np.where(np.isnan(threshold), np.nan, decided[0] != decided[1])
        flips[place] = resampled_mean(flipped, group.weights.rows(table["patient_id"]), group.weights)
    return flips
