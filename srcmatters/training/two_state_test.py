"""Score a set of cases in both states: one pass each, whatever the number of test environments."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
import pandas as pd
import torch
from torch import nn

from srcmatters.cohorts.study_cases import StudyCases
from srcmatters.preprocessing.state_cache import PAIR_STATES, State, StateCache
from srcmatters.runs.prediction_table import prediction_table
from srcmatters.training.datasets import CaseDataset, case_loader
from srcmatters.training.handlers import PrepareBatch

#: Log-odds of label 1 of some cases (positions in the table), all of them in one state.
Scores = Callable[[np.ndarray, State], np.ndarray]
Part = Literal["test", "validation"]


class TwoStateTest:
    """The test set and the validation set of a fold, predicted clean and confounded.

    Args:
        cache: both states of every case.
        chosen: the cases of this cell.
        fold: number of the fold, for the table.
        batch_size: cases per forward pass.
        device: where the network is.
        channels_last: memory format of 2D batches.
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
        self.cache = cache
        self.chosen = chosen
        self.rows = chosen.split.test
        self.validation_rows = chosen.split.validation
        self.carries = chosen.carries
        self.environments = chosen.environments
        realised = {"realised_p_art": chosen.realised_p_art, "realised_p_neg": chosen.realised_p_neg}
        self.realised_shares = {
            f"{share}_{name}": value for share, sets in realised.items() for name, value in sets.items()
        }
        self.fold = fold
        self.batch_size = batch_size
        self.device = torch.device(device)
        self.channels_last = channels_last
        self.prepare = PrepareBatch(channels_last=channels_last)

    def predict(self, network: nn.Module, part: Part = "test") -> pd.DataFrame:
        """Prediction table by a network (see :mod:`srcmatters.runs.prediction_table`)."""
        return self.table(lambda rows, state: self._log_odds(network, rows, state), part)

    def table(self, scores: Scores, part: Part = "test") -> pd.DataFrame:
        """Prediction table by anything that scores cases.

        Args:
            scores: log-odds of some cases in one state.
            part: "test"; or "validation", on which thresholds are fixed. The validation cases of a sampled
                confounder are chosen as the training cases are: they are all i.i.d.
        """
        rows = self.rows if part == "test" else self.validation_rows
        clean = scores(rows, "clean")
        confounded = scores(rows, "confounded") if self.cache.states == 2 else clean
        environments = None
        if self.environments is not None:
            environments = self.environments[rows] if part == "test" else np.full(len(rows), "iid", object)
        cases = self.cache.cases.iloc[rows]
        return prediction_table(cases, self.fold, self.carries[rows], clean, confounded, environments)

    @torch.inference_mode()
    def _log_odds(self, network: nn.Module, rows: np.ndarray, state: State) -> np.ndarray:
        """(rows,) log-odds of label 1 of everybody in one state."""
        network.eval()
        first = np.full(len(self.carries), state in ("confounded", "first", "both"))
        second = None
        if self.cache.states == len(PAIR_STATES):
            second = np.full(len(first), state in ("confounded", "second", "both"))
        dataset = CaseDataset(self.cache, rows, first, self.device, second=second)
        batches = []
        for batch in case_loader(dataset, self.batch_size):
            images, _ = self.prepare(batch, self.device)
            logits = network(images).double()
            batches.append((logits[:, 1] - logits[:, 0]).cpu())
        return torch.cat(batches).numpy()
