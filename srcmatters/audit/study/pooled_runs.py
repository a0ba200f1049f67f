"""Runs of several folds as one model: every case is scored by the network that was not trained on it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from srcmatters.audit.case_images import CaseImages
from srcmatters.audit.doors.model import Model
from srcmatters.audit.doses import Dosed
from srcmatters.audit.scoring import Scorer
from srcmatters.audit.state_scores import State, StateScores
from srcmatters.errors import InputError


@dataclass(frozen=True)
class _Fold:
    """A network, the cases that it is asked about, and the location and scale of its clean log-odds."""

    scorer: Scorer
    start: int
    stop: int
    location: float
    scale: float

    def standardised(self, log_odds: np.ndarray) -> np.ndarray:
        return (log_odds - self.location) / self.scale


class PooledRuns:
    """The test cases of several runs, each scored by its own.

    Scores of different networks are not on one scale: the log-odds of a run are divided by the standard
    deviation of its clean ones, less their mean. A case that several runs tested is that of the first.

    Args:
        models: of finished runs.
        cases: case table of the study.
        state: what is scored beside the clean images; None: nothing.
        batch_size: inputs per forward pass.
        num_workers: processes that decode.

    Raises:
        InputError: no case of the table was tested by a run, or none can be scored.
    """

    def __init__(
        self,
        models: Sequence[Model],
        cases: pd.DataFrame,
        state: tuple[State, Dosed] | None = None,
        batch_size: int = 32,
        num_workers: int = 0,
    ) -> None:
        contract = self.contract = models[0].contract
        everything = CaseImages(cases, contract.modality, contract.unit, contract.slab_mm)
        self._folds: list[_Fold] = []
        tables: list[pd.DataFrame] = []
        scores: list[np.ndarray] = []
        seen: set[str] = set()
        for model in models:
            own = _tested(model, cases, seen)
            if own.empty:
                continue
            seen.update(own["case_id"])
            scorer = Scorer(model, everything.like(own), batch_size, num_workers)
            name = f"run {len(tables) + 1} of {len(models)}"
            log_odds = scorer.score([None, *([state[1]] if state else [])], name).log_odds[..., 0]
            known = log_odds[0][np.isfinite(log_odds[0])]
            start = sum(map(len, tables))
            fold = _Fold(scorer, start, start + len(own), float(known.mean()), float(known.std()) or 1.0)
            self._folds.append(fold)
            tables.append(own)
            scores.append(fold.standardised(log_odds))
        if not tables:
            raise InputError("none of the case table's images were tested by these runs")
        pooled = np.concatenate(scores, axis=1)
        self.images = everything.like(pd.concat(tables, ignore_index=True))
        confounded = {} if state is None else {state[0]: pooled[1]}
        self.scores = StateScores(self.images.cases, pooled[0], confounded)

    @property
    def networks(self) -> int:
        """Runs that tested a case."""
        return len(self._folds)

    def changed(self, rows: np.ndarray, change: Callable[[Tensor, int], Tensor]) -> np.ndarray:
        """(rows,) standardised log-odds of changed images, as :meth:`Scorer.changed`."""
        result = np.full(len(rows), np.nan)
        for fold in self._folds:
            places = np.flatnonzero((rows >= fold.start) & (rows < fold.stop))
            if not len(places):
                continue

            def moved(image: Tensor, position: int, start: int = fold.start) -> Tensor:
                return change(image, position + start)

            log_odds = fold.scorer.changed(rows[places] - fold.start, moved)[:, 0]
            result[places] = fold.standardised(log_odds)
        return result

    def features(self) -> Mapping[str, np.ndarray] | None:
        """``features`` (n, F) before the heads, ``rows`` (n,) and ``runs`` (n,) of the cases with a score.

        None where the networks give none.
        """
        parts: list[np.ndarray] = []
        rows: list[np.ndarray] = []
        runs: list[np.ndarray] = []
        for number, fold in enumerate(self._folds):
            readable = fold.start + np.flatnonzero(np.isfinite(self.scores.clean[fold.start : fold.stop]))
            own = self.images.like(self.images.cases.iloc[readable])
            scorer = Scorer(fold.scorer.model, own, fold.scorer.batch_size, fold.scorer.num_workers)
            with torch.inference_mode():
                part = scorer.features(None)
            if part is None:
                return None
            parts.append(part)
            rows.append(readable)
            runs.append(np.full(len(readable), number))
        return {
            "features": np.concatenate(parts),
            "rows": np.concatenate(rows),
            "runs": np.concatenate(runs),
        }


def _tested(model: Model, cases: pd.DataFrame, seen: set[str]) -> pd.DataFrame:
    """Cases that a run was tested on and none before it."""
    assert model.trained_on is not None
    tested = set(map(str, model.trained_on.test_cases)) - seen
    return cases[cases["case_id"].isin(tested)].reset_index(drop=True)
