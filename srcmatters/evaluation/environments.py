"""Test environments: recombinations of the two columns of a prediction table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

from srcmatters.errors import InputError
from srcmatters.evaluation.resampling import Ranking, auc
from srcmatters.runs.prediction_table import log_odds

Environment = Literal["iid", "ood", "clean", "confounded"]


@dataclass(frozen=True)
class Mixture:
    """An environment in which a share of either class carries the confounder.

    Who carries it is not drawn: every case counts with both of its scores, in these shares. That is the mean
    over all ways of choosing the carriers, so it needs no seed and adds no noise of its own. Clean is
    Mixture(0, 0), o.o.d. Mixture(0, 1), all confounded Mixture(1, 1).

    Args:
        positives: share of the positives that carry it, 0..1.
        negatives: share of the negatives, 0..1.

    Raises:
        InputError: a share out of range.
    """

    positives: float
    negatives: float

    def __post_init__(self) -> None:
        for name in ("positives", "negatives"):
            share = getattr(self, name)
            if not 0 <= share <= 1:
                raise InputError(f"mixture, {name}: got {share!r}, expected a share between 0 and 1")


def mixture_entries(predictions: pd.DataFrame, mixture: Mixture) -> pd.DataFrame:
    """The test set of a mixture: every case twice, clean and confounded, with its share.

    Args:
        predictions: prediction table of a confounder that can be put in.
        mixture: who carries it.

    Returns:
        case_id, patient_id, label, score and share; the shares of a case add up to 1. Any metric that takes
        sample weights takes ``share``.

    Raises:
        InputError: the confounder is sampled: nobody has two states.
    """
    if "environment" in predictions:
        raise InputError("mixture: a sampled confounder cannot be put into a case, expected iid or ood")
    carrying = np.where(predictions["label"] == 1, mixture.positives, mixture.negatives)
    states = [
        predictions[["case_id", "patient_id", "label"]].assign(score=predictions[score], share=share)
        for score, share in (("score_clean", 1 - carrying), ("score_confounded", carrying))
    ]
    return pd.concat(states, ignore_index=True)


def environment_scores(predictions: pd.DataFrame, environment: Environment) -> np.ndarray:
    """Scores of the test set in one environment.

    Args:
        predictions: prediction table.
        environment: "iid" (confounded as the training set is: those that ``carries`` marks), "ood" (the
            correlation reversed: every negative carries the confounder, no positive does), "clean" (nobody),
            "confounded" (everybody).

    Returns:
        (cases,) probabilities of label 1.
    """
    if environment not in get_args(Environment):
        raise InputError(f"environment: got {environment!r}, expected one of {get_args(Environment)}")
    carrying = {
        "iid": predictions["carries"].to_numpy(dtype=bool),
        "ood": (predictions["label"] == 0).to_numpy(),
        "clean": np.zeros(len(predictions), dtype=bool),
        "confounded": np.ones(len(predictions), dtype=bool),
    }[environment]
    return scores_as_assigned(predictions, carrying)


def scores_as_assigned(predictions: pd.DataFrame, carrying: np.ndarray | None = None) -> np.ndarray:
    """(cases,) score of each case in its state.

    Args:
        predictions: prediction table.
        carrying: (cases,) bool, who carries the confounder; None: as in the i.i.d. test (``carries``).
    """
    carrying = predictions["carries"].to_numpy(dtype=bool) if carrying is None else carrying
    return np.where(carrying, predictions["score_confounded"], predictions["score_clean"])


def in_environment(predictions: pd.DataFrame, environment: Environment) -> np.ndarray:
    """Which rows are tested in an environment: all of them, unless the confounder is sampled.

    Returns:
        (cases,) bool.

    Raises:
        InputError: "confounded" does not exist for a sampled confounder.
    """
    if "environment" not in predictions or environment == "clean":
        return np.ones(len(predictions), dtype=bool)
    if environment == "confounded":
        raise InputError("environment: a sampled confounder has no 'confounded' state, expected iid or ood")
    return predictions["environment"].str.split("+").map(lambda names: environment in names).to_numpy()


def environment_auc(predictions: pd.DataFrame, environment: Environment | Mixture) -> float:
    """ROC-AUC of the test set in one environment or mixture.

    Clean means that the confounder cannot help. For a sampled one that is the AUC within its groups: only
    cases that agree in it are compared (women with women, men with men), weighted by the number of pairs.
    """
    if isinstance(environment, Mixture):
        entries = mixture_entries(predictions, environment)
        return float(roc_auc_score(entries["label"], entries["score"], sample_weight=entries["share"]))
    scores = environment_scores(predictions, environment)
    if "environment" in predictions and environment == "clean":
        labels, carries = predictions["label"].to_numpy(), predictions["carries"].to_numpy(dtype=int)
        return auc(Ranking(labels, scores, np.zeros(len(labels), dtype=int), strata=carries))
    rows = in_environment(predictions, environment)
    return float(roc_auc_score(predictions["label"][rows], scores[rows]))


def flattened_auc(predictions: pd.DataFrame, environment: Environment) -> float:
    """The number that the publication calls AUC: over flattened one-hot labels and softmax columns.

    It is no ROC-AUC (a constant majority predictor scores above .5); only for comparison with the paper.
    """
    rows = in_environment(predictions, environment)
    scores = environment_scores(predictions, environment)[rows]
    labels = predictions["label"].to_numpy()[rows]
    return float(roc_auc_score(np.concatenate([1 - labels, labels]), np.concatenate([1 - scores, scores])))


@dataclass(frozen=True)
class ConfounderEffect:
    """Mean change of the score that the confounder causes, in log-odds, and its standard error."""

    mean: float
    standard_error: float


def confounder_effect(predictions: pd.DataFrame) -> ConfounderEffect:
    """What the confounder alone does to the score of a case, averaged over the test set.

    Each case is compared with itself, so the mean is causal. The standard error is clustered by patient:
    images of one patient do not count as independent.
    """
    shift = log_odds(predictions["score_confounded"]) - log_odds(predictions["score_clean"])
    mean = float(shift.mean())
    residuals = pd.Series(shift - mean).groupby(predictions["patient_id"].to_numpy()).sum().to_numpy()
    clusters = len(residuals)
    if clusters < 2:
        return ConfounderEffect(mean, float("nan"))
    variance = clusters / (clusters - 1) * float((residuals**2).sum()) / len(shift) ** 2
    return ConfounderEffect(mean, float(np.sqrt(variance)))


def compute_metrics(predictions: pd.DataFrame, protocol: str = "corrected") -> dict[str, float]:
    """The figures of one run.

    Args:
        predictions: prediction table.
        protocol: "paper" adds the flattened one-hot AUC of the publication.

    Returns:
        clean_auc, iid_auc, ood_auc, iid_minus_ood_auc; confounder_effect and its standard error in log-odds
        (not for a sampled confounder, which cannot be put in or taken out); cases, positives, patients.
    """
    areas = {f"{name}_auc": environment_auc(predictions, name) for name in ("clean", "iid", "ood")}
    metrics = {**areas, "iid_minus_ood_auc": areas["iid_auc"] - areas["ood_auc"]}
    if "environment" not in predictions:
        effect = confounder_effect(predictions)
        metrics["confounder_effect"] = effect.mean
        metrics["confounder_effect_standard_error"] = effect.standard_error
    metrics["cases"] = len(predictions)
    metrics["positives"] = int(predictions["label"].sum())
    metrics["patients"] = int(predictions["patient_id"].nunique())
    if protocol == "paper":
        for environment in ("clean", "iid", "ood"):
            metrics[f"{environment}_auc_flattened"] = flattened_auc(predictions, environment)
    return metrics
