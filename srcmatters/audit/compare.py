"""Which of two audited models leans less: paired, on the cases that both scored."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import expit

from srcmatters.audit.record import read_record, read_scores
from srcmatters.audit.state_scores import State, column_of
from srcmatters.audit.two_states import REPLICATES
from srcmatters.errors import InputError
from srcmatters.evaluation.contrasts import adjusted_p_values
from srcmatters.evaluation.estimates import Estimate, boundary_error, image_freedom, widened
from srcmatters.evaluation.outcomes import Outcome
from srcmatters.evaluation.resampled_statistics import (
    ResampledStatistic,
    combine,
    mean_over_trainings,
    resampled_auc,
)
from srcmatters.evaluation.resampling import PatientWeights, Ranking, resample_patients
from srcmatters.numbers import interval, number


@dataclass(frozen=True)
class Comparison:
    """One confounder, two models.

    Args:
        confounder: name.
        outcome: LEANS: the model named in ``text`` leans more; WITHIN MARGIN: they lean alike.
        text: a sentence.
        difference: of the sizes of the losses under reversal, first - second.
        low: lower end of its interval.
        high: upper end.
        p_adjusted: of no difference, corrected by Holm.
    """

    confounder: str
    outcome: Outcome
    text: str
    difference: float
    low: float
    high: float
    p_adjusted: float


def compare(first: str | Path, second: str | Path) -> list[Comparison]:
    """Compare two audits of the same cases.

    Raises:
        InputError: not audits, or without cases or confounders in common.
    """
    records = [read_record(path) for path in (first, second)]
    names = [str(record["model"]["name"]) for record in records]
    if names[0] == names[1]:
        names = [f"{name} ({Path(path).name})" for name, path in zip(names, (first, second), strict=True)]
    tables = [read_scores(path) for path in (first, second)]
    both = tables[0].merge(
        tables[1].drop(columns=["patient_id", "label"], errors="ignore"), on="case_id", suffixes=("_1", "_2")
    )
    if both.empty:
        raise InputError(f"{first} and {second} have no case in common, expected audits of the same cases")
    labels = tables[1].set_index("case_id")["label"].reindex(both["case_id"]).to_numpy()
    if (labels != both["label"].to_numpy()).any():
        case = both["case_id"][labels != both["label"].to_numpy()].iloc[0]
        raise InputError(
            f"{first} and {second}: {case} has another label in each, expected audits of the same cases"
        )
    shared = _shared_confounders(tables)
    if not shared:
        asked = [", ".join(_shared_confounders([table, table])) or "none" for table in tables]
        raise InputError(f"{first} has {asked[0]} and {second} has {asked[1]}, expected one in common")
    # The stricter of two plans, so that the order of the two audits decides nothing.
    margin = min(record["plan"]["margin"] for record in records)
    confidence = max(record["plan"]["confidence"] for record in records)
    weights = resample_patients(both["patient_id"], REPLICATES, int(records[0]["plan"].get("seed", 0)))
    paired = [_paired(both, name, weights) for name in shared]
    p_values = adjusted_p_values(pd.Series([one.p_value() for one in paired]), "holm")
    p_equal = adjusted_p_values(pd.Series([one.p_equivalence(margin) for one in paired]), "holm")
    results = []
    for name, one, p_value, p_within in zip(shared, paired, p_values, p_equal, strict=True):
        low, high = one.interval(confidence, -2.0, 2.0)
        outcome = _outcome(p_value, p_within, confidence)
        text = _sentence(name, names, (one.value, low, high), outcome, margin)
        results.append(Comparison(name, outcome, text, one.value, low, high, float(p_value)))
    return results


def _outcome(p_value: float, p_within: float, confidence: float) -> Outcome:
    """Alike within the margin comes first: with many cases any two models differ by something."""
    if np.isfinite(p_within) and p_within < 1 - confidence:
        return Outcome.WITHIN_MARGIN
    if np.isfinite(p_value) and p_value < 1 - confidence:
        return Outcome.LEANS
    return Outcome.INCONCLUSIVE if np.isfinite(p_value) else Outcome.SKIPPED


def _sentence(
    confounder: str,
    names: list[str],
    difference: tuple[float, float, float],
    outcome: Outcome,
    margin: float,
) -> str:
    value, low, high = difference
    sizes = f"size of the loss of {names[0]} minus that of {names[1]}: {interval(value, low, high)}"
    if outcome is Outcome.LEANS:
        more, less = names if value > 0 else names[::-1]
        return f"{confounder}: {more} leans more than {less} ({sizes})."
    if outcome is Outcome.WITHIN_MARGIN:
        within = f"within the margin of {number(margin)}"
        return f"{confounder}: {names[0]} and {names[1]} lean alike {within} ({sizes})."
    furthest = max(abs(low), abs(high))
    return f"{confounder}: not decided; a difference of {number(furthest)} is not excluded ({sizes})."


def _shared_confounders(tables: list[pd.DataFrame]) -> list[str]:
    return [
        column.removeprefix("log_odds_").removesuffix("_x1")
        for column in tables[0].columns
        if column.startswith("log_odds_") and column.endswith("_x1") and column in tables[1]
    ]


def _paired(both: pd.DataFrame, confounder: str, weights: PatientWeights) -> Estimate:
    """Size of the first model's loss minus that of the second."""
    sides, errors = [], []
    for side in (1, 2):
        columns = [f"log_odds_clean_{side}", f"{column_of(State(confounder))}_{side}"]
        loss, own = _loss(both, columns, weights)
        sides.append((np.sign(loss.value) or 1.0, loss))
        errors += own
    difference = combine([sides[0][0], -sides[1][0]], [sides[0][1], sides[1][1]])
    positives, negatives = _patients(both)
    estimated = mean_over_trainings([difference], image_freedom(positives, negatives))
    return widened(estimated, errors)


def _patients(both: pd.DataFrame) -> tuple[int, int]:
    counts = both.groupby("label")["patient_id"].nunique()
    return int(counts.get(1, 0)), int(counts.get(0, 0))


def _loss(
    both: pd.DataFrame, columns: list[str], weights: PatientWeights
) -> tuple[ResampledStatistic, list[float]]:
    clean, confounded = (expit(both[name].to_numpy()) for name in columns)
    labels, rows = both["label"].to_numpy(), weights.rows(both["patient_id"])
    areas = [
        resampled_auc(Ranking(labels, np.where(labels == label, confounded, clean), rows), weights, False)
        for label in (1, 0)
    ]
    errors = [boundary_error(area.value, *_patients(both)) for area in areas]
    return combine([1, -1], areas), errors
