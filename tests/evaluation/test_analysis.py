"""The analysis of whole studies whose truth is known."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit, logit
from scipy.stats import chi2
from synthetic_study import draw_study

from srcmatters.errors import InputError
from srcmatters.evaluation import (
    Analysis,
    AnalysisPlan,
    Mixture,
    analyse,
    environment_auc,
    environment_scores,
)
from srcmatters.evaluation.classification import fix_threshold
from srcmatters.evaluation.curves import crossing, slope_weights, trapezoid_weights
from srcmatters.evaluation.run_groups import group_runs
from srcmatters.evaluation.subgroups import heterogeneity
from srcmatters.runs.finished_runs import AXES, StudyResults

PLAN = AnalysisPlan(metric="ood_auc", replicates=400, subgroups=())
SMALL = {"folds": 3, "cases": 60}
TABLES = ("environments", "gaps", "leans", "controls", "contrasts", "curves", "interactions", "subgroups")


@pytest.fixture(scope="module")
def study() -> StudyResults:
    """Source a leans on the tag, source b does not."""
    return draw_study({"a": 4.0, "b": 0.0}, p_arts=(0.0, 0.5, 1.0), training_spread=0.1)


@pytest.fixture(scope="module")
def analysis(study: StudyResults) -> Analysis:
    return analyse(study, replace(PLAN, subgroups=("sex",)))


def only(table: pd.DataFrame, **values: Any) -> pd.Series:
    """The one row with these values."""
    rows = table[np.logical_and.reduce([table[name] == value for name, value in values.items()])]
    assert len(rows) == 1
    return rows.iloc[0]


def select(results: StudyResults, rows: pd.Series) -> StudyResults:
    """Some runs of a study."""
    cells = results.cells[rows]
    kept = results.predictions["cell"].isin(cells.index)
    checked = results.validation["cell"].isin(cells.index)
    return StudyResults(cells, results.predictions[kept], results.validation[checked])


def test_the_auc_of_an_environment_is_the_mean_over_its_folds(
    study: StudyResults, analysis: Analysis
) -> None:
    cells = study.cells[(study.cells["source"] == "a") & (study.cells["p_art"] == 0.5)]
    tables = [study.predictions[study.predictions["cell"] == cell] for cell in cells.index]
    for environment in ("clean", "iid", "ood", "confounded"):
        row = only(analysis.environments, source="a", p_art=0.5, environment=environment)
        assert row["auc"] == pytest.approx(np.mean([environment_auc(table, environment) for table in tables]))
        assert row["auc_low"] < row["auc"] < row["auc_high"]
    assert row[["folds", "seeds", "cases"]].tolist() == [5, 1, 440]
    assert row["patients"] == study.predictions["patient_id"].nunique()


def test_a_source_that_leans_on_the_confounder_loses_and_the_other_does_not(analysis: Analysis) -> None:
    loss, none = (only(analysis.gaps, source=source, p_art=1.0) for source in "ab")
    assert loss["low"] > 0.5 and loss["low"] < loss["iid_minus_ood"] < loss["high"]
    assert loss["effect_low"] < 4 < loss["effect_high"]
    assert none["iid_minus_ood"] == none["effect"] == 0
    primary = analysis.contrasts[analysis.contrasts["family"] == "primary"]
    row = only(primary, source_a="a", source_b="b", metric="ood_auc", p_art=1.0)
    assert len(primary) == 1 and row["correction"] == "holm"
    assert row["high"] < -0.4 and row["p_adjusted"] == row["p_value"] < 0.001
    assert row["p_permutation"] == pytest.approx(row["p_permutation_attainable"]) == pytest.approx(2 / 252)
    assert row["p_delong"] < 0.001 and row["p_nadeau_bengio"] < 0.01
    assert not row["equivalent"]


def test_without_a_carrier_there_is_nothing_to_tell_apart(analysis: Analysis) -> None:
    """Null behaviour: p_art 0."""
    null = analysis.contrasts[analysis.contrasts["p_art"] == 0]
    assert set(null["metric"]) == {"clean_auc", "iid_auc", "ood_auc", "iid_minus_ood_auc"}
    assert (null["low"] <= 0).all() and (null["high"] >= 0).all() and (null["p_value"] > 0.05).all()
    assert (analysis.gaps.loc[analysis.gaps["p_art"] == 0, "iid_minus_ood"] == 0).all()


def test_the_same_source_twice_is_comparable_with_itself() -> None:
    study = draw_study({"a": 1.0}, p_arts=(1.0,))
    twin = study.predictions.assign(cell=study.predictions["cell"] + 5)
    cells = pd.concat([study.cells, study.cells.assign(source="b")], ignore_index=True)
    results = StudyResults(cells, pd.concat([study.predictions, twin], ignore_index=True))
    row = only(analyse(results, PLAN).contrasts, metric="ood_auc")
    assert row["difference"] == row["standard_error"] == 0
    assert (row["p_value"], row["equivalent"]) == (1, True)


def test_the_lean_is_that_of_the_carriers_of_both_classes() -> None:
    plain = draw_study({"leans": 2.0}, p_arts=(0, 0.8), folds=2, cases=60)
    cells = plain.cells.assign(p_neg=0.3)
    cells.attrs = plain.cells.attrs
    study = replace(plain, cells=cells)
    for thorough in (True, False):
        row = only(analyse(study, PLAN, thorough).leans, source="leans")
        expected = []
        for fold in range(2):
            of_fold = cells[cells["fold"] == fold]
            losses = []
            for p_art in (0.8, 0):
                cell = of_fold.index[of_fold["p_art"] == p_art][0]
                table = study.predictions[study.predictions["cell"] == cell]
                iid, ood = (environment_auc(table, one) for one in (Mixture(0.8, 0.3), "ood"))
                losses.append(iid - ood)
            expected.append(losses[0] - losses[1])
        assert row["lean"] == pytest.approx(np.mean(expected))


def test_curves_fall_where_the_network_leans_on_the_confounder(analysis: Analysis) -> None:
    falling, level = (only(analysis.curves, source=source) for source in "ab")
    gaps = [only(analysis.gaps, source="a", p_art=p)["iid_minus_ood"] for p in (0, 0.5, 1)]
    assert falling["area_under_degradation"] == pytest.approx((gaps[0] / 2 + gaps[1] + gaps[2] / 2) / 2)
    assert falling["slope_high"] < -0.5 and level["slope_low"] < 0 < level["slope_high"]
    assert 0 < falling["crossing"] < 0.5 and np.isnan(level["crossing"])
    assert only(analysis.interactions, source_a="a")["low"] > 0.5
    lean = [only(analysis.leans, source="a", p_art=p)["lean"] for p in (0.5, 1)]
    assert falling["area_under_lean"] == pytest.approx((lean[0] + lean[1] / 2) / 2)
    assert only(analysis.interactions, source_a="a")["p_adjusted"] < 0.01


def test_a_curve_is_of_the_folds_that_have_every_p_art(study: StudyResults) -> None:
    of_a = study.cells["source"] == "a"
    lacking = select(study, of_a & ~((study.cells["p_art"] == 0.5) & (study.cells["fold"] == 4)))
    analysis, expected = (
        analyse(one, PLAN) for one in (lacking, select(study, of_a & (study.cells["fold"] < 4)))
    )
    for name in ("slope", "area_under_degradation"):
        assert analysis.curves[name].tolist() == pytest.approx(expected.curves[name].tolist())
    assert any("4 of 5 folds and seeds of a have every p_art" in note for note in analysis.notes)


def test_weights_of_curves_are_the_textbooks() -> None:
    positions = np.array([0.0, 0.1, 0.2, 0.5, 0.8, 1.0])
    heights = np.random.default_rng(0).random(6)
    assert trapezoid_weights(positions) @ heights == pytest.approx(np.trapezoid(heights, positions))
    assert slope_weights(positions) @ heights == pytest.approx(np.polyfit(positions, heights, 1)[0])
    assert crossing(np.array([0, 0.5, 1]), np.array([0.9, 0.6, 0.2])) == pytest.approx(0.5 + 0.5 * 0.1 / 0.4)
    assert crossing(np.array([0, 1]), np.array([0.4, 0.2])) == 0
    assert np.isnan(crossing(np.array([0, 1]), np.array([0.9, 0.5])))


def test_subgroups_divide_the_cases_and_the_lowest_is_the_worst(
    study: StudyResults, analysis: Analysis
) -> None:
    rows = analysis.subgroups
    rows = rows[(rows["source"] == "a") & (rows["p_art"] == 1) & (rows["environment"] == "ood")]
    cases = study.predictions.drop_duplicates("case_id")
    assert dict(zip(rows["value"], rows["cases"], strict=True)) == cases["sex"].value_counts().to_dict()
    assert rows["positives"].sum() == (cases["label"] == 1).sum()
    # Drawn alike, the groups are not shown to differ, and then none of them is the worst.
    assert (rows["p_heterogeneity"] > 0.05).all() and not rows["worst"].any()
    assert ((rows["low"] < rows["auc"]) & (rows["auc"] < rows["high"])).all()


def test_an_effect_in_women_alone_is_found_in_their_row() -> None:
    study = draw_study({"a": 3.0}, p_arts=(1.0,))
    table = study.predictions
    men = table["sex"] == "M"
    odds = logit(table["score_clean"]) + 0.1 * np.random.default_rng(0).normal(size=len(table))
    table.loc[men, "score_confounded"] = expit(odds)[men]
    rows = analyse(study, replace(PLAN, subgroups=("sex",))).subgroups
    for name in ("iid_minus_ood", "effect"):
        of_metric = rows[rows["environment"] == name].set_index("value")
        assert abs(of_metric.at["M", "auc"]) < 0.05 and of_metric.at["F", "low"] > 0.3
        assert of_metric["worst"].to_dict() == {"F": True, "M": False}
        assert (of_metric["p_heterogeneity"] < 0.001).all()


def test_heterogeneity_is_cochrans_q() -> None:
    values, errors = np.array([0.7, 0.8, 0.75]), np.array([0.05, 0.04, 0.1])
    weights = errors**-2
    q = (weights * (values - (weights @ values) / weights.sum()) ** 2).sum()
    assert heterogeneity(list(zip(values, errors, strict=True))) == pytest.approx(chi2.sf(q, 2))
    assert np.isnan(heterogeneity([(0.7, 0.05)]))


def test_numbers_are_cut_into_three_bands() -> None:
    study = draw_study({"a": 0.0}, p_arts=(0.0,), **SMALL)
    codes = pd.factorize(study.predictions["case_id"])[0]
    study = replace(study, predictions=study.predictions.assign(age=5.0 + codes % 60))
    rows = analyse(study, replace(PLAN, subgroups=("age",))).subgroups
    rows = rows[rows["environment"] == "clean"]
    assert rows["cases"].sum() == 180 and rows["cases"].between(54, 66).all()
    assert rows["value"].iloc[0].startswith("5 to "), "the youngest come first"
    assert not rows["value"].str.contains(".", regex=False).any(), "bands end at values that occur"


def test_a_threshold_is_fixed_on_validation_cases_confounded_as_the_training_is() -> None:
    study = draw_study({"a": 3.0}, p_arts=(1.0,), **SMALL)
    tables = [table for _, table in study.validation.groupby("cell")]
    expected = [
        fix_threshold(table["label"].to_numpy(), environment_scores(table, "iid")) for table in tables
    ]
    clean = [fix_threshold(table["label"].to_numpy(), table["score_clean"].to_numpy()) for table in tables]
    rows = analyse(study, PLAN).environments
    assert rows["threshold"].tolist() == pytest.approx([np.mean(expected)] * 4)
    assert np.mean(clean) != pytest.approx(np.mean(expected))


def test_thresholds_come_from_the_validation_cases_alone() -> None:
    """Test scores that are all higher by a constant change decisions and not the threshold."""
    study = draw_study({"a": 0.0}, p_arts=(0.0,), **SMALL)
    raised = study.predictions.copy()
    for name in ("score_clean", "score_confounded"):
        raised[name] = 0.5 + raised[name] / 2
    before, after = (
        only(analyse(replace(study, predictions=table), PLAN).environments, environment="clean")
        for table in (study.predictions, raised)
    )
    assert after["threshold"] == before["threshold"]
    assert after["sensitivity"] > before["sensitivity"] and after["specificity"] < before["specificity"]
    without = analyse(replace(study, validation=pd.DataFrame()), PLAN)
    assert without.environments[["threshold", "sensitivity", "specificity"]].isna().all(axis=None)
    assert any("no threshold" in note for note in without.notes)


def test_an_analysis_is_reproducible_and_does_not_depend_on_the_order_of_runs() -> None:
    study = draw_study({"a": 1.0, "b": 0.5}, **SMALL)
    turned = replace(study, predictions=study.predictions[::-1])
    first, second = analyse(study, PLAN), analyse(turned, PLAN)
    for name in TABLES:
        pd.testing.assert_frame_equal(getattr(first, name), getattr(second, name))
    other = analyse(study, replace(PLAN, seed=1))
    assert not first.contrasts["low"].equals(other.contrasts["low"])
    assert first.contrasts["difference"].equals(other.contrasts["difference"])


def test_seeds_are_trainings_and_no_further_images() -> None:
    """Copies of a cross-validation under other seeds, and of what it predicted, leave the images' error."""
    study = draw_study({"a": 1.0, "b": 0.0}, p_arts=(1.0,))
    copies = [study.predictions.assign(cell=study.predictions["cell"] + 10 * copy) for copy in range(4)]
    cells = pd.concat([study.cells.assign(seed=copy) for copy in range(4)], ignore_index=True)
    repeated = StudyResults(cells, pd.concat(copies, ignore_index=True))
    once, many = (only(analyse(one, PLAN).contrasts, metric="clean_auc") for one in (study, repeated))
    assert (once["trainings"], many["trainings"]) == (5, 20)
    assert many["difference"] == pytest.approx(once["difference"])
    assert many["standard_error"] > 0.75 * once["standard_error"]


