"""How good an exported model is: its calibrated probabilities on the test cases, decided at its threshold."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from statsmodels.stats.proportion import proportion_confint

from srcmatters.evaluation.analysis import analyse
from srcmatters.evaluation.analysis_plan import AnalysisPlan
from srcmatters.evaluation.classification import average_precision, brier_score, calibration, decide
from srcmatters.evaluation.environments import environment_scores, in_environment
from srcmatters.evaluation.resampling import resample_patients
from srcmatters.exported_bundle.calibration import ProbabilityCalibration
from srcmatters.runs.finished_runs import read_results
from srcmatters.runs.prediction_table import log_odds
from srcmatters.runs.trained_run import TrainedRun

REPLICATES = 2000
_RESAMPLED = 500
_REFITTED = 200  # a recalibration takes as long as ten other figures
#: Ages above it tell who somebody is.
_OLDEST_SHOWN = 89
_ENVIRONMENTS = {"clean": "clean", "iid": "i.i.d.", "ood": "o.o.d."}
Figure = dict[str, float | None]


def performance(
    run: TrainedRun, fitted: ProbabilityCalibration, threshold: float
) -> tuple[dict[str, dict[str, Any]], list[dict[str, Any]]]:
    """Figures of the test cases with 95 % intervals.

    AUC as in a report; AUPRC, the Brier score and the calibration by resampling patients; sensitivity and
    specificity by Wilson's interval for as many trials as there are patients. All are of these weights: other
    images, not other trainings. A run without a confounder has clean figures alone: its other environments
    are the same images once more, which would look like a proof of robustness.

    Args:
        run: the run.
        fitted: the calibration, fixed on validation cases.
        threshold: on the calibrated probability, likewise.

    Returns:
        By environment ("clean", "i.i.d.", "o.o.d.") a figure {value, low, high} by name, with the number of
        cases, positives and patients; and one row per environment and subgroup.
    """
    results = read_results(run.folder)
    analysis = analyse(results, AnalysisPlan(replicates=REPLICATES))
    rows = analysis.environments.set_index("environment")
    tested = ("clean",) if run.settings["confounder"] == "none" else tuple(_ENVIRONMENTS)
    figures = {}
    for name in (name for name in tested if name in rows.index):
        area = rows.loc[name]
        auc = _figure(area["auc"], area["auc_low"], area["auc_high"])
        cases = run.predictions[in_environment(run.predictions, name)]  # type: ignore[arg-type]
        scores = fitted(log_odds(pd.Series(environment_scores(cases, name))))  # type: ignore[arg-type]
        figures[_ENVIRONMENTS[name]] = {"auroc": auc, **_others(cases, scores, threshold)}
    subgroups = [
        {
            "environment": _ENVIRONMENTS[row["environment"]],
            **{name: row[name] for name in ("column", "cases", "positives", "worst")},
            "value": _without_age(str(row["value"])) if row["column"] == "age" else row["value"],
            "auroc": _figure(row["auc"], row["low"], row["high"]),
        }
        for row in analysis.subgroups.to_dict("records")
        if row["environment"] in tested
    ]
    return figures, subgroups


def _others(cases: pd.DataFrame, scores: np.ndarray, threshold: float) -> dict[str, Any]:
    labels = cases["label"].to_numpy()
    patients = cases["patient_id"].to_numpy()
    decided = decide(labels, scores, threshold)
    people = [len(np.unique(patients[labels == label])) for label in (1, 0)]
    return {
        "auprc": _resampled(average_precision, labels, scores, patients),
        "brier": _resampled(brier_score, labels, scores, patients),
        "sensitivity": _wilson(decided.sensitivity, people[0]),
        "specificity": _wilson(decided.specificity, people[1]),
        **_recalibrated(labels, scores, patients),
        "cases": len(labels),
        "positives": int(labels.sum()),
        "patients": len(np.unique(patients)),
    }


def age_in_words(age: float) -> str:
    """An age in whole years; above 89 not which."""
    return f"{age:.0f}" if round(age) <= _OLDEST_SHOWN else f"{_OLDEST_SHOWN + 1} or older"


def _without_age(band: str) -> str:
    """A band of ages, "59 to 94", without the exact age of the oldest."""

    def shown(match: re.Match[str]) -> str:
        return match[0] if float(match[0]) <= _OLDEST_SHOWN else age_in_words(float(match[0]))

    return re.sub(r"\d+(\.\d+)?", shown, band)


def _recalibrated(labels: np.ndarray, scores: np.ndarray, patients: np.ndarray) -> dict[str, Figure]:
    """Slope and intercept, without an interval where scores separate the labels of most resamples."""
    own = calibration(labels, scores)
    weights = resample_patients(patients, _REFITTED)
    drawn = weights.counts[weights.rows(patients)].astype(int)
    again = [
        calibration(labels[cases], scores[cases])
        for cases in (np.repeat(np.arange(len(labels)), counts) for counts in drawn.T)
    ]
    figures = {}
    for name in ("slope", "intercept"):
        values = np.array([getattr(one, name) for one in again])
        values = values[np.isfinite(values)]
        enough = len(values) > _REFITTED / 2
        low, high = np.quantile(values, [0.025, 0.975]) if enough else (np.nan, np.nan)
        figures[f"calibration_{name}"] = _figure(getattr(own, name), low, high)
    return figures


def _resampled(
    measure: Callable[[np.ndarray, np.ndarray, np.ndarray], float],
    labels: np.ndarray,
    scores: np.ndarray,
    patients: np.ndarray,
) -> Figure:
    weights = resample_patients(patients, _RESAMPLED)
    drawn = weights.counts[weights.rows(patients)]
    both = (drawn[labels == 1].sum(0) > 0) & (drawn[labels == 0].sum(0) > 0)
    values = [measure(labels, scores, share) for share in drawn[:, both].T]
    low, high = np.quantile(values, [0.025, 0.975]) if values else (np.nan, np.nan)
    return _figure(measure(labels, scores, np.ones(len(labels))), low, high)


def _wilson(share: float, patients: int) -> Figure:
    if not np.isfinite(share) or not patients:
        return _figure(float("nan"))
    low, high = proportion_confint(share * patients, patients, method="wilson")
    return _figure(share, low, high)


def _figure(value: Any, low: Any = np.nan, high: Any = np.nan) -> Figure:
    """None stands for what does not exist: JSON has no NaN."""
    named = {"value": value, "low": low, "high": high}
    return {name: float(number) if np.isfinite(number) else None for name, number in named.items()}
