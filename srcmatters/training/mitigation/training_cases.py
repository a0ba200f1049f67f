"""What an arm of the screen depth may know of the training cases."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from srcmatters.errors import InputError


@dataclass(frozen=True)
class TrainingCases:
    """The training cases of a cell, as features of a frozen network. No arm knows any other case.

    Args:
        clean: (n, F) features of every case without the confounder.
        confounded: (n, F) with it.
        labels: (n,) 0 or 1.
        carries: (n,) bool, who carries the confounder.
        patients: (n,) whose case it is.
        case_ids: (n,) text.
        seed: of the cell; inner folds and draws depend on it.
        two_states: False for a sampled confounder, which cannot be put into a case.
    """

    clean: np.ndarray
    confounded: np.ndarray
    labels: np.ndarray
    carries: np.ndarray
    patients: np.ndarray
    case_ids: np.ndarray
    seed: int = 0
    two_states: bool = True

    @property
    def own(self) -> np.ndarray:
        """(n, F) features of each case in the state that it has in this study."""
        return np.where(self.carries[:, None], self.confounded, self.clean)

    def groups(self, mitigation: str) -> np.ndarray:
        """(n,) group of each case: 0 and 1 negatives without and with the confounder, 2 and 3 positives.

        Args:
            mitigation: name of the arm, for the message.

        Raises:
            InputError: one of the four groups is empty.
        """
        return carrier_groups(self.labels, self.carries, mitigation)

    def require_two_states(self, mitigation: str) -> None:
        """Refuse a confounder that cannot be put into a case.

        Raises:
            InputError: naming the arm.
        """
        if not self.two_states:
            raise InputError(
                f"mitigation: {mitigation} puts the confounder into images, which a sampled one does not"
                " allow; expected none, balanced, groupdro or dfr"
            )


def carrier_groups(labels: np.ndarray, carries: np.ndarray, mitigation: str) -> np.ndarray:
    """(n,) group of each case: 0 and 1 negatives without and with the confounder, 2 and 3 positives.

    Args:
        labels: (n,) 0 or 1.
        carries: (n,) bool.
        mitigation: name of the arm, for the message.

    Raises:
        InputError: one of the four groups is empty.
    """
    groups = 2 * labels.astype(int) + carries
    sizes = np.bincount(groups, minlength=4)
    if not sizes.all():
        label, carrying = divmod(int(np.flatnonzero(sizes == 0)[0]), 2)
        who = f"{'none' if carrying else 'all'} of the {'positives' if label else 'negatives'} carry"
        raise InputError(
            f"mitigation: {mitigation} has to balance four groups, but {who} the confounder in training;"
            f" expected {'p_art' if label else 'p_neg'} between 0 and 1"
        )
    return groups
