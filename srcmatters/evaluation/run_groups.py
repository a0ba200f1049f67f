"""The runs of a study in groups that can be compared."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from srcmatters.errors import InputError
from srcmatters.evaluation.analysis_plan import AnalysisPlan
from srcmatters.evaluation.arm_names import named_arms
from srcmatters.evaluation.estimates import Estimate, image_freedom
from srcmatters.evaluation.resampled_statistics import ResampledStatistic, mean_over_trainings
from srcmatters.evaluation.resampling import PatientWeights, resample_patients
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

    Runs with an arm against the confounder are left out where there are runs without: they are compared with
    these by :mod:`srcmatters.evaluation.mitigation`.

    Raises:
        InputError: two runs of one cell, runs of one source that differ in a setting that is no axis, or
            scores that are no numbers.
    """
    if results.cells.empty:  # all runs were taught pairs
        return
    cells = without_arms(results.cells)
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


def without_arms(cells: pd.DataFrame) -> pd.DataFrame:
    """Runs without an arm against the confounder, where there are such; else all."""
    cells = named_arms(cells)
    if "mitigation" not in cells or cells["mitigation"].nunique() < 2:
        return cells
    kept = cells[cells["mitigation"] == "none"]
    kept.attrs = cells.attrs
    return kept if len(kept) else cells


def _of_all(refits: Mapping[Any, pd.DataFrame], labels: pd.Index) -> dict[Any, pd.DataFrame]:
    """Refits of a group's runs; nothing unless all runs have as many: only then their resamples
    are paired.
    """
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
