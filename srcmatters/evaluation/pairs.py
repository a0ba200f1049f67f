"""What a network learnt of two confounders at once: its AUC with each correlation reversed, and both."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from srcmatters.confounders.pair_names import PairNames
from srcmatters.evaluation.analysis_plan import AnalysisPlan
from srcmatters.evaluation.arm_names import named_arms
from srcmatters.evaluation.estimates import (
    LEAN_RANGE,
    Estimate,
    auc_interval,
    boundary_error,
    image_freedom,
    widened,
)
from srcmatters.evaluation.four_states import ENVIRONMENTS, REVERSED, Who, carrying_as, scores_where
from srcmatters.evaluation.leans import with_adjusted
from srcmatters.evaluation.outcomes import Outcome, outcome_of
from srcmatters.evaluation.resampled_statistics import (
    ResampledStatistic,
    difference,
    mean_over_trainings,
    resampled_auc,
)
from srcmatters.evaluation.resampling import PatientWeights, Ranking, resample_patients
from srcmatters.evaluation.run_groups import Repetition
from srcmatters.runs.finished_runs import AXES, StudyResults

_KEY = (*AXES, "mitigation")
#: The environments that the verdicts are about.
QUESTIONS = ("first_reversed", "second_reversed", "ood")
Statistics = dict[Repetition, ResampledStatistic]


def analyse_pairs(results: StudyResults, plan: AnalysisPlan | None = None) -> pd.DataFrame:
    """AUC of every pair in each environment, and what reversing costs.

    Args:
        results: of the study.
        plan: whose margin, confidence, replicates and seed are used; None: the default one.

    Returns:
        A row per source, p_art, mitigation and environment: auc with low and high; where a correlation is
        reversed also loss (AUC with the correlation as in training, the other confounder alike, less this
        one; where there are runs at p_art 0 less the same of these, in the very same test: ``metric`` is
        "learned" then, else "loss") with its ends, p_value, p_beyond and p_equivalence, the same corrected by
        Holm over all losses of the study (of null controls in a family of their own), outcome, trainings. The
        intervals cover other patients and other training runs, as everywhere. Empty without pairs.
    """
    plan = AnalysisPlan() if plan is None else plan
    if results.pairs.empty:
        return pd.DataFrame()
    tables = dict(iter(results.four_states.groupby("cell", sort=False)))
    rows: list[dict[str, Any]] = []
    for group in _groups(named_arms(results.pairs), tables, plan):
        rows += group.rows()
    table = pd.DataFrame(rows)
    of_control = np.where(table["control"] == "none", "pairs", "controls")
    adjusted = with_adjusted(table.assign(family=of_control), "family")
    outcomes = [_outcome(row, plan) for _, row in adjusted.iterrows()]
    return adjusted.assign(outcome=outcomes)


@dataclass(frozen=True)
class _Group:
    """Runs of one source that differ in p_art, fold and seed alone.

    Args:
        axes: what they have in common.
        runs: cell label by fold and seed, by p_art.
        tables: four-state table by cell.
        weights: resampled patients.
        classes: patients with a positive and with a negative case.
        plan: of the analysis.
    """

    axes: dict[str, Any]
    runs: dict[float, dict[Repetition, Any]]
    tables: Mapping[Any, pd.DataFrame]
    weights: PatientWeights
    classes: tuple[int, int]
    plan: AnalysisPlan

    def rows(self) -> Iterator[dict[str, Any]]:
        for p_art, runs in self.runs.items():
            clean = self._area_row(self._areas(runs, ENVIRONMENTS["clean"]))
            for environment, who in ENVIRONMENTS.items():
                row = {**self.axes, "p_art": p_art, "environment": environment, "trainings": len(runs)}
                row |= self._area_row(self._areas(runs, who)) | {"clean_low": clean["auc_low"]}
                if environment in REVERSED and self._are_taught(runs.values()):
                    row |= self._loss(runs, who)
                yield row

    def _areas(
        self,
        runs: Mapping[Repetition, Any],
        who: tuple[Who, Who],
        carriers: Mapping[Repetition, Any] | None = None,
    ) -> Statistics:
        """AUC of every run; who carries as assigned is told by the runs of the same place in ``carriers``."""
        areas = {}
        for place, label in runs.items():
            table, assigned = self.tables[label], self.tables[(carriers or runs)[place]]
            if not np.array_equal(table["case_id"], assigned["case_id"]):
                continue
            people = self.weights.rows(table["patient_id"])
            scores = scores_where(table, *carrying_as(assigned, who))
            ranking = Ranking(table["label"].to_numpy(), scores, people)
            areas[place] = resampled_auc(ranking, self.weights, with_influence=False)
        return areas

    def _over(self, statistics: Statistics) -> Estimate:
        seeds = [seed for _, seed in statistics]
        return mean_over_trainings(list(statistics.values()), image_freedom(*self.classes), seeds)

    def _area_row(self, areas: Statistics) -> dict[str, float]:
        area = self._over(areas)
        low, high = auc_interval(area, *self.classes, self.plan.confidence)
        return {"auc": area.value, "auc_low": low, "auc_high": high}

    def _loss(self, runs: Mapping[Repetition, Any], who: tuple[Who, Who]) -> dict[str, Any]:
        before = self._untaught()
        first, second = ("assigned" if one == "reversed" else one for one in who)
        both = [self._areas(runs, one) for one in ((first, second), who)]
        loss = {place: difference(both[0][place], both[1][place]) for place in both[0]}
        metric = "loss"
        if before and set(before) >= set(runs):
            same = {place: before[place] for place in runs}
            at_0 = [self._areas(same, one, runs) for one in ((first, second), who)]
            if set(at_0[0]) == set(loss):
                loss = {
                    place: difference(one, difference(at_0[0][place], at_0[1][place]))
                    for place, one in loss.items()
                }
                both, metric = both + at_0, "learned"
        means = [float(np.mean([one.value for one in areas.values()])) for areas in both]
        estimate = widened(self._over(loss), [boundary_error(mean, *self.classes) for mean in means])
        low, high = estimate.interval(self.plan.confidence, *LEAN_RANGE)
        margin = self.plan.equivalence_margin
        return {
            "metric": metric,
            "loss": estimate.value,
            "low": low,
            "high": high,
            "p_value": estimate.p_value(),
            "p_beyond": estimate.p_beyond(margin),
            "p_equivalence": estimate.p_equivalence(margin),
        }

    def _are_taught(self, labels: Iterable[Any]) -> bool:
        """Whether anybody carries a confounder in the test of some runs, and so in their training."""
        columns = ["carries_first", "carries_second"]
        return any(self.tables[label][columns].to_numpy().any() for label in labels)

    def _untaught(self) -> Mapping[Repetition, Any]:
        """The runs that were taught neither confounder."""
        at_0 = self.runs.get(0.0, {})
        return {} if self._are_taught(at_0.values()) else at_0


def _groups(cells: pd.DataFrame, tables: Mapping[Any, pd.DataFrame], plan: AnalysisPlan) -> Iterator[_Group]:
    for values, members in cells.groupby([*_KEY, "source"], sort=True, dropna=False):
        axes = dict(zip([*_KEY, "source"], values, strict=True))
        runs: dict[float, dict[Repetition, Any]] = {}
        columns = zip(*(members[name] for name in ("p_art", "fold", "seed")), members.index, strict=True)
        for p_art, fold, seed, label in sorted(columns):
            runs.setdefault(float(p_art), {})[int(fold), int(seed)] = label
        people = pd.concat(
            [tables[label][["patient_id", "label"]] for label in members.index]
        ).drop_duplicates()
        counted = people.groupby("label")["patient_id"].nunique()
        classes = int(counted.get(1, 0)), int(counted.get(0, 0))
        weights = resample_patients(people["patient_id"], plan.replicates, plan.seed)
        yield _Group(axes, runs, tables, weights, classes, plan)


def _outcome(row: pd.Series, plan: AnalysisPlan) -> Outcome | str:
    if not np.isfinite(row.get("loss", np.nan)):
        return ""
    beyond, equivalence = (float(row[f"{name}_adjusted"]) for name in ("p_beyond", "p_equivalence"))
    outcome = outcome_of(beyond, equivalence, float(row["loss"]), plan.confidence)
    # A network that reads the confounders and nothing else is at chance without them, and leans.
    ranked = outcome is Outcome.LEANS or row["clean_low"] > 0.5
    return outcome if ranked else Outcome.NOT_RANKED


def environment_words(environment: str, pair: PairNames) -> str:
    """An environment in which a correlation is reversed, in words: "tag reversed, noise as in training"."""
    first, second = pair.names
    return {
        "first_reversed": f"{first} reversed, {second} as in training",
        "second_reversed": f"{second} reversed, {first} as in training",
        "ood": f"{first} and {second} reversed",
        "first_alone_reversed": f"{first} reversed, no {second}",
        "second_alone_reversed": f"{second} reversed, no {first}",
    }[environment]