def sampled_study() -> StudyResults:
    """Two sources, three trainings of each, one test set: women positive i.i.d., men o.o.d."""
    stream = np.random.default_rng(0)
    cases = 120
    label, carries = np.tile([1, 0, 1, 0], 30), np.tile([True, False, False, True], 30)
    environment = np.where(label == carries, "iid", "ood")
    rows, cells = [], []
    for source, fold in [(source, fold) for source in "ab" for fold in range(3)]:
        lean = 3.0 if source == "a" else 0.0
        logits = label + lean * carries + stream.normal(size=cases)
        score = 1 / (1 + np.exp(-logits))
        table = {"case_id": np.arange(cases).astype(str), "patient_id": np.arange(cases).astype(str)}
        table |= {"fold": fold, "label": label, "carries": carries, "environment": environment}
        rows.append(
            pd.DataFrame({**table, "score_clean": score, "score_confounded": score, "cell": len(cells)})
        )
        cells.append({"source": source, "fold": fold})
    fixed = dict.fromkeys(AXES, "none") | {"confounder": "sex", "p_art": 1.0, "seed": 0, "num_folds": 3}
    return StudyResults(pd.DataFrame(cells).assign(**fixed), pd.concat(rows, ignore_index=True))


def test_a_sampled_confounder_has_one_test_set_and_no_effect() -> None:
    analysis = analyse(sampled_study(), PLAN)
    assert set(analysis.environments["environment"]) == {"clean", "iid", "ood"}
    assert analysis.gaps[["effect", "effect_low", "effect_high"]].isna().all(axis=None)
    assert only(analysis.gaps, source="a")["low"] > 0.3
    row = only(analysis.contrasts, metric="ood_auc")
    assert row["p_value"] < 0.05 and np.isnan(row["p_nadeau_bengio"])
    assert any("all folds test the same patients" in note for note in analysis.notes)
    study = sampled_study()
    (group,) = group_runs(study, PLAN)
    assert group.one_test_set and group.sampled
    areas = [
        environment_auc(table, "clean") for _, table in study.predictions[:360].groupby("cell", sort=False)
    ]
    assert only(analysis.environments, source="a", environment="clean")["auc"] == pytest.approx(
        np.mean(areas)
    )


