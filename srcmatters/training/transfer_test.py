"""Confounders that a run was neither taught nor treated for: its test cases in both states of each."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from torch import nn

from srcmatters.confounders import create_confounder
from srcmatters.confounders.catalogue import Protocol
from srcmatters.errors import InputError
from srcmatters.images import LoadCTd
from srcmatters.preprocessing import confounder_place
from srcmatters.preprocessing.feature_cache import FeatureCache
from srcmatters.preprocessing.state_cache import State, StateCache
from srcmatters.training.detectability_check import check_detectability
from srcmatters.training.linear_head import LinearHead
from srcmatters.training.two_state_test import Scores, TwoStateTest


class TransferTest:
    """The test set of a run under further confounders, one after the other.

    Their images are decoded once and shared by all cells of a study, as those of its own confounder are.

    Args:
        test: of the run.
        tested: names of confounders, or mappings with name and args; the run's own may be among them.
        protocol: of their parameters, "corrected" or "paper".
        seed: seed of their per-case random streams.
        force: test even where a probe cannot see one after preprocessing.

    Raises:
        InputError: an unknown confounder or parameter, one that is there twice, one that preprocessing has
            erased, or a run that puts none into its images.
    """

    def __init__(
        self,
        test: TwoStateTest,
        tested: Sequence[str | Mapping[str, Any]],
        protocol: Protocol = "corrected",
        seed: int = 0,
        force: bool = False,
    ) -> None:
        if test.cache.confounder_at is None:
            raise InputError("tested: the run puts no confounder into its images, so no other one can be")
        self.test = test
        self.caches: dict[str, StateCache] = {}
        for entry in tested:
            name, args = (
                (entry, {}) if isinstance(entry, str) else (entry["name"], dict(entry.get("args", {})))
            )
            label = f"{name} {args}" if args else name
            if label in self.caches:
                raise InputError(f"tested: {label} is there twice, expected each confounder once")
            self.caches[label] = _with_other_confounder(test.cache, name, protocol, seed, args)
            check_detectability(self.caches[label], label, force)

    @classmethod
    def of(cls, test: TwoStateTest, tested: Any, *settings: Any) -> TransferTest | None:
        """The test of a setting ``tested``; None for an empty one.

        Raises:
            InputError: no list of names or of mappings with a name; and see the class.
        """
        entries = [tested] if isinstance(tested, str) else tested
        right = isinstance(entries, Sequence) and all(
            isinstance(one, str)
            or (isinstance(one, Mapping) and "name" in one and set(one) <= {"name", "args"})
            for one in entries
        )
        if not right:
            raise InputError(
                f"tested: got {tested!r}, expected a list of confounders, [tag, {{name: tag, args: ...}}]"
            )
        return cls(test, entries, *settings) if entries else None

    def screened(self, features: FeatureCache, head: LinearHead) -> pd.DataFrame:
        """Predictions by a head on frozen features; a prediction table with a column ``tested``.

        Args:
            features: of the run's own confounder, whose network computes those of the others.
            head: that was fitted.
        """
        tables = []
        for cache in self.caches.values():
            others = FeatureCache(
                cache, features.network, features.name, cache.path.parent.parent, features.device
            )
            tables.append(self._test_of(cache).table(_scores(others, head)))
        return self._stacked(tables)

    def predicted(self, network: nn.Module) -> pd.DataFrame:
        """Predictions by a network; likewise."""
        return self._stacked([self._test_of(cache).predict(network) for cache in self.caches.values()])

    def _test_of(self, cache: StateCache) -> TwoStateTest:
        test = self.test
        return TwoStateTest(cache, test.chosen, test.fold, test.batch_size, test.device, test.channels_last)

    def _stacked(self, tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
        named = [table.assign(tested=label) for label, table in zip(self.caches, tables, strict=True)]
        return pd.concat(named, ignore_index=True)


def _scores(features: FeatureCache, head: LinearHead) -> Scores:
    def scores(rows: np.ndarray, state: State) -> np.ndarray:
        return head.log_odds(features.state(state)[rows])

    return scores


def _with_other_confounder(
    cache: StateCache, name: str, protocol: Protocol, seed: int, args: Mapping[str, Any]
) -> StateCache:
    """The same cases with another confounder in the place of the run's own."""
    confounder = create_confounder(name, protocol, seed, **args)
    if confounder is None:
        raise InputError("tested: 'none' puts nothing into images, expected a confounder")
    preprocessing = copy.deepcopy(cache.preprocessing)
    step = preprocessing.transforms[cache.confounder_at]
    units = [one.unit for one in preprocessing.transforms if isinstance(one, LoadCTd)]
    own, other = (
        confounder_place(one, units[0] if units else "display") if units or one.unit == "HU" else "image"
        for one in (step.confounder, confounder)
    )
    if own != other:
        raise InputError(
            f"tested: {name} acts at another place of the preprocessing ({other}) than {step.confounder.name}"
            f" of the run ({own}); expected a confounder of the same place"
        )
    step.confounder = confounder
    return StateCache.open(cache.cases, preprocessing, cache.path.parent.parent, cache.num_workers)
