"""The runs of a study in groups that can be compared, and every statistic of every run, resampled."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from srcmatters.errors import InputError
from srcmatters.evaluation.analysis_plan import AnalysisPlan
from srcmatters.evaluation.environments import environment_scores, in_environment, scores_as_assigned
from srcmatters.evaluation.estimates import Estimate, image_freedom
from srcmatters.evaluation.resampled_statistics import (
    ResampledStatistic,
    combine,
    difference,
    mean_over_trainings,
    refitted_statistic,
    resampled_auc,
    resampled_effect,
    resampled_mean,
    resampled_superiority,
)
from srcmatters.evaluation.resampling import PatientWeights, Ranking, resample_patients
from srcmatters.runs.finished_runs import AXES, StudyResults

#: Settings that differ between the runs of one source without making them another experiment.
_REPEATED = ("source", "p_art", "fold", "seed", "device", *AXES)

Repetition = tuple[int, int]  # fold, seed


@dataclass(frozen=True)
class RunGroup:
    """Runs that can be compared with each other: they differ in source, p_art, fold and seed alone.

    Args:
        axes: what they have in common.
        cells: their rows of :attr:`StudyResults.cells`.
        tables: prediction table by cell.
        validation: table of the validation cases by cell, where one was kept.
        weights: resampled patients, the same for all of them.
        positives: patients with a positive case.
        negatives: patients with a negative case.
        refits: table of refitted heads by cell (:attr:`StudyResults.refits`); empty unless every run has one.
    """

    axes: dict[str, Any]
    cells: pd.DataFrame
    tables: Mapping[Any, pd.DataFrame]
    validation: Mapping[Any, pd.DataFrame]
    weights: PatientWeights
    positives: int
    negatives: int
    refits: Mapping[Any, pd.DataFrame] = field(default_factory=dict)

    @property
    def sampled(self) -> bool:
        """Whether the confounder is a property of the patients, which makes the environments other cases."""
        return any("environment" in table for table in self.tables.values())

    @property
    def environments(self) -> tuple[str, ...]:
        """The environments that exist."""
        return ("clean", "iid", "ood") if self.sampled else ("clean", "iid", "ood", "confounded")

    @cached_property
    def _places(self) -> dict[str, dict[float, dict[Repetition, Any]]]:
        places: dict[str, dict[float, dict[Repetition, Any]]] = {}
        columns = [self.cells[name] for name in ("source", "p_art", "fold", "seed")]
        for source, p_art, fold, seed, label in sorted(zip(*columns, self.cells.index, strict=True)):
            places.setdefault(source, {}).setdefault(float(p_art), {})[int(fold), int(seed)] = label
        return places

    @property
    def sources(self) -> list[str]:
        """In alphabetical order."""
        return list(self._places)

    def shares(self, source: str) -> list[float]:
        """The p_art of a source, ascending."""
        return list(self._places[source])

    def runs(self, source: str, p_art: float) -> dict[Repetition, Any]:
        """Cell label by (fold, seed), in their order."""
        return self._places[source][p_art]

    @property
    def one_test_set(self) -> bool:
        """Whether the folds test the same patients (a fixed or sampled test set) instead of dividing them."""
        source = self.sources[0]
        runs = self.runs(source, self.shares(source)[0])
        seen: set[tuple[int, str]] = set()
        for (_, seed), label in runs.items():
            patients = {(seed, str(name)) for name in self.tables[label]["patient_id"]}
            if seen & patients:
                return True
            seen |= patients
        return False

    def over(self, statistics: Mapping[Repetition, ResampledStatistic]) -> Estimate:
        """Mean of a statistic of several training runs, by fold and seed."""
        freedom = image_freedom(self.positives, self.negatives)
        seeds = [seed for _, seed in statistics]
        return mean_over_trainings(list(statistics.values()), freedom, seeds)

    @property
    def label(self) -> str:
        """The confounder, the target and the null control, for notes."""
        name = f"{self.axes['confounder']} on {self.axes['target']}"
        return name if self.axes["control"] == "none" else f"{name} (control: {self.axes['control']})"

    @property
    def test_to_train(self) -> float:
        """Test cases per training case, for the corrected resampled t-test.

        All test folds together are the cases of a cross-validation; what a run neither tests nor validates it
        trains on. Runs that kept no validation cases are taken to have trained on them too.
        """
        cases = len({name for table in self.tables.values() for name in table["case_id"]})
        tested = float(np.mean([len(table) for table in self.tables.values()]))
        validated = (
            float(np.mean([len(table) for table in self.validation.values()])) if self.validation else 0.0
        )
        return tested / max(cases - tested - validated, 1.0)

    @property
    def rarer(self) -> int:
        """Patients of the rarer class."""
        return min(self.positives, self.negatives)


def group_runs(results: StudyResults, plan: AnalysisPlan) -> Iterator[RunGroup]:
    """The groups of a study, one after the other.

    Raises:
        InputError: two runs of one cell, runs of one source that differ in a setting that is no axis, or
            scores that are no numbers.
    """
    cells = results.cells
    tables = dict(iter(results.predictions.groupby("cell", sort=False)))
    validation, refits = (
        dict(iter(table.groupby("cell", sort=False))) if len(table) else {}
        for table in (results.validation, results.refits)
    )
    settings = [name for name in cells.attrs.get("settings", []) if name not in _REPEATED]
    for values, members in cells.groupby(list(AXES), sort=True, dropna=False):
        _check(members, settings)
        # Columns that this group does not have came from other groups when the tables were put together.
        own = {
            label: _own_columns(tables[label], members.loc[label])
            for label in members.index
            if label in tables
        }
        missing = [label for label in members.index if label not in own]
        if missing:
            raise InputError(f"{_where(members.loc[missing[0]])}: the run has no predictions")
        people = pd.concat([table[["patient_id", "label"]] for table in own.values()]).drop_duplicates()
        counted = people.groupby("label")["patient_id"].nunique()
        yield RunGroup(
            dict(zip(AXES, values, strict=True)),
            members,
            own,
            {label: validation[label] for label in members.index if label in validation},
            resample_patients(people["patient_id"], plan.replicates, plan.seed),
            int(counted.get(1, 0)),
            int(counted.get(0, 0)),
            _of_all(
                refits if dict(zip(AXES, values, strict=True))["control"] == "none" else {}, members.index
            ),
        )


def _of_all(refits: Mapping[Any, pd.DataFrame], labels: pd.Index) -> dict[Any, pd.DataFrame]:
    """Refits of a group's runs; nothing unless all runs have as many: only then their resamples are"
    " paired."""
    own = {label: refits[label] for label in labels if label in refits}
    lengths = {len(table) for table in own.values()}
    return own if len(own) == len(labels) and len(lengths) == 1 else {}


