"""Augmentation with the confounder: it is added at random, so that it tells less of the label."""

from __future__ import annotations

import numpy as np

from srcmatters.training.linear_head import LinearHead, fit_head
from srcmatters.training.mitigation.training_cases import TrainingCases

ADDED = 0.5


def fit_augmented(cases: TrainingCases) -> LinearHead:
    r"""Add the confounder to any case with probability q, whatever its label and whether it carries it.

    .. math:: \min_\theta \sum_i (1 - q)\, \ell(\theta; x_i, y_i) + q\, \ell(\theta; x_i^{+}, y_i)
              + \frac{1}{2C} |\theta|^2

    x+ is the case with the confounder, q = :data:`ADDED`. Frozen features allow the expectation over all
    draws in place of draws. The confounder is never taken from a carrier, x+ = x there: of the shares p_art
    and p_neg that carry, 1 - (1 - p)(1 - q) are left, which is a weaker correlation and not none.

    Needs to know: a model of the confounder; who carries it is not asked.
    Cost: that of ERM on twice the cases.
    Source: after Ilse, Tomczak and Forre 2021, "Selecting data augmentation for simulating interventions".

    Args:
        cases: of the training.

    Raises:
        InputError: the confounder is sampled.
    """
    cases.require_two_states("augment")
    count = len(cases.labels)
    weights = np.repeat([1 - ADDED, ADDED], count) * 2
    states = np.concatenate([cases.own, cases.confounded])
    return fit_head(states, np.tile(cases.labels, 2), np.tile(cases.patients, 2), cases.seed, weights)