# What is missing or strange


def test_sources_are_compared_on_the_folds_that_both_have() -> None:
    study = draw_study({"a": 2.0, "b": 0.0}, p_arts=(1.0,))
    lacking = select(study, ~((study.cells["source"] == "b") & (study.cells["fold"] == 4)))
    four = select(study, study.cells["fold"] < 4)
    analysis = analyse(lacking, PLAN)
    row = only(analysis.contrasts, metric="ood_auc")
    assert row["trainings"] == 4
    assert row["difference"] == pytest.approx(
        only(analyse(four, PLAN).contrasts, metric="ood_auc")["difference"]
    )
    assert any("have 4 folds and seeds in common (5 and 4 were run)" in note for note in analysis.notes)


def test_one_source_one_fold_and_one_class_are_noted_and_break_nothing() -> None:
    study = draw_study({"a": 1.0}, p_arts=(1.0,))
    alone = analyse(study, PLAN)
    assert alone.contrasts.empty and alone.interactions.empty and "p_adjusted" in alone.contrasts
    assert any("a is the only source" in note for note in alone.notes)
    assert any("primary comparison (ood_auc at p_art 1" in note for note in alone.notes)
    fold = analyse(select(study, study.cells["fold"] == 0), PLAN)
    assert any("fewer than 3 training runs" in note for note in fold.notes)
    row = only(fold.environments, environment="ood")
    assert row["auc_low"] < row["auc"] < row["auc_high"]
    negative = study.predictions[(study.predictions["fold"] > 0) | (study.predictions["label"] == 0)]
    analysis = analyse(replace(study, predictions=negative), PLAN)
    assert any("1 runs have test cases of one class only" in note for note in analysis.notes)
    rest = study.predictions[study.predictions["fold"] > 0]
    areas = [environment_auc(table, "ood") for _, table in rest.groupby("cell")]
    assert only(analysis.environments, environment="ood")["auc"] == pytest.approx(np.mean(areas))


