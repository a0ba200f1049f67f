"""The arms by name, as a bundle's setting ``mitigation`` takes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from srcmatters.training.linear_head import LinearHead, fit_head
from srcmatters.training.mitigation.augmented import fit_augmented
from srcmatters.training.mitigation.balanced import fit_balanced
from srcmatters.training.mitigation.deep_feature_reweighting import fit_dfr
from srcmatters.training.mitigation.group_dro import fit_group_dro
from srcmatters.training.mitigation.null_arms import fit_balanced_on_fake, fit_balanced_on_shuffled
from srcmatters.training.mitigation.paired import fit_paired
from srcmatters.training.mitigation.training_cases import TrainingCases


def fit_unmitigated(cases: TrainingCases) -> LinearHead:
    """Empirical risk minimisation: every case counts once, in its state. Needs to know nothing."""
    return fit_head(cases.own, cases.labels, cases.patients, cases.seed)


#: How the head of the screen depth is fitted.
SCREEN_ARMS: Mapping[str, Callable[[TrainingCases], LinearHead]] = {
    "none": fit_unmitigated,
    "balanced": fit_balanced,
    "groupdro": fit_group_dro,
    "dfr": fit_dfr,
    "augment": fit_augmented,
    "paired": fit_paired,
    "balanced_fake": fit_balanced_on_fake,
    "balanced_shuffled": fit_balanced_on_shuffled,
}
#: Every value of the setting.
MITIGATIONS: tuple[str, ...] = tuple(SCREEN_ARMS)
