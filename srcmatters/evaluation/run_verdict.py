"""What one training run says by itself: how much AUC it loses under reversal, against a margin."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from srcmatters.evaluation.analysis_plan import AnalysisPlan
from srcmatters.evaluation.environments import Environment, environment_scores, in_environment
from srcmatters.evaluation.estimates import (
    Estimate,
    auc_interval,
    boundary_error,
    image_freedom,
    widened,
)
from srcmatters.evaluation.four_states import carrying, scores_where
from srcmatters.evaluation.outcomes import Outcome, outcome_of
from srcmatters.evaluation.resampled_statistics import (
    ResampledStatistic,
    difference,
    mean_over_trainings,
    resampled_auc,
)
from srcmatters.evaluation.resampling import PatientWeights, Ranking, resample_patients
from srcmatters.numbers import interval, number

REPLICATES = 500  # an error known to 3 %; a screen runs thousands of cells


def run_verdict(predictions: pd.DataFrame, p_art: float) -> tuple[Outcome, str]:
    """The outcome of one run of these weights, for other patients, and a sentence with its numbers.

    With a true loss at the margin 300 simulated runs of 120 and of 440 patients were called LEANS in .3 and
    .7 % and WITHIN MARGIN in 3 and 5 %. Nothing is corrected for, and whether the loss was learnt is not
    asked: that takes the run at p_art 0.

    Args:
        predictions: prediction table of the test set.
        p_art: share of the positives that carried the confounder in training.
    """
    weights = resample_patients(predictions["patient_id"], REPLICATES)
    areas = {name: _area(predictions, name, weights) for name in ("clean", "iid", "ood")}
    return _judged(areas, predictions, p_art, "the correlation")


def pair_verdicts(
    table: pd.DataFrame, names: tuple[str, str], shares: tuple[float, float]
) -> list[tuple[Outcome, str]]:
    """The outcomes of one run with two confounders: reversed in the first, in the second, in both.

    Nothing is corrected for, as in :func:`run_verdict`.

    Args:
        table: prediction table of four states.
        names: of the confounders.
        shares: of the positives that carried each in training.
    """
    weights = resample_patients(table["patient_id"], REPLICATES)
    first, second = names
    questions = {
        "first_reversed": (f"{first} alone, with {second} as in training,", shares[0]),
        "second_reversed": (f"{second} alone, with {first} as in training,", shares[1]),
        "ood": (f"both {first} and {second}", max(shares)),
    }
    areas = {name: _pair_area(table, name, weights) for name in ("clean", "iid", *questions)}
    judged = [
        _judged({**areas, "ood": areas[name]}, table, share, what)
        for name, (what, share) in questions.items()
    ]
    return list(dict.fromkeys(judged))  # of a run that is not ranked the sentence is one and the same


def _judged(
    areas: Mapping[str, ResampledStatistic], predictions: pd.DataFrame, p_art: float, what: str
) -> tuple[Outcome, str]:
    """The loss from "iid" to "ood" against the margin."""
    plan = AnalysisPlan()
    patients = predictions.groupby("label")["patient_id"].nunique()
    sizes = (int(patients.get(1, 0)), int(patients.get(0, 0)))
    clean = mean_over_trainings([areas["clean"]], image_freedom(*sizes))
    low, high = auc_interval(clean, *sizes, plan.confidence)
    loss = mean_over_trainings([difference(areas["iid"], areas["ood"])], image_freedom(*sizes))
    loss = widened(loss, [boundary_error(areas[name].value, *sizes) for name in ("iid", "ood")])
    margin = plan.equivalence_margin
    outcome = outcome_of(loss.p_beyond(margin), loss.p_equivalence(margin), loss.value, plan.confidence)
    # A network that reads the confounder and nothing else is at chance without it, and leans.
    if outcome is not Outcome.LEANS and not low > 0.5:
        return Outcome.NOT_RANKED, (
            f"The clean AUC, {interval(clean.value, low, high)}, is not shown to exceed chance: the absence"
            " of a loss would not be evidence of robustness."
        )
    return outcome, _sentence(outcome, loss, plan, p_art, what)


def _area(predictions: pd.DataFrame, name: Environment, weights: PatientWeights) -> ResampledStatistic:
    rows = in_environment(predictions, name)
    table = predictions[rows]
    sampled = "environment" in predictions and name == "clean"
    ranking = Ranking(
        table["label"].to_numpy(),
        environment_scores(predictions, name)[rows],
        weights.rows(table["patient_id"]),
        strata=table["carries"].to_numpy(dtype=int) if sampled else None,
    )
    return resampled_auc(ranking, weights, with_influence=False)


def _pair_area(table: pd.DataFrame, name: str, weights: PatientWeights) -> ResampledStatistic:
    scores = scores_where(table, *carrying(table, name))
    ranking = Ranking(table["label"].to_numpy(), scores, weights.rows(table["patient_id"]))
    return resampled_auc(ranking, weights, with_influence=False)


def _sentence(outcome: Outcome, loss: Estimate, plan: AnalysisPlan, p_art: float, what: str) -> str:
    low, high = loss.interval(plan.confidence, -1.0, 1.0)
    size, margin = interval(loss.value, low, high), number(plan.equivalence_margin)
    texts = {
        Outcome.LEANS: f"Reversing {what} costs {size} AUC, more than the margin of {margin}.",
        Outcome.WITHIN_MARGIN: f"Reversing {what} costs {size} AUC, within the margin of {margin}.",
        Outcome.INCONCLUSIVE: (
            f"Reversing {what} costs {size} AUC: neither shown to exceed the margin of {margin} nor"
            " to lie within it."
        ),
    }
    text = texts.get(outcome, "The loss under reversal could not be estimated.")
    if outcome is Outcome.LEANS and p_art:
        return f"{text} How much of it was learnt, the same run at p_art 0 tells."
    return text