def test_a_network_that_is_always_right_or_says_the_same_always_has_honest_intervals() -> None:
    study = draw_study({"a": 0.0, "b": 0.0}, p_arts=(1.0,), **SMALL)
    table = study.predictions.copy()
    right = table["cell"].isin(study.cells.index[study.cells["source"] == "a"])
    for name in ("score_clean", "score_confounded"):
        table[name] = np.where(right, 0.1 + 0.8 * table["label"], 0.5)
    analysis = analyse(replace(study, predictions=table), PLAN)
    perfect = only(analysis.environments, source="a", environment="ood")
    assert (perfect["auc"], perfect["auc_high"]) == (1, 1) and 0.9 < perfect["auc_low"] < 1
    assert np.isnan(perfect["calibration_slope"])
    assert only(analysis.environments, source="b", environment="ood")["auc"] == 0.5
    row = only(analysis.contrasts, metric="ood_auc")
    assert row["difference"] == 0.5 and row["standard_error"] > 0 and row["p_value"] < 0.001


def test_a_declared_comparison_that_was_not_run_is_noted() -> None:
    study = draw_study({"a": 1.0, "b": 0.0}, p_arts=(0.5,), **SMALL)
    plan = replace(PLAN, confounder="noise", sources=("a", "c"), subgroups=("site",))
    notes = analyse(study, plan).notes
    assert any(
        "primary comparison (ood_auc at p_art 1, noise) is not in these results" in note for note in notes
    )
    assert any("not in these results: source c" in note for note in notes)
    assert any("not in the case table: subgroups by site" in note for note in notes)


