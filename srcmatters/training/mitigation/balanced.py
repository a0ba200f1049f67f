"""Group balancing: every combination of label and carrier counts the same."""

from __future__ import annotations

import numpy as np

from srcmatters.training.linear_head import LinearHead, fit_head
from srcmatters.training.mitigation.training_cases import TrainingCases


def fit_balanced(cases: TrainingCases) -> LinearHead:
    r"""Weight the loss of each case by the inverse size of its group, g = (label, carrier).

    .. math:: \min_\theta \sum_i \frac{n}{4\, n_{g(i)}}\, \ell(\theta; x_i, y_i) + \frac{1}{2C} |\theta|^2

    C is chosen by the inner folds of the training cases, by the loss with the same weights.

    Needs to know: who carries the confounder, for every training case.
    Cost: that of ERM.
    Source: Idrissi et al. 2022, "Simple data balancing achieves competitive worst-group-accuracy" (RWG).

    Args:
        cases: of the training.

    Raises:
        InputError: a group without a case.
    """
    weights = group_weights(cases.groups("balanced"))
    return fit_head(cases.own, cases.labels, cases.patients, cases.seed, weights)


def group_weights(groups: np.ndarray, shares: np.ndarray | None = None) -> np.ndarray:
    """(n,) weight of each case, mean 1, with which each group has its share of the loss.

    Args:
        groups: (n,) number of the group of each case; none of them is empty.
        shares: (groups,) of the loss, sum 1; None: all the same.
    """
    sizes = np.bincount(groups)
    shares = np.full(len(sizes), 1 / len(sizes)) if shares is None else shares
    return (len(groups) * shares / sizes)[groups]
