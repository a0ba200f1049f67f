"""Do the scores of a study go with sex, age, view and the like, beyond the label?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from srcmatters.evaluation.analysis_plan import AnalysisPlan
from srcmatters.evaluation.attribute_dependence import Dependence, attribute_dependence
from srcmatters.evaluation.attribute_groups import AttributeGroups, attribute_groups
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
    """

    setup: tuple[str, str, str]
    source: str
    column: str
    dependence: Dependence | None
    reason: str = ""
    p_adjusted: float = float("nan")
    patients: int = 0


def study_attributes(
    results: StudyResults, columns: Sequence[str], plan: AnalysisPlan
) -> list[StudyAttribute]:
    """Dependence of clean scores on columns of the case table, given the label.

    Of each setup and source the runs with the lowest p_art count, without null controls and arms against the
    confounder. Scores of different networks are not on one scale: the log-odds of a run are divided by their
    standard deviation within the labels, less the mean of the labels; a case that several runs tested has
    their mean. The permutation is that of :func:`srcmatters.evaluation.attribute_dependence`.

    Args:
        results: of a study.
        columns: of the predictions.
        plan: seed, replicates and confidence.
    """
    attributes: list[StudyAttribute] = []
    for setup, members in _clean_runs(results.cells).groupby(["target", "network", "depth"], sort=True):
        own: list[StudyAttribute] = []
        for source, runs in members.groupby("source", sort=True):
            tested = results.predictions[results.predictions["cell"].isin(runs.index)]
            cases = _cases(tested, [name for name in columns if name in tested])
            names = (str(setup[0]), str(setup[1]), str(setup[2]))
            own += [_measured(cases, names, str(source), column, plan) for column in columns]
        attributes += _adjusted(own)
    return attributes


def _clean_runs(cells: pd.DataFrame) -> pd.DataFrame:
    """Of runs that share their training at p_art 0 one confounder is enough."""
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
    cases: pd.DataFrame, setup: tuple[str, str, str], source: str, column: str, plan: AnalysisPlan
) -> StudyAttribute:
    if column not in cases or cases[column].isna().all():
        return StudyAttribute(setup, source, column, None, "its case table has no such column")
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
    compared = len(set(patients[groups.member >= 0]))
    return StudyAttribute(setup, source, column, dependence, patients=compared)


def _adjusted(own: list[StudyAttribute]) -> list[StudyAttribute]:
    tested = [one for one in own if one.dependence is not None]
    if not tested:
        return own
    p_values = pd.Series([one.dependence.p_value for one in tested if one.dependence is not None])
    adjusted = dict(zip(map(id, tested), adjusted_p_values(p_values, "holm").tolist(), strict=True))
    return [
        StudyAttribute(
            one.setup,
            one.source,
            one.column,
            one.dependence,
            one.reason,
            adjusted.get(id(one), float("nan")),
            one.patients,
        )
        for one in own
    ]