def test_runs_that_are_no_repetitions_are_refused_in_one_line() -> None:
    study = draw_study({"a": 1.0}, p_arts=(1.0,), **SMALL)
    twice = pd.concat([study.cells, study.cells.iloc[:1]], ignore_index=True)
    tables = pd.concat([study.predictions, study.predictions[study.predictions["cell"] == 0].assign(cell=3)])
    with pytest.raises(InputError, match="are the same cell"):
        analyse(StudyResults(twice, tables), PLAN)
    differing = study.cells.assign(image_size=[160, 160, 320])
    differing.attrs["settings"] = [*study.cells.columns, "image_size"]
    with pytest.raises(InputError, match=r"runs of a differ in image_size \(160, 320\)"):
        analyse(replace(study, cells=differing), PLAN)
    broken = study.predictions.assign(score_clean=np.nan)
    with pytest.raises(InputError, match="a score that is no number"):
        analyse(replace(study, predictions=broken), PLAN)


def test_runs_of_another_confounder_or_control_are_never_averaged() -> None:
    study = draw_study({"a": 1.0, "b": 0.0}, p_arts=(1.0,), confounders=("tag", "noise"), **SMALL)
    noise = study.cells["confounder"] == "noise"
    control = study.cells.assign(control=np.where(noise, "independent_confounder", "none"))
    analysis = analyse(replace(study, cells=control), PLAN)
    assert len(analysis.gaps) == 4
    assert analysis.contrasts.groupby("control")["family"].agg(set).to_dict() == {
        "independent_confounder": {"control"},
        "none": {"primary", "secondary"},
    }
