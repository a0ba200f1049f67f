"""Score a set of cases in both states: one pass each, whatever the number of test environments."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from torch import nn

from srcmatters.evaluation import prediction_table
from srcmatters.training.datasets import CaseDataset, case_loader
from srcmatters.training.handlers import PrepareBatch
from srcmatters.training.state_cache import StateCache
from srcmatters.training.study_cases import StudyCases


class TwoStateTest:
    """The test set of a fold, predicted clean and confounded.

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
        self.rows = chosen.split.test
        self.carries = chosen.carries
        self.environments = chosen.environments
        self.fold = fold
        self.batch_size = batch_size
        self.device = torch.device(device)
        self.prepare = PrepareBatch(channels_last=channels_last)

    def predict(self, network: nn.Module) -> pd.DataFrame:
        """Prediction table of the test set (see :mod:`srcmatters.evaluation.predictions`)."""
        clean = self._log_odds(network, np.zeros(len(self.carries), dtype=bool))
        confounded = clean
        if self.cache.states == 2:
            confounded = self._log_odds(network, np.ones(len(self.carries), dtype=bool))
        cases = self.cache.cases.iloc[self.rows]
        environments = None if self.environments is None else self.environments[self.rows]
        return prediction_table(cases, self.fold, self.carries[self.rows], clean, confounded, environments)

    @torch.inference_mode()
    def _log_odds(self, network: nn.Module, carries: np.ndarray) -> np.ndarray:
        """(test cases,) log-odds of label 1 with everybody or nobody carrying the confounder."""
        network.eval()
        dataset = CaseDataset(self.cache, self.rows, carries, self.device)
        found = []
        for batch in case_loader(dataset, self.batch_size):
            images, _ = self.prepare(batch, self.device)
            logits = network(images).double()
            found.append((logits[:, 1] - logits[:, 0]).cpu())
        return torch.cat(found).numpy()
