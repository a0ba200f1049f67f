"""Group distributionally robust optimisation: the worst group decides."""

from __future__ import annotations

import numpy as np
from sklearn.linear_model import LogisticRegression

from srcmatters.training.linear_head import LinearHead, Rotation, best_strength, fit_exactly, held_out_losses
from srcmatters.training.mitigation.balanced import group_weights
from srcmatters.training.mitigation.training_cases import TrainingCases

ROUNDS, STEP = 200, 0.5


def fit_group_dro(cases: TrainingCases) -> LinearHead:
    r"""Minimise the mean loss of the worst of the four groups, g = (label, carrier).

    .. math:: \min_\theta \max_{q \in \Delta} \sum_g q_g L_g(\theta) + \frac{1}{2Cn} |\theta|^2,
              \qquad q_g \leftarrow q_g\, e^{\eta L_g(\theta)} / Z

    A head is so small that theta is solved for exactly in each of :data:`ROUNDS` updates of q (step
    :data:`STEP`), where the paper takes one stochastic step of each. C is the one that balanced groups choose
    on the inner folds of the training cases.

    Needs to know: who carries the confounder, for every training case.
    Cost: ERM's, and one warm fit per round.
    Source: Sagawa et al. 2020, "Distributionally robust neural networks for group shifts", algorithm 1.

    Args:
        cases: of the training.

    Raises:
        InputError: a group without a case.
    """
    groups = cases.groups("groupdro")
    rotation, rotated = Rotation.of(cases.own)
    losses = held_out_losses(rotated, cases.labels, cases.patients, cases.seed, group_weights(groups))
    strength = best_strength(losses)
    shares = worst_shares(rotated, cases.labels, groups, strength)
    return rotation.head(fit_exactly(rotated, cases.labels, strength, group_weights(groups, shares)), losses)


def worst_shares(features: np.ndarray, labels: np.ndarray, groups: np.ndarray, strength: float) -> np.ndarray:
    """(groups,) shares of the loss at the saddle point.

    Args:
        features: (n, dimensions).
        labels: (n,) 0 or 1.
        groups: (n,) number of the group of each case.
        strength: C.
    """
    sizes, signs = np.bincount(groups), 2 * labels - 1
    shares = np.full(len(sizes), 1 / len(sizes))
    model = LogisticRegression(C=strength, warm_start=True, max_iter=1000)
    for _ in range(ROUNDS):
        model.fit(features, labels, group_weights(groups, shares))
        loss = np.bincount(groups, np.logaddexp(0, -signs * model.decision_function(features))) / sizes
        shares = shares * np.exp(STEP * (loss - loss.max()))
        shares /= shares.sum()
    return shares
