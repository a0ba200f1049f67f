"""Arms that must cure nothing: they balance what is not the carrier."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from srcmatters.case_stream import case_stream
from srcmatters.training.linear_head import LinearHead, fit_head
from srcmatters.training.mitigation.balanced import group_weights
from srcmatters.training.mitigation.training_cases import TrainingCases


def fit_balanced_on_fake(cases: TrainingCases) -> LinearHead:
    """Balance label and a fake carrier, a coin for each case: nothing may change beyond chance.

    Needs to know: nothing. Cost: that of ERM.

    Args:
        cases: of the training.
    """
    coins = [case_stream(cases.seed, str(name), "fake carrier").random() < 0.5 for name in cases.case_ids]
    groups = replace(cases, carries=np.array(coins)).groups("balanced_fake")
    return fit_head(cases.own, cases.labels, cases.patients, cases.seed, group_weights(groups))


def fit_balanced_on_shuffled(cases: TrainingCases) -> LinearHead:
    """Balance label and carrier with the carriers of each class dealt to its cases anew.

    The weights are those of ``balanced``, on other cases: what they do by themselves, without knowing who
    carries the confounder.

    Needs to know: how many carry the confounder. Cost: that of ERM.

    Args:
        cases: of the training.

    Raises:
        InputError: a group without a case.
    """
    stream, dealt = case_stream(cases.seed, "", "shuffled carriers"), cases.carries.copy()
    for label in (0, 1):
        rows = np.flatnonzero(cases.labels == label)
        dealt[rows] = stream.permutation(cases.carries[rows])
    groups = replace(cases, carries=dealt).groups("balanced_shuffled")
    return fit_head(cases.own, cases.labels, cases.patients, cases.seed, group_weights(groups))