def _own_columns(table: pd.DataFrame, cell: pd.Series) -> pd.DataFrame:
    if not np.isfinite(table[["score_clean", "score_confounded"]].to_numpy(dtype=float)).all():
        raise InputError(f"{_where(cell)}: predictions hold a score that is no number")
    return table.dropna(axis=1, how="all") if table.isna().to_numpy().any() else table


def _where(cell: pd.Series) -> str:
    named = [f"{name} {cell[name]}" for name in ("source", "confounder", "p_art", "fold", "seed")]
    return str(cell.get("output_dir", ", ".join(named)))


def _check(members: pd.DataFrame, settings: Sequence[str]) -> None:
    for source, runs in members.groupby("source"):
        for name in settings:
            if runs[name].nunique(dropna=False) > 1:
                values = ", ".join(sorted({str(value) for value in runs[name]}))
                raise InputError(
                    f"runs of {source} differ in {name} ({values}), which is no axis of an analysis;"
                    " expected one value: analyse their folders one by one"
                )
    keys = ["source", "p_art", "fold", "seed"]
    twice = members[members.duplicated(keys, keep=False)]
    if len(twice):
        first, second = twice.sort_values(keys).iloc[0], twice.sort_values(keys).iloc[1]
        raise InputError(
            f"{_where(first)} and {_where(second)} are the same cell ({', '.join(keys)}), expected each once"
        )


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
        carry. Of a sampled confounder it is the o.o.d. AUC turned round, as its i.i.d. test set changes with
        p_art.
        """
        if name == "learned_superiority":
            return self.of(source, trained_at, "superiority")
        if self.group.sampled:
            coefficients = {"ood_auc": -1.0}
        else:
            coefficients = {"aligned_auc": p_art, "clean_auc": 1 - p_art, "ood_auc": -1.0}
        parts = [self.of(source, trained_at, part) for part in coefficients]
        return {
            place: combine(list(coefficients.values()), [part[place] for part in parts]) for place in parts[0]
        }

    def mean(self, source: str, p_art: float, name: str) -> Estimate:
        """A statistic averaged over all repetitions of a cell."""
        return self.group.over(self.of(source, p_art, name))


_LEARNED = ("learned_lean", "learned_superiority")


def resample_runs(group: RunGroup) -> ResampledRuns:
    """Compute all statistics of a group."""
    tests: dict[tuple[Any, str], TestSet] = {}
    statistics: dict[Any, dict[str, ResampledStatistic]] = {}
    for label, table in group.tables.items():
        own: dict[str, ResampledStatistic] = {}
        for name in group.environments:
            tests[label, name] = test_set(table, name, group.weights)
            own[f"{name}_auc"] = resampled_auc(tests[label, name].ranking, group.weights)
        if not group.sampled:
            aligned = scores_as_assigned(table, table["label"].to_numpy() == 1)
            ranking = replace(tests[label, "clean"].ranking, scores=aligned)
            own["aligned_auc"] = resampled_auc(ranking, group.weights)
            own["effect"] = resampled_effect(table, group.weights)
            shift = (table["score_confounded"] - table["score_clean"]).to_numpy()
            rows = group.weights.rows(table["patient_id"])
            own["probability_effect"] = resampled_mean(shift, rows, group.weights)
            own["superiority"] = resampled_superiority(table, group.weights)
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
