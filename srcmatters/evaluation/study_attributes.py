"""Attributes in a study: do its scores go with sex, age, view and the like, and is it worse for some?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd

from srcmatters.evaluation.analysis_plan import AnalysisPlan
from srcmatters.evaluation.attribute_dependence import Dependence, attribute_dependence
from srcmatters.evaluation.attribute_groups import AttributeGroups, attribute_groups
from srcmatters.evaluation.attribute_performance import GroupPerformance, Heterogeneity, group_performance
from srcmatters.evaluation.classification import fix_threshold
from srcmatters.evaluation.contrasts import adjusted_p_values
from srcmatters.evaluation.resampling import resample_patients
from srcmatters.runs.finished_runs import StudyResults
from srcmatters.runs.prediction_table import log_odds


@dataclass(frozen=True)
class StudyAttribute:
    """A column and the scores of a source.

    Args:
        setup: target, network and depth of the runs.
        source: of the networks.
        column: of the case table.
        dependence: None where there is nothing to compare.
        reason: why, then.
        p_adjusted: Holm over columns and sources of the setup.
        patients: whose images were compared.
        performance: of every group that is large enough.
        heterogeneity: of each metric between the groups.
        p_unequal: by metric, Holm over metrics, columns and sources of the setup.
        sizes: patients of each group.
    """

    setup: tuple[str, str, str]
    source: str
    column: str
    dependence: Dependence | None
    reason: str = ""
    p_adjusted: float = float("nan")
    patients: int = 0
    performance: tuple[GroupPerformance, ...] = ()
    heterogeneity: tuple[Heterogeneity, ...] = ()
    p_unequal: Mapping[str, float] = field(default_factory=dict)
    sizes: Mapping[str, int] = field(default_factory=dict)


def study_attributes(
    results: StudyResults, columns: Sequence[str], plan: AnalysisPlan
) -> list[StudyAttribute]:
    """Dependence of clean scores on columns of the case table given the label, and performance by group.

    Of each setup and source the runs with the lowest p_art count, without null controls and arms against the
    confounder. Scores of different networks are not on one scale. For the dependence the log-odds of a run
    are divided by their standard deviation within the labels, less the mean of the labels; a case that
    several runs tested has their mean; the permutation is that of
    :func:`srcmatters.evaluation.attribute_dependence`. For the performance AUC ranks cases of the same run
    only, decisions are made at the threshold of each run (Youden's on its validation cases), and calibration
    is that of the log-odds as they are.

    Args:
        results: of a study.
        columns: of the predictions.
        plan: seed, replicates and confidence.
    """
    attributes: list[StudyAttribute] = []
    for setup, members in clean_runs(results.cells).groupby(["target", "network", "depth"], sort=True):
        own: list[StudyAttribute] = []
        for source, runs in members.groupby("source", sort=True):
            tested = results.predictions[results.predictions["cell"].isin(runs.index)]
            tested = tested.assign(threshold=tested["cell"].map(_thresholds(results.validation, runs.index)))
            names = (str(setup[0]), str(setup[1]), str(setup[2]))
            own += [_measured(tested, names, str(source), column, plan) for column in columns]
        attributes += _adjusted(own)
    return attributes


def _thresholds(validation: pd.DataFrame, runs: pd.Index) -> dict[object, float]:
    """Log-odds at which each run decides; none of a run that kept no validation cases."""
    if validation.empty:
        return {}
    kept = validation[validation["cell"].isin(runs)]
    return {
        name: fix_threshold(table["label"].to_numpy(), log_odds(table["score_clean"]))
        for name, table in kept.groupby("cell")
    }


def clean_runs(cells: pd.DataFrame) -> pd.DataFrame:
    """Runs of the lowest p_art of each target, network, depth and source, without controls and arms.

    Of runs that share their training at p_art 0 one confounder is enough.

    Args:
        cells: finished runs.
    """
    kept = cells[cells["control"] == "none"]
    if "mitigation" in kept:
        kept = kept[kept["mitigation"] == "none"]
    axes = ["target", "network", "depth", "source"]
    lowest = kept.groupby(axes)["p_art"].transform("min")
    kept = kept[np.isclose(kept["p_art"].astype(float), lowest.astype(float))]
    return kept[kept["confounder"] == kept.groupby(axes)["confounder"].transform("min")]


def _cases(tested: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """One row per case: its patient, label, columns, and mean standardised score."""
    table = tested.assign(score=log_odds(tested["score_clean"]))
    keys = [table["cell"], table["label"]]
    table["score"] -= table["score"].groupby(keys).transform("mean")
    spread = np.sqrt((table["score"] ** 2).groupby(table["cell"]).transform("mean"))
    table["score"] /= spread.where(spread > 0, 1.0)
    grouped = table.groupby("case_id", sort=True)
    cases = grouped[["patient_id", "label", *columns]].first()
    return cases.assign(score=grouped["score"].mean())


def _measured(
    tested: pd.DataFrame, setup: tuple[str, str, str], source: str, column: str, plan: AnalysisPlan
) -> StudyAttribute:
    if column not in tested or tested[column].isna().all():
        return StudyAttribute(setup, source, column, None, "its case table has no such column")
    cases = _cases(tested, [column])
    patients = cases["patient_id"].to_numpy().astype(str)
    groups = attribute_groups(cases[column], patients)
    if not isinstance(groups, AttributeGroups):
        return StudyAttribute(setup, source, column, None, groups)
    dependence = attribute_dependence(
        cases["score"].to_numpy(),
        cases["label"].to_numpy(dtype=int),
        patients,
        groups,
        resample_patients(patients, plan.replicates, plan.seed),
        seed=plan.seed,
        confidence=plan.confidence,
    )
    of_case = pd.Series(groups.member, index=cases.index)
    performance, heterogeneity, _ = group_performance(
        log_odds(tested["score_clean"]),
        tested["label"].to_numpy(dtype=int),
        tested["patient_id"].to_numpy().astype(str),
        replace(groups, member=tested["case_id"].map(of_case).to_numpy(dtype=int)),
        tested["threshold"].to_numpy(dtype=float),
        confidence=plan.confidence,
        runs=tested["cell"].to_numpy(),
    )
    return StudyAttribute(
        setup,
        source,
        column,
        dependence,
        patients=len(set(patients[groups.member >= 0])),
        performance=performance,
        heterogeneity=heterogeneity,
        sizes={name: len(set(patients[groups.member == place])) for place, name in enumerate(groups.levels)},
    )


def _adjusted(own: list[StudyAttribute]) -> list[StudyAttribute]:
    """Holm over columns and sources; of the performance over the metrics as well."""
    raw = {place: one.dependence.p_value for place, one in enumerate(own) if one.dependence is not None}
    dependent = dict(zip(raw, adjusted_p_values(pd.Series(raw, dtype=float), "holm").tolist(), strict=True))
    tests = {
        (place, test.metric): test.p_value for place, one in enumerate(own) for test in one.heterogeneity
    }
    holm = adjusted_p_values(pd.Series(list(tests.values()), dtype=float), "holm")
    unequal = dict(zip(tests, holm.tolist(), strict=True))
    return [
        replace(
            one,
            p_adjusted=dependent.get(place, float("nan")),
            p_unequal={test.metric: unequal[place, test.metric] for test in one.heterogeneity},
        )
        for place, one in enumerate(own)
    ]
