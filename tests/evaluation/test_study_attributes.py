"""Attributes in a study: what the scores go with beyond the label, over runs of different scales."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit, logit
from sklearn.metrics import roc_auc_score
from synthetic_study import draw_study

from srcmatters.evaluation.analysis_plan import AnalysisPlan
from srcmatters.evaluation.classification import fix_threshold
from srcmatters.evaluation.study_attributes import StudyAttribute, study_attributes
from srcmatters.reports.attribute_table import attribute_table
from srcmatters.reports.network_checks import NetworkChecks
from srcmatters.runs.finished_runs import StudyResults

PLAN = AnalysisPlan(replicates=200)


def study(shift: float, scale: float = 3.0, seed: int = 0) -> StudyResults:
    """Scores of men are ``shift`` SD higher; every run has a temperature of its own."""
    results = draw_study({"a": 0.0, "b": 0.0}, p_arts=(0.0, 1.0), cases=44, folds=3, seed=seed)
    table = results.predictions
    odds = logit(table["score_clean"]) + shift * 0.95 * (table["sex"] == "M")
    factor = 1 + scale * (table["cell"] % 5) / 5
    return replace(results, predictions=table.assign(score_clean=expit(factor * odds + table["cell"] % 3)))


def of_one_source(results: StudyResults) -> StudyResults:
    return replace(results, cells=results.cells[results.cells["source"] == "a"])


def of(attributes: list[StudyAttribute], source: str, column: str) -> StudyAttribute:
    return next(one for one in attributes if (one.source, one.column) == (source, column))


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
    attributes = study_attributes(
        replace(results, predictions=table.assign(score_clean=mixed)), ["sex"], PLAN
    )
    one = of(attributes, "a", "sex")
    assert one.dependence is not None and one.dependence.effect.value > 0.4


@pytest.mark.slow
def test_nothing_is_shown_where_nothing_is() -> None:
    p_values = [
        one.dependence.p_value
        for seed in range(60)
        for one in study_attributes(of_one_source(study(0.0, seed=seed)), ["sex"], PLAN)
        if one.dependence is not None
    ]
    assert len(p_values) == 60 and np.mean(np.array(p_values) <= 0.05) <= 0.15


def test_p_values_are_corrected_over_sources_and_columns_and_others_say_why() -> None:
    results = study(0.6)
    attributes = study_attributes(results, ["sex", "elsewhere"], PLAN)
    (a, b) = (of(attributes, name, "sex") for name in ("a", "b"))
    assert a.dependence is not None and b.dependence is not None
    smaller = min(a.dependence.p_value, b.dependence.p_value)
    assert min(a.p_adjusted, b.p_adjusted) == pytest.approx(2 * smaller)
    assert "no such column" in of(attributes, "a", "elsewhere").reason
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


def unequal(seed: int = 0) -> StudyResults:
    """Among women the scores know nothing of the label; every run has a shift and a scale of its own."""
    results = draw_study({"a": 0.0}, p_arts=(0.0, 1.0), cases=88, folds=3, seed=seed)
    stream = np.random.default_rng(seed)
    tables = []
    for table in (results.predictions, results.validation):
        odds, run = logit(table["score_clean"]), table["cell"] % 3
        odds = odds.where(table["sex"] == "M", stream.normal(size=len(table)))
        tables.append(table.assign(score_clean=expit((0.2 + run) * odds + 6 * (run - 1))))
    return replace(results, predictions=tables[0], validation=tables[1])


def test_the_performance_of_groups_ranks_cases_of_one_run_only_at_its_own_threshold() -> None:
    results = unequal()
    one = of(study_attributes(results, ["sex"], PLAN), "a", "sex")
    metrics = {row.group: row.metrics for row in one.performance}
    assert metrics["F"]["auc"].value == pytest.approx(0.5, abs=0.1) and metrics["M"]["auc"].value > 0.8
    assert one.p_unequal["auc"] < 0.01 and one.heterogeneity[0].lowest == "F"
    lowest = results.cells.index[results.cells["p_art"] == 0.0]
    tested = results.predictions[
        results.predictions["cell"].isin(lowest) & (results.predictions["sex"] == "M")
    ]
    thresholds = {
        run: fix_threshold(table["label"].to_numpy(), table["score_clean"].to_numpy())
        for run, table in results.validation.groupby("cell")
    }
    called = [table["score_clean"] >= thresholds[run] - 1e-12 for run, table in tested.groupby("cell")]
    expected = pd.concat(called)[tested["label"] == 1].mean()
    assert metrics["M"]["sensitivity"].value == pytest.approx(expected)
    areas = [
        (area_of(table), (table["label"] == 1).sum() * (table["label"] == 0).sum())
        for _, table in tested.groupby("cell")
    ]
    assert metrics["M"]["auc"].value == pytest.approx(
        sum(area * pairs for area, pairs in areas) / sum(pairs for _, pairs in areas)
    )


def area_of(table: pd.DataFrame) -> float:
    return float(roc_auc_score(table["label"], table["score_clean"]))


def test_without_validation_cases_nothing_is_decided() -> None:
    bare = replace(unequal(), validation=pd.DataFrame())
    one = of(study_attributes(bare, ["sex"], PLAN), "a", "sex")
    assert np.isnan(one.performance[0].metrics["sensitivity"].value) and one.p_unequal["auc"] < 0.01
    assert np.isnan(one.p_unequal["sensitivity"])


def test_the_report_has_a_row_for_each_source_with_the_three_side_by_side() -> None:
    encoded = {"sex": [{"label": 0, "auc": 0.7, "low": 0.6, "high": 0.8, "groups": ["M"]}]}
    setup = ("drawn", "none", "finetune")
    checked = [
        NetworkChecks("key", setup, "b", "none", 0.0, True, 3, 132, encoded),
        NetworkChecks("key", setup, "a", "tag", 1.0, False, 3, 132, encoded),
    ]
    table = attribute_table(study(0.6), PLAN, checked)
    assert table is not None and "audit study" not in table.note
    a, b = table.rows
    assert a[:2] == ["sex", "a"] and a[3:5] == ["–", "–"]
    assert b[:2] == ["sex", "b"] and b[3:5] == [".70 [.60, .80]", "–"]
    assert a[2].startswith("F (") and a[5].startswith("M against F: .") and a[7].startswith("F .")
    assert "audit study" in attribute_table(study(0.6), PLAN).note
    bare = study(0.0)
    bare = replace(bare, predictions=bare.predictions.drop(columns="sex"))
    assert attribute_table(bare, PLAN) is None
