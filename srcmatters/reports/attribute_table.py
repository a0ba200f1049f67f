"""Attributes of patients and acquisitions in the study report."""

from __future__ import annotations

from srcmatters.evaluation.analysis_plan import AnalysisPlan
from srcmatters.evaluation.attribute_groups import LEAST_PATIENTS
from srcmatters.evaluation.study_attributes import StudyAttribute, study_attributes
from srcmatters.numbers import interval, p_value
from srcmatters.reports.coverage import group_columns
from srcmatters.reports.study_tables import Table
from srcmatters.runs.finished_runs import StudyResults


def attribute_table(results: StudyResults, plan: AnalysisPlan) -> Table | None:
    """Whether clean scores go with a column beyond the label, by source; None without columns.

    Args:
        results: of the study.
        plan: of its analysis.
    """
    columns = group_columns(results.predictions)
    measured = [one for one in study_attributes(results, columns, plan) if one.dependence is not None]
    if not measured:
        return None
    rows: dict[str, list[list[str]]] = {}
    for one in measured:
        rows.setdefault(", ".join(one.setup), []).append(_row(one))
    headings = (
        "attribute",
        "source",
        "compared",
        "difference, SD within a label",
        "p",
        "adjusted",
        "patients",
    )
    note = (
        "Of the networks with the lowest p_art, on clean images. Beyond the label; severity may explain it"
        " (portable films are of sicker patients). p: permutation between whole patients of one label;"
        f" adjusted by Holm over attributes and sources. Groups of fewer than {LEAST_PATIENTS} patients are"
        " left out. Whether features encode an attribute, and which regions a network reads, need its images:"
        " srcmatters audit run RUN."
    )
    return Table("Do scores go with an attribute?", headings, list(rows.items()), labels=3, note=note)


def _row(one: StudyAttribute) -> list[str]:
    assert one.dependence is not None
    effect = one.dependence.effect
    return [
        one.column,
        one.source,
        f"{effect.group} against {one.dependence.against}",
        interval(effect.value, effect.low, effect.high),
        p_value(one.dependence.p_value),
        p_value(one.p_adjusted),
        str(one.patients),
    ]
