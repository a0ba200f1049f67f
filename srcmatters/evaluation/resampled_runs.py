"""Every statistic of every run of a group, resampled."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from srcmatters.evaluation.environments import environment_scores, in_environment, scores_as_assigned
from srcmatters.evaluation.estimates import Estimate
from srcmatters.evaluation.resampled_statistics import (
    ResampledStatistic,
    combine,
    difference,
    refitted_statistic,
    resampled_auc,
    resampled_effect,
    resampled_mean,
    resampled_superiority,
)
from srcmatters.evaluation.resampling import PatientWeights, Ranking
from srcmatters.evaluation.run_groups import Repetition, RunGroup


@dataclass(frozen=True)
class TestSet:
    """The test set of one run in one environment.

    Args:
        case_ids: (cases,) text.
        ranking: their labels, scores and patients.
    """

    case_ids: np.ndarray
    ranking: Ranking

    def subset(self, rows: np.ndarray) -> TestSet:
        """Some of its cases; (cases,) bool."""
        whole = self.ranking
        strata = None if whole.strata is None else whole.strata[rows]
        part = Ranking(whole.labels[rows], whole.scores[rows], whole.patients[rows], strata)
        return TestSet(self.case_ids[rows], part)


def test_set(table: pd.DataFrame, environment: Any, weights: PatientWeights) -> TestSet:
    """The test set of a run in one environment."""
    rows = in_environment(table, environment)
    within = "environment" in table and environment == "clean"
    ranking = Ranking(
        table["label"].to_numpy()[rows],
        environment_scores(table, environment)[rows],
        weights.rows(table["patient_id"].to_numpy()[rows]),
        strata=table["carries"].to_numpy(dtype=int)[rows] if within else None,
    )
    return TestSet(table["case_id"].to_numpy(dtype=str)[rows], ranking)


@dataclass(frozen=True)
class ResampledRuns:
    """Every statistic of every run of a group.

    Args:
        group: the runs.
        tests: test set by cell label and environment.
        statistics: by cell label and name: "clean_auc", "iid_auc", "ood_auc", "iid_minus_ood_auc"; and,
            unless the confounder is sampled, "confounded_auc", "aligned_auc" (every positive carries it, no
            negative does), "effect" (log-odds), "probability_effect" and "superiority".
    """

    group: RunGroup
    tests: Mapping[tuple[Any, str], TestSet]
    statistics: Mapping[Any, Mapping[str, ResampledStatistic]]

    def of(self, source: str, p_art: float, name: str) -> dict[Repetition, ResampledStatistic]:
        """A statistic of all repetitions of a cell.

        What was learnt is the difference to the run at p_art 0 of the same fold and seed, in the same test
        environments: "learned_lean" is that of the loss under reversal, "learned_superiority" that of the
        scale-free effect. Repetitions that lack a run at p_art 0 are left out.
        """
        if name not in _LEARNED:
            runs = self.group.runs(source, p_art)
            return {place: self.statistics[label][name] for place, label in runs.items()}
        if p_art == 0 or 0.0 not in self.group.shares(source):
            return {}
        now, before = self._loss(source, p_art, p_art, name), self._loss(source, 0.0, p_art, name)
        return {place: difference(one, before[place]) for place, one in now.items() if place in before}

    def _loss(
        self, source: str, trained_at: float, p_art: float, name: str
    ) -> dict[Repetition, ResampledStatistic]:
        """What is compared with p_art 0, of the runs trained at one p_art in the environments of another.

        The i.i.d. AUC is that of an average draw of carriers: linear in the share of the positives that
        carry and in that of the negatives. Of a sampled confounder it is the o.o.d. AUC turned round, as its
        i.i.d. test set changes with p_art.
        """
        if name == "learned_superiority":
            return self.of(source, trained_at, "superiority")
        if self.group.sampled:
            coefficients = {"ood_auc": -1.0}
        else:
            p_neg = float(self.group.axes["p_neg"])
            coefficients = {
                "aligned_auc": p_art * (1 - p_neg),
                "clean_auc": (1 - p_art) * (1 - p_neg),
                "ood_auc": (1 - p_art) * p_neg - 1.0,
            }
            if p_neg:
                coefficients["confounded_auc"] = p_art * p_neg
        parts = [self.of(source, trained_at, part) for part in coefficients]
        return {
            place: combine(list(coefficients.values()), [part[place] for part in parts]) for place in parts[0]
        }

    def mean(self, source: str, p_art: float, name: str) -> Estimate:
        """A statistic averaged over all repetitions of a cell."""
        return self.group.over(self.of(source, p_art, name))


_SPOKEN_OF = ("clean", "iid", "ood")
_LEARNED = ("learned_lean", "learned_superiority")


def resample_runs(group: RunGroup, thorough: bool = True) -> ResampledRuns:
    """Compute all statistics of a group; unless ``thorough`` those that sentences are made of."""
    tests: dict[tuple[Any, str], TestSet] = {}
    statistics: dict[Any, dict[str, ResampledStatistic]] = {}
    for label, table in group.tables.items():
        own: dict[str, ResampledStatistic] = {}
        spoken_of = (*_SPOKEN_OF, *(["confounded"] if group.axes["p_neg"] and not group.sampled else []))
        for name in group.environments if thorough else spoken_of:
            tests[label, name] = test_set(table, name, group.weights)
            own[f"{name}_auc"] = resampled_auc(tests[label, name].ranking, group.weights, thorough)
        if not group.sampled:
            aligned = scores_as_assigned(table, table["label"].to_numpy() == 1)
            ranking = replace(tests[label, "clean"].ranking, scores=aligned)
            own["aligned_auc"] = resampled_auc(ranking, group.weights, thorough)
            own["superiority"] = resampled_superiority(table, group.weights)
        if thorough and not group.sampled:
            own["effect"] = resampled_effect(table, group.weights)
            shift = (table["score_confounded"] - table["score_clean"]).to_numpy()
            rows = group.weights.rows(table["patient_id"])
            own["probability_effect"] = resampled_mean(shift, rows, group.weights)
        statistics[label] = own
    if group.refits:
        statistics = {label: _refitted(own, group.refits[label]) for label, own in statistics.items()}
    for own in statistics.values():
        own["iid_minus_ood_auc"] = difference(own["iid_auc"], own["ood_auc"])
    return ResampledRuns(group, tests, statistics)


def _refitted(own: Mapping[str, ResampledStatistic], refits: pd.DataFrame) -> dict[str, ResampledStatistic]:
    """The statistics with replicates of refitted heads where there are such."""
    ordered = refits.sort_values("refit")
    return {
        name: refitted_statistic(one.value, ordered[name].to_numpy(), one.influence)
        if name in ordered
        else one
        for name, one in own.items()
    }
