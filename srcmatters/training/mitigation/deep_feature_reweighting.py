"""Deep feature reweighting: the last layer is fitted again on a part in which all groups are alike."""

from __future__ import annotations

import numpy as np

from srcmatters.case_stream import case_stream
from srcmatters.training.linear_head import LinearHead, fit_head
from srcmatters.training.mitigation.training_cases import TrainingCases

DRAWS = 10


def fit_dfr(cases: TrainingCases) -> LinearHead:
    r"""Fit the head to as many cases of each group as the smallest has, and average over draws.

    .. math:: \theta = \frac{1}{R} \sum_r \arg\min_\theta \sum_{i \in B_r} \ell(\theta; x_i, y_i)
              + \frac{1}{2C_r} |\theta|^2

    B_r holds all cases of the smallest group g = (label, carrier) and as many of each other one, drawn
    without replacement; R = :data:`DRAWS`. C_r is chosen by inner folds of B_r. The penalty is L2, as of
    every head here (the paper's is L1). Frozen features have not seen the target, so B_r may be of the cases
    on which ERM trains; a network that was fine-tuned needs a part that it did not train on.

    Needs to know: who carries the confounder, for the cases of B_r alone.
    Cost: R fits to 4 x the smallest group.
    Source: Kirichenko, Izmailov and Wilson 2023, "Last layer re-training is sufficient".

    Args:
        cases: of the training.

    Raises:
        InputError: a group without a case, or fewer than two patients of a class in B_r.
    """
    groups = cases.groups("dfr")
    stream = case_stream(cases.seed, "", "deep feature reweighting")
    heads = []
    for _ in range(DRAWS):
        rows = balanced_part(groups, stream)
        heads.append(fit_head(cases.own[rows], cases.labels[rows], cases.patients[rows], cases.seed))
    losses = np.mean([head.losses for head in heads], axis=0)
    return LinearHead(
        np.mean([head.weight for head in heads], axis=0),
        float(np.mean([head.bias for head in heads])),
        float(np.exp(np.mean([np.log(head.strength) for head in heads]))),
        tuple(float(loss) for loss in losses),
    )


def balanced_part(groups: np.ndarray, stream: np.random.Generator) -> np.ndarray:
    """Positions of as many cases of each group as the smallest has, ascending."""
    size = int(np.bincount(groups).min())
    parts = [stream.choice(np.flatnonzero(groups == name), size, replace=False) for name in np.unique(groups)]
    return np.sort(np.concatenate(parts))
