"""Attributes of patients and acquisitions in the study report: encoded, dependent, unequal."""

from __future__ import annotations

from collections.abc import Sequence

from srcmatters.evaluation.analysis_plan import AnalysisPlan
from srcmatters.evaluation.attribute_groups import LEAST_PATIENTS
from srcmatters.evaluation.attribute_performance import METRIC_WORDS
from srcmatters.evaluation.study_attributes import StudyAttribute, study_attributes
from srcmatters.numbers import NONE, interval, p_text, p_value
from srcmatters.reports.coverage import group_columns
from srcmatters.reports.network_checks import NetworkChecks
from srcmatters.reports.study_tables import Table
from srcmatters.runs.finished_runs import StudyResults

_LEVEL = 0.05
_COLUMNS = (
    "attribute",
    "source",
    "groups (patients)",
    "encoded: AUC in negatives",
    "in positives",
    "dependent: SD beyond the label",
    "p",
    "unequal: AUC by group",
    "p",
    "other metrics that differ",
)


def attribute_table(
    results: StudyResults, plan: AnalysisPlan, checked: Sequence[NetworkChecks] = ()
) -> Table | None:
    """The three questions side by side, by column and source; None without columns.

    Args:
        results: of the study.
        plan: of its analysis.
        checked: what was asked of the networks themselves.
    """
    columns = group_columns(results.predictions)
    measured = [one for one in study_attributes(results, columns, plan) if one.dependence is not None]
    if not measured:
        return None
    rows: dict[str, list[list[str]]] = {}
    for one in measured:
        rows.setdefault(", ".join(one.setup), []).append(_row(one, checked))
    probed = any(one.encoded for one in checked)
    note = (
        "Of the networks with the lowest p_art, on clean images. Encoded: a probe for the attribute among the"
        " cases of one label, from the features before the head"
        f"{'' if probed else ' (not measured yet: srcmatters audit study STUDY)'}. Dependent: beyond the"
        " label; severity may explain it (portable films are of sicker patients); permutation between whole"
        " patients of one label. Unequal: cases of one network are ranked against each other, and decided at"
        " its own threshold. p: corrected by Holm over attributes, sources and, for unequal, metrics. Groups"
        f" of fewer than {LEAST_PATIENTS} patients are left out."
    )
    return Table("Attributes: encoded, dependent, unequal", _COLUMNS, list(rows.items()), labels=3, note=note)


def _row(one: StudyAttribute, checked: Sequence[NetworkChecks]) -> list[str]:
    assert one.dependence is not None
    effect = one.dependence.effect
    encoded = {
        row["label"]: interval(row["auc"], row["low"], row["high"])
        for network in checked
        if (*network.setup, network.source) == (*one.setup, one.source) and network.lowest
        for row in network.encoded.get(one.column, ())
    }
    areas = [(row.group, row.metrics["auc"]) for row in one.performance]
    return [
        one.column,
        one.source,
        ", ".join(f"{name} ({size})" for name, size in one.sizes.items()),
        encoded.get(0, NONE),
        encoded.get(1, NONE),
        f"{effect.group} against {one.dependence.against}: {interval(effect.value, effect.low, effect.high)}",
        p_value(one.p_adjusted),
        ", ".join(f"{name} {interval(area.value, area.low, area.high)}" for name, area in areas) or NONE,
        p_value(one.p_unequal.get("auc", float("nan"))),
        _others(one),
    ]


def _others(one: StudyAttribute) -> str:
    """Metrics besides AUC in which the groups differ."""
    differing = [
        f"{METRIC_WORDS[test.metric]} {interval(test.gap.value, test.gap.low, test.gap.high)} lower in"
        f" {test.lowest} than in {test.highest} ({p_text(one.p_unequal[test.metric])})"
        for test in one.heterogeneity
        if test.metric != "auc" and one.p_unequal[test.metric] < _LEVEL
    ]
    return "; ".join(differing) or NONE
