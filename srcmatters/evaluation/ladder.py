"""The ladder: what is knowable of the label without the disease, and what a network knows beyond."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from srcmatters.evaluation.ladder_steps import STEPS
from srcmatters.evaluation.linear_probe import RESAMPLINGS, LinearProbe, linear_probe
from srcmatters.evaluation.resampling import Ranking, auc, replicate_auc, resample_patients

_QUINTILES = 5
#: What stands beside every ladder.
CAUTION = "Disease or shortcut: disease changes a histogram, too."


@dataclass(frozen=True)
class Rung:
    """What a fixed linear classifier tells of the label from one step.

    Args:
        step: name of :data:`srcmatters.evaluation.ladder_steps.STEPS`.
        title: for tables.
        anatomy: whether the shape of organs can be seen in it.
        auc: on patients whom the classifier has not seen; .5 is chance.
        low: lower end of its 95 % interval, patients resampled.
        high: upper end.
        features: number of them.
    """

    step: str
    title: str
    anatomy: bool
    auc: float
    low: float
    high: float
    features: int


@dataclass(frozen=True)
class Ladder:
    """Every step of one target.

    Args:
        rungs: in order.
        cases: images.
        patients: of whom they are.
        probes: by step the classifier's scores.
    """

    rungs: tuple[Rung, ...]
    cases: int
    patients: int
    probes: Mapping[str, LinearProbe]

    @property
    def without_anatomy(self) -> Rung | None:
        """The step without anatomy that tells most; None where none tells more than chance."""
        plain = [rung for rung in self.rungs if not rung.anatomy and rung.low > 0.5]
        return max(plain, key=lambda rung: rung.auc, default=None)


@dataclass(frozen=True)
class Beyond:
    """AUC of a network among cases that a step cannot tell apart.

    Args:
        step: whose out-of-fold scores divide the cases into quintiles.
        whole: AUC of the network on all cases.
        auc: of the network within the quintiles, pairs of all quintiles together.
        low: lower end of its 95 % interval, patients resampled.
        high: upper end.
        left: AUC of the step itself within its quintiles: what they leave of it.
    """

    step: str
    whole: float
    auc: float
    low: float
    high: float
    left: float


def climb(
    features: Mapping[str, np.ndarray], labels: np.ndarray, patients: np.ndarray, seed: int = 0
) -> Ladder:
    """Cross-validate one fixed classifier by patient on every step.

    It is a logistic regression on standardised features with C = 1 / features, fixed beforehand; see
    :func:`srcmatters.evaluation.linear_probe.linear_probe` for folds and intervals.

    Args:
        features: by name of the step, (cases, features).
        labels: (cases,) 0 or 1.
        patients: (cases,) whose case it is.
        seed: of folds and resampling.

    Raises:
        InputError: fewer than 4 patients in a class.
    """
    names = np.asarray(patients).astype(str)
    probes = {
        step.name: linear_probe(features[step.name], labels, names.tolist(), seed, tuned=False)
        for step in STEPS
        if step.name in features
    }
    rungs = tuple(
        Rung(
            step.name,
            step.title,
            step.anatomy,
            probes[step.name].auc,
            probes[step.name].low,
            probes[step.name].high,
            features[step.name].shape[1],
        )
        for step in STEPS
        if step.name in probes
    )
    return Ladder(rungs, len(labels), len(set(names)), probes)


def beyond_step(
    scores: np.ndarray,
    labels: np.ndarray,
    patients: np.ndarray,
    probe: LinearProbe,
    step: str,
    seed: int = 0,
) -> Beyond:
    """AUC of a network within quintiles of a step's out-of-fold score.

    Args:
        scores: (cases,) of the network, any scale.
        labels: (cases,) 0 or 1.
        patients: (cases,) whose case it is.
        probe: of the step, on the same cases.
        step: its name.
        seed: of the resampling.
    """
    strata = quintiles(probe)
    weights = resample_patients(np.asarray(patients).astype(str), RESAMPLINGS, seed)
    rows = weights.rows(np.asarray(patients).astype(str))
    labels = np.asarray(labels)
    within = Ranking(labels, scores, rows, strata=strata)
    low, high = np.nanquantile(replicate_auc(within, weights), [0.025, 0.975])
    left = auc(Ranking(labels, probe.scores, rows, strata=strata * 100 + probe.folds))
    return Beyond(step, auc(Ranking(labels, scores, rows)), auc(within), float(low), float(high), left)


def quintiles(probe: LinearProbe) -> np.ndarray:
    """(cases,) 0 .. 4 by rank within the fold: scores of different folds come from different classifiers."""
    rank = np.empty(len(probe.scores))
    for fold in np.unique(probe.folds):
        rows = np.flatnonzero(probe.folds == fold)
        rank[rows] = np.argsort(np.argsort(probe.scores[rows], kind="stable")) / len(rows)
    return (rank * _QUINTILES).astype(int)
