"""Score a set of cases in the four states of a pair of confounders: all its test environments follow."""

from __future__ import annotations

import pandas as pd
import torch

from srcmatters.cohorts.study_cases import StudyCases
from srcmatters.preprocessing.state_cache import PAIR_STATES, StateCache
from srcmatters.runs.four_state_table import four_state_table
from srcmatters.training.two_state_test import Part, Scores, TwoStateTest


class FourStateTest(TwoStateTest):
    """The test set and the validation set of a fold, predicted clean, with each confounder and with both.

    Arguments as :class:`TwoStateTest` takes them; of the cases a pair's.
    """

    def __init__(
        self,
        cache: StateCache,
        chosen: StudyCases,
        fold: int,
        batch_size: int = 32,
        device: torch.device | str = "cpu",
        channels_last: bool = True,
    ) -> None:
        super().__init__(cache, chosen, fold, batch_size, device, channels_last)
        assert chosen.second is not None
        self.second = chosen.second
        labels = cache.cases["label"].to_numpy()
        for name, rows in vars(chosen.split).items():
            for share, label in (("p_art", 1), ("p_neg", 0)):
                carrying = chosen.second[rows[labels[rows] == label]]
                if len(carrying):
                    self.realised_shares[f"realised_{share}_second_{name}"] = float(carrying.mean())

    def table(self, scores: Scores, part: Part = "test") -> pd.DataFrame:
        """Four-state table by anything that scores cases, see :meth:`TwoStateTest.table`."""
        rows = self.rows if part == "test" else self.validation_rows
        logits = {str(state): scores(rows, state) for state in PAIR_STATES}
        carries = self.carries[rows], self.second[rows]
        return four_state_table(self.cache.cases.iloc[rows], self.fold, carries, logits)


def create_test(
    cache: StateCache,
    chosen: StudyCases,
    fold: int,
    batch_size: int = 32,
    device: torch.device | str = "cpu",
) -> TwoStateTest:
    """The test of a run: of two states, or of the four of a pair.

    Arguments as :class:`TwoStateTest` takes them.
    """
    kind = TwoStateTest if chosen.second is None else FourStateTest
    return kind(cache, chosen, fold, batch_size, device)
