"""Attributes in a study: what the scores go with beyond the label, over runs of different scales."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit, logit
from synthetic_study import draw_study

from srcmatters.evaluation.analysis_plan import AnalysisPlan
from srcmatters.evaluation.study_attributes import StudyAttribute, study_attributes
from srcmatters.reports.attribute_table import attribute_table
from srcmatters.runs.finished_runs import StudyResults

PLAN = AnalysisPlan(replicates=200)


def study(shift: float, scale: float = 3.0, seed: int = 0) -> StudyResults:
    """Scores of men are ``shift`` SD higher; every run has a temperature of its own."""
    results = draw_study({"a": 0.0, "b": 0.0}, p_arts=(0.0, 1.0), cases=44, folds=3, seed=seed)
    table = results.predictions
    odds = logit(table["score_clean"]) + shift * 0.95 * (table["sex"] == "M")
    factor = 1 + scale * (table["cell"] % 5) / 5
    return replace(results, predictions=table.assign(score_clean=expit(factor * odds + table["cell"] % 3)))


def of(found: list[StudyAttribute], source: str, column: str) -> StudyAttribute:
    return next(one for one in found if (one.source, one.column) == (source, column))


def test_a_dependence_has_its_size_whatever_the_scale_of_a_run() -> None:
    values = []
    for seed in range(8):
        one = of(study_attributes(study(0.6, seed=seed), ["sex"], PLAN), "a", "sex")
        assert one.dependence is not None and one.dependence.effect.group == "M"
        values.append(one.dependence.effect.value)
    assert np.mean(values) == pytest.approx(0.6, abs=0.12)


def test_a_run_of_large_scores_does_not_drown_the_others() -> None:
    """Men score higher in two of three folds; the log-odds of the third, without it, are 50 times larger."""
    results = study(0.9)
    table, fold = results.predictions, results.predictions["cell"].map(results.cells["fold"])
    odds = logit(draw_study({"a": 0.0, "b": 0.0}, cases=44, folds=3).predictions["score_clean"])
    mixed = expit(np.clip(np.where(fold == 0, 50 * odds, logit(table["score_clean"])), -30, 30))
    found = study_attributes(replace(results, predictions=table.assign(score_clean=mixed)), ["sex"], PLAN)
    one = of(found, "a", "sex")
    assert one.dependence is not None and one.dependence.effect.value > 0.4


def test_nothing_is_shown_where_nothing_is() -> None:
    p_values = [
        one.dependence.p_value
        for seed in range(60)
        for one in study_attributes(study(0.0, seed=seed), ["sex"], PLAN)
        if one.source == "a" and one.dependence is not None
    ]
    assert len(p_values) == 60 and np.mean(np.array(p_values) <= 0.05) <= 0.15


def test_p_values_are_corrected_over_sources_and_columns_and_others_say_why() -> None:
    results = study(0.6)
    found = study_attributes(results, ["sex", "elsewhere"], PLAN)
    (a, b) = (of(found, name, "sex") for name in ("a", "b"))
    assert a.dependence is not None and b.dependence is not None
    smaller = min(a.dependence.p_value, b.dependence.p_value)
    assert min(a.p_adjusted, b.p_adjusted) == pytest.approx(2 * smaller)
    assert "no such column" in of(found, "a", "elsewhere").reason
    # Runs at p_art 1 and null controls do not count.
    changed = results.predictions.assign(
        score_clean=np.where(
            results.predictions["cell"].isin(results.cells.index[results.cells["p_art"] == 1.0]),
            0.5,
            results.predictions["score_clean"],
        )
    )
    again = of(study_attributes(replace(results, predictions=changed), ["sex"], PLAN), "a", "sex")
    assert again.dependence is not None and again.dependence.effect == a.dependence.effect


def test_the_report_has_a_row_for_each_source() -> None:
    table = attribute_table(study(0.6), PLAN)
    assert table is not None
    assert [row[:3] for row in table.rows] == [["sex", name, "M against F"] for name in ("a", "b")]
    bare = study(0.0)
    bare = replace(bare, predictions=bare.predictions.drop(columns="sex"))
    assert attribute_table(bare, PLAN) is None
    assert isinstance(bare.predictions, pd.DataFrame)
