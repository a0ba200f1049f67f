"""What an arm against a confounder gives back, what it costs, and which other confounder it makes worse."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from srcmatters.evaluation.analysis_plan import AnalysisPlan
from srcmatters.evaluation.arm_names import named_arms
from srcmatters.evaluation.classification import calibration
from srcmatters.evaluation.contrasts import adjusted_p_values
from srcmatters.evaluation.environments import in_environment, scores_as_assigned
from srcmatters.evaluation.estimates import LEAN_RANGE, Estimate, boundary_error, image_freedom, widened
from srcmatters.evaluation.recovery import Recovery, recovered_share
from srcmatters.evaluation.resampled_statistics import (
    ResampledStatistic,
    difference,
    mean_over_trainings,
    resampled_auc,
    resampled_mean,
)
from srcmatters.evaluation.resampling import PatientWeights, Ranking, resample_patients
from srcmatters.evaluation.run_groups import Repetition
from srcmatters.runs.finished_runs import AXES, StudyResults

#: Arms that must cure nothing.
NULL_ARMS = ("balanced_fake", "balanced_shuffled")
#: The row of the training whose carriers have nothing to do with the label: what no arm can exceed by much.
UPPER_BOUND = "independent carriers"
#: Test environments of an untreated confounder: who carries it, the negatives or the positives.
DIRECTIONS = ("negatives", "positives")
_KEY = tuple(name for name in AXES if name != "control")
Statistics = dict[Repetition, ResampledStatistic]


@dataclass(frozen=True)
class MitigationAnalysis:
    """What the arms of a study do.

    Both tables begin with target, network, depth, protocol, confounder, confounder_args, p_neg, source, p_art
    and mitigation. Intervals cover other patients and other training runs, paired by fold and seed.

    Args:
        recovered: by arm, "none" and :data:`UPPER_BOUND` among them: ood_auc, loss (clean - o.o.d. AUC of
            ERM), recovered (share of the loss that the arm gives back) with low and high, p_value (of 0),
            p_adjusted (Holm over all arms that are no null arms), clean_difference and brier_difference (of
            the clean test, arm - ERM) with their ends, calibration_slope; trainings.
        matrix: by arm and ``tested`` confounder (untreated unless it is the run's own) and ``carried_by``,
            who carries it in the test: fall (that AUC less the clean one, of the arm) and fall_none (without
            an arm), change (fall - fall_none) with low and high, p_value, p_adjusted (Holm over all untreated
            cells of arms that are no null arms), and worse. An AUC that lies above the clean one is no
            health: a change counts only where it ends, or for the better begins, below the clean AUC.
    """

    recovered: pd.DataFrame
    matrix: pd.DataFrame


def analyse_mitigation(results: StudyResults, plan: AnalysisPlan | None = None) -> MitigationAnalysis | None:
    """Compare the arms of a study with the runs that have none.

    Args:
        results: of the study.
        plan: whose confidence, replicates and seed are used; None: the default one.

    Returns:
        None where no run has an arm, or no run has none.
    """
    plan = AnalysisPlan() if plan is None else plan
    cells = named_arms(results.cells)
    if "mitigation" not in cells or not {"none"} < set(cells["mitigation"]):
        return None
    tables = dict(iter(results.predictions.groupby("cell", sort=False)))
    transfer = dict(iter(results.transfer.groupby("cell", sort=False))) if len(results.transfer) else {}
    recovered: list[dict[str, Any]] = []
    matrix: list[dict[str, Any]] = []
    for comparison in _comparisons(cells, tables, plan):
        recovered += _recovered_rows(comparison, tables)
        matrix += _matrix_rows(comparison, transfer)
    return MitigationAnalysis(_with_holm(recovered, "recovered"), _with_holm(matrix, "matrix"))


@dataclass(frozen=True)
class _Comparison:
    """Runs that differ in their arm, fold and seed alone.

    Args:
        axes: what they have in common.
        runs: cell label by fold and seed, by arm.
        weights: resampled patients.
        classes: patients with a positive and with a negative case.
        plan: of the analysis.
    """

    axes: dict[str, Any]
    runs: dict[str, dict[Repetition, Any]]
    weights: PatientWeights
    classes: tuple[int, int]
    plan: AnalysisPlan

    def over(self, statistics: Statistics) -> Estimate:
        seeds = [seed for _, seed in statistics]
        return mean_over_trainings(list(statistics.values()), image_freedom(*self.classes), seeds)

    def areas(
        self, runs: Mapping[Repetition, Any], tables: Mapping[Any, pd.DataFrame], who: str
    ) -> Statistics:
        """AUC of every run with "nobody", the "negatives" or the "positives" carrying the confounder."""
        return {place: self._area(tables[label], who) for place, label in runs.items()}

    def _area(self, table: pd.DataFrame, who: str) -> ResampledStatistic:
        labels = table["label"].to_numpy()
        carrying = {"nobody": labels < 0, "negatives": labels == 0, "positives": labels == 1}[who]
        rows = np.ones(len(table), dtype=bool)
        if "environment" in table and who == "negatives":  # sampled: other cases
            rows, carrying = in_environment(table, "ood"), labels < 0
        scores = scores_as_assigned(table, carrying)
        people = self.weights.rows(table["patient_id"].to_numpy()[rows])
        return resampled_auc(Ranking(labels[rows], scores[rows], people), self.weights, False)

    def brier(self, runs: Mapping[Repetition, Any], tables: Mapping[Any, pd.DataFrame]) -> Statistics:
        """Brier score of the clean test of every run."""
        scores = {}
        for place, label in runs.items():
            table = tables[label]
            errors = (table["score_clean"] - table["label"]).to_numpy() ** 2
            scores[place] = resampled_mean(errors, self.weights.rows(table["patient_id"]), self.weights)
        return scores

    def boundary(self, areas: Statistics) -> float:
        """Further standard error of a mean AUC near 0 or 1."""
        return boundary_error(float(np.nanmean([one.value for one in areas.values()])), *self.classes)


def _comparisons(
    cells: pd.DataFrame, tables: Mapping[Any, pd.DataFrame], plan: AnalysisPlan
) -> Iterator[_Comparison]:
    plain = cells[cells["control"] == "none"]
    for values, members in plain.groupby([*_KEY, "source", "p_art"], sort=True, dropna=False):
        axes = dict(zip([*_KEY, "source", "p_art"], values, strict=True))
        arms = {str(name): _places(rows) for name, rows in members.groupby("mitigation", sort=False)}
        if set(arms) <= {"none"} or "none" not in arms:
            continue
        same = np.logical_and.reduce([cells[name] == axes[name] for name in (*_KEY, "source")])
        same &= (cells["control"] == "independent_confounder") & (cells["mitigation"] == "none")
        bound = _places(cells[same])
        runs = {**arms, **({UPPER_BOUND: bound} if bound else {})}
        labels = [label for places in runs.values() for label in places.values()]
        people = pd.concat([tables[label][["patient_id", "label"]] for label in labels]).drop_duplicates()
        counted = people.groupby("label")["patient_id"].nunique()
        weights = resample_patients(people["patient_id"], plan.replicates, plan.seed)
        classes = int(counted.get(1, 0)), int(counted.get(0, 0))
        yield _Comparison(axes, runs, weights, classes, plan)


def _places(members: pd.DataFrame) -> dict[Repetition, Any]:
    columns = zip(members["fold"], members["seed"], members.index, strict=True)
    return {(int(fold), int(seed)): label for fold, seed, label in sorted(columns)}


def _recovered_rows(comparison: _Comparison, tables: Mapping[Any, pd.DataFrame]) -> list[dict[str, Any]]:
    clean, ood = (comparison.areas(comparison.runs["none"], tables, who) for who in ("nobody", "negatives"))
    brier = comparison.brier(comparison.runs["none"], tables)
    confidence, rows = comparison.plan.confidence, []
    for arm, runs in comparison.runs.items():
        own = comparison.areas(runs, tables, "negatives")
        places = [place for place in runs if place in clean]
        gained = {place: difference(own[place], ood[place]) for place in places}
        lost = {place: difference(clean[place], ood[place]) for place in places}
        errors = comparison.boundary(own), comparison.boundary(ood), comparison.boundary(clean)
        share = Recovery(float("nan"), float("nan"), float("nan"), float("nan"))
        if arm != "none":
            share = recovered_share(gained, lost, comparison.over, errors, confidence)
        price = _paired(comparison.areas(runs, tables, "nobody"), clean)
        estimates = {
            "clean_difference": price,
            "brier_difference": _paired(comparison.brier(runs, tables), brier),
        }
        row = {**comparison.axes, "mitigation": arm, "ood_auc": comparison.over(own).value}
        row |= {"loss": comparison.over(lost).value, "recovered": share.value, "low": share.low}
        row |= {"high": share.high, "p_value": share.p_value}
        for name, statistics in estimates.items():
            estimated = comparison.over(statistics)
            low, high = estimated.interval(confidence)
            row |= {name: estimated.value, f"{name}_low": low, f"{name}_high": high}
        pooled = pd.concat([tables[label] for label in runs.values()])
        slope = calibration(pooled["label"].to_numpy(), pooled["score_clean"].to_numpy()).slope
        rows.append({**row, "calibration_slope": slope, "trainings": len(places)})
    return rows


def _paired(first: Statistics, second: Statistics) -> Statistics:
    return {place: difference(one, second[place]) for place, one in first.items() if place in second}


def _matrix_rows(comparison: _Comparison, transfer: Mapping[Any, pd.DataFrame]) -> list[dict[str, Any]]:
    rows = []
    for tested in _tested_by_all(comparison, transfer):
        falls = {arm: _falls(comparison, runs, transfer, tested) for arm, runs in comparison.runs.items()}
        for arm in comparison.runs:
            if arm in ("none", UPPER_BOUND):
                continue
            rows += [
                {**comparison.axes, "mitigation": arm, "tested": tested, "carried_by": who, **row}
                | {"treated": tested == str(comparison.axes["confounder"])}
                for who in DIRECTIONS
                for row in (_change(comparison, falls[arm][who], falls["none"][who]),)
            ]
    return rows


def _tested_by_all(comparison: _Comparison, transfer: Mapping[Any, pd.DataFrame]) -> list[str]:
    """Confounders that every run with and without an arm was tested on, in alphabetical order."""
    labels = [label for arm, runs in comparison.runs.items() if arm != UPPER_BOUND for label in runs.values()]
    if not all(label in transfer for label in labels):
        return []
    return sorted(set.intersection(*(set(transfer[label]["tested"]) for label in labels)))


@dataclass(frozen=True)
class _Fall:
    """AUC with a class carrying a confounder less the clean one, by fold and seed; errors near 0 and 1."""

    statistics: Statistics
    errors: list[float]


def _falls(
    comparison: _Comparison, runs: Mapping[Repetition, Any], transfer: Mapping[Any, pd.DataFrame], tested: str
) -> dict[str, _Fall]:
    """By who carries ``tested`` in the test; nothing of runs that were not tested on it."""
    if not all(label in transfer for label in runs.values()):
        return {}
    tables = {label: transfer[label][transfer[label]["tested"] == tested] for label in runs.values()}
    clean, falls = comparison.areas(runs, tables, "nobody"), {}
    for who in DIRECTIONS:
        areas = comparison.areas(runs, tables, who)
        errors = [comparison.boundary(one) for one in (areas, clean)]
        falls[who] = _Fall(_paired(areas, clean), errors)
    return falls


def _change(comparison: _Comparison, own: _Fall, without: _Fall) -> dict[str, float]:
    """The change of a fall; its p is that of both hypotheses together: it changed, and it is a fall."""
    fall, before = (widened(comparison.over(one.statistics), one.errors) for one in (own, without))
    change = widened(
        comparison.over(_paired(own.statistics, without.statistics)), own.errors + without.errors
    )
    harmful = fall if change.value < 0 else before
    p_value = max(change.p_value(), harmful.p_value()) if harmful.value < 0 else 1.0
    low, high = change.interval(comparison.plan.confidence, *LEAN_RANGE)
    ends = dict(zip(("fall_low", "fall_high"), fall.interval(comparison.plan.confidence), strict=True))
    row = {"fall": fall.value, **ends, "fall_none": before.value, "change": change.value}
    return row | {"low": low, "high": high, "p_value": p_value}


def _with_holm(rows: list[dict[str, Any]], table: str) -> pd.DataFrame:
    """Adjusted p of the declared family; the others keep NaN."""
    adjusted = pd.DataFrame(rows)
    if adjusted.empty:
        return adjusted
    member = ~adjusted["mitigation"].isin(["none", UPPER_BOUND, *NULL_ARMS])
    if table == "matrix":
        member &= ~adjusted["treated"]
    adjusted["p_adjusted"] = np.nan
    adjusted.loc[member, "p_adjusted"] = adjusted_p_values(adjusted.loc[member, "p_value"], "holm")
    if table == "matrix":
        adjusted["worse"] = (adjusted["p_adjusted"] < 0.05) & (adjusted["change"] < 0)
    return adjusted
