"""What was learnt: the loss under reversal against that at p_art 0, paired, never of what knows nothing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.special import expit, logit
from synthetic_study import draw_study

from srcmatters.evaluation import AnalysisPlan, Mixture, analyse, environment_auc
from srcmatters.evaluation.leans import ignorance, with_not_excluded
from srcmatters.evaluation.resampled_statistics import resampled_superiority
from srcmatters.evaluation.resampling import resample_patients
from srcmatters.evaluation.verdicts import Outcome, verdicts
from srcmatters.runs.finished_runs import StudyResults

PLAN = AnalysisPlan(replicates=300, subgroups=())
SMALL = {"folds": 3, "cases": 60}


def reacting(effect: float) -> StudyResults:
    """A confounder that moves every score by a constant, at p_art 0 as at 1: features react,
    nothing is learnt."""
    study = draw_study({"a": 0.0, "b": 0.0}, training_spread=0.1)
    table = study.predictions
    return replace(
        study, predictions=table.assign(score_confounded=expit(logit(table["score_clean"]) + effect))
    )


@pytest.mark.parametrize("effect", [-1.0, 1.0])
def test_a_reaction_that_nobody_taught_is_no_lean(effect: float) -> None:
    analysis = analyse(reacting(effect), PLAN)
    gaps = analysis.gaps[analysis.gaps["p_art"] == 1]
    assert ((gaps["low"] > 0.1) if effect > 0 else (gaps["high"] < 0)).all(), "there is a gap"
    assert (analysis.leans["lean"].abs() < 0.05).all()
    assert not any(one.outcome is Outcome.LEANS for one in verdicts(analysis))


def test_the_lean_is_the_difference_of_the_gaps_paired_by_fold() -> None:
    study = draw_study({"a": 3.0, "b": 1.0}, p_arts=(0.0, 0.5, 1.0))
    analysis = analyse(study, PLAN)
    tables = dict(iter(study.predictions.groupby("cell")))
    for row in analysis.leans.itertuples():
        losses = {0.0: [], row.p_art: []}
        for p_art, values in losses.items():
            cells = study.cells[(study.cells["source"] == row.source) & (study.cells["p_art"] == p_art)]
            for cell in cells.index:
                iid = environment_auc(tables[cell], Mixture(row.p_art, 0.0))
                values.append(iid - environment_auc(tables[cell], "ood"))
        assert row.lean == pytest.approx(np.mean(losses[row.p_art]) - np.mean(losses[0.0]))
        assert row.metric == "learned_lean"
    contrast = analysis.contrasts[
        (analysis.contrasts["metric"] == "learned_lean") & (analysis.contrasts["p_art"] == 1)
    ]
    leans = analysis.leans[analysis.leans["p_art"] == 1].set_index("source")["lean"]
    assert contrast["difference"].item() == pytest.approx(leans["a"] - leans["b"])
    assert contrast["family"].item() == "primary" and contrast["superiority_difference"].item() > 0
    assert not (analysis.contrasts["metric"].eq("learned_lean") & analysis.contrasts["p_art"].eq(0)).any()


def test_without_p_art_0_the_loss_is_told_and_said_to_be_partly_unlearnt() -> None:
    analysis = analyse(draw_study({"a": 3.0}, p_arts=(1.0,)), PLAN)
    assert analysis.leans["metric"].tolist() == ["iid_minus_ood_auc"]
    (verdict,) = verdicts(analysis)
    assert verdict.outcome is Outcome.LEANS and "as there is no run at p_art 0" in verdict.text


def test_a_source_further_below_the_best_than_the_margin_is_not_ranked() -> None:
    known = {"a": (0.83, 0.75), "b": (0.77, 0.68), "c": (0.79, 0.7), "d": (0.7, 0.55)}
    rows = [
        {"source": source, "environment": "clean", "p_art": 0.0, "auc": auc, "auc_low": low}
        for source, (auc, low) in known.items()
    ]
    assert ignorance(pd.DataFrame(rows), 0.05) == {
        "b": "has a clean AUC of .77 at p_art 0, more than .05 below the best, .83",
        "d": "is not shown to know the target",
    }


def test_a_source_that_knows_nothing_is_not_ranked() -> None:
    study = draw_study({"a": 0.0, "b": 2.0}, separation={"a": 0.0, "b": 2.0})
    all_verdicts = verdicts(analyse(study, PLAN))
    outcomes = {(one.kind, one.sources): one for one in all_verdicts}
    assert outcomes["lean", ("a",)].outcome is Outcome.NOT_RANKED
    assert outcomes["lean", ("b",)].outcome is Outcome.LEANS
    compared = outcomes["comparison", ("a", "b")]
    assert compared.outcome is Outcome.NOT_RANKED and compared.reason == "a is not shown to know the target"


def test_the_one_that_leans_more_is_named_first() -> None:
    all_verdicts = verdicts(analyse(draw_study({"a": 0.3, "b": 2.5}, training_spread=0.1), PLAN))
    (compared,) = (one for one in all_verdicts if one.kind == "comparison")
    assert compared.outcome is Outcome.LEANS and compared.sources == ("b", "a")
    assert 0 < compared.low < compared.value < compared.high
    assert "b: leans on a letter in the corner more than a, by" in compared.text


def test_superiority_is_a_count_over_other_cases() -> None:
    stream = np.random.default_rng(0)
    cases = 30
    table = pd.DataFrame(
        {
            "patient_id": [f"p{case // 2}" for case in range(cases)],
            "label": np.arange(cases) % 3 % 2,
            "score_clean": np.round(stream.random(cases), 1),
            "score_confounded": np.round(stream.random(cases), 1),
        }
    )
    wins = []
    for i in range(cases):
        for j in range(cases):
            if i != j and table["label"][i] == table["label"][j]:
                one, other = table["score_confounded"][i], table["score_clean"][j]
                wins.append((one > other) + 0.5 * (one == other))
    weights = resample_patients(table["patient_id"], 20)
    superiority = resampled_superiority(table, weights)
    assert superiority.value == pytest.approx(np.mean(wins))
    squeezed = table.assign(**{name: table[name] ** 5 for name in ("score_clean", "score_confounded")})
    np.testing.assert_allclose(resampled_superiority(squeezed, weights).replicates, superiority.replicates)
    nothing = table.assign(score_confounded=table["score_clean"])
    assert resampled_superiority(nothing, weights).value == pytest.approx(0.5)


def test_decisions_that_flip_are_counted_at_the_threshold_of_the_validation_cases() -> None:
    study = draw_study({"a": 50.0, "b": 0.0}, p_arts=(1.0,), **SMALL)
    analysis = analyse(study, PLAN)
    flips = analysis.gaps.set_index("source")
    row = analysis.environments[
        (analysis.environments["source"] == "a") & (analysis.environments["environment"] == "clean")
    ]
    called = row["sensitivity"].item(), 1 - row["specificity"].item()
    assert flips.at["b", "flips"] == 0
    assert flips.at["a", "flips"] == pytest.approx(1 - np.mean(called), abs=0.03), "all that were negative"
    assert flips.at["a", "flips_low"] < flips.at["a", "flips"] < flips.at["a", "flips_high"]


def test_sensitivity_and_specificity_have_intervals_that_shrink_with_the_cases() -> None:
    few, many = (
        analyse(draw_study({"a": 1.0}, folds=3, cases=cases, p_arts=(0.0,)), PLAN).environments
        for cases in (40, 1000)
    )
    for name in ("sensitivity", "specificity", "brier"):
        width = [(rows[f"{name}_high"] - rows[f"{name}_low"]).mean() for rows in (few, many)]
        assert 0 < width[1] < width[0]
        assert ((few[f"{name}_low"] <= few[name]) & (few[name] <= few[f"{name}_high"])).all()


def test_leans_are_corrected_over_sources_and_confounders() -> None:
    study = draw_study({"a": 1.0, "b": 1.0}, confounders=("tag", "noise"), p_arts=(0.0, 0.5, 1.0), **SMALL)
    leans = analyse(study, PLAN).leans
    assert leans["family"].value_counts().to_dict() == {"declared": 4, "other": 4}
    for _, family in leans.groupby("family"):
        smallest = family.sort_values("p_beyond").iloc[0]
        assert smallest["p_beyond_adjusted"] == pytest.approx(min(1.0, 4 * smallest["p_beyond"]))


def test_refitted_heads_take_the_place_of_the_bootstrap() -> None:
    """At the screen depth the spread of the refits is the error: patients who are trained on are in it."""
    study = draw_study({"a": 1.0, "b": 1.0}, **SMALL)
    stream = np.random.default_rng(0)
    names = ("clean_auc", "iid_auc", "ood_auc", "confounded_auc", "aligned_auc")
    tables = []
    for cell in study.cells.index:
        drawn = {name: 0.7 + 0.05 * stream.normal(size=50) for name in names}
        tables.append(pd.DataFrame(drawn).assign(refit=np.arange(50.0), cell=cell))
    analysis = analyse(replace(study, refits=pd.concat(tables)), PLAN)
    assert analysis.leans["training_cohort"].all() and analysis.leans["of_folds"].isna().all()
    # Four independent AUCs of standard deviation .05 in each of three folds.
    assert analysis.leans["of_patients"].mean() == pytest.approx(0.05 * 2 / np.sqrt(3), rel=0.25)
    assert all("For this training cohort" not in one.text for one in verdicts(analysis))
    partly = analyse(replace(study, refits=pd.concat(tables[1:])), PLAN)
    assert not partly.leans["training_cohort"].any(), "unpaired refits are not used"
    leans = [one for one in verdicts(partly) if one.kind == "lean" and not one.reason]
    assert leans and all("For this training cohort" in one.text for one in leans)


def test_what_is_not_excluded_holds_for_all_leans_of_a_study_together() -> None:
    """Twelve leans a study: their own intervals' ends are exceeded somewhere in a quarter of the studies."""
    rng, studies, leans, dof = np.random.default_rng(0), 400, 12, 6
    exceeded = {"high": 0, "not_excluded": 0}
    for _ in range(studies):
        error = 0.04 * np.sqrt(rng.chisquare(dof, leans) / dof)
        lean = rng.normal(0.1, 0.04, leans)
        rows = pd.DataFrame({"lean": lean, "standard_error": error})
        rows = rows.assign(degrees_of_freedom=dof, of_seeds=0.0, family="declared")
        rows["high"] = lean + stats.t.ppf(0.975, dof) * error
        judged = with_not_excluded(rows, 0.95)
        for name in exceeded:
            exceeded[name] += bool((judged[name] < 0.1).any())
    assert exceeded["high"] / studies > 0.15
    # Bonferroni's level, and three standard errors of 400 studies.
    assert exceeded["not_excluded"] / studies < 0.05 + 3 * np.sqrt(0.05 * 0.95 / studies)


def test_a_single_lean_keeps_its_own_interval() -> None:
    row = {"lean": [0.1], "high": [0.2], "standard_error": [0.05], "degrees_of_freedom": [1e9]}
    row |= {"family": ["a"], "of_seeds": [float("nan")]}
    assert with_not_excluded(pd.DataFrame(row), 0.95)["not_excluded"].tolist() == [0.2]


@pytest.mark.parametrize(
    ("of_seeds", "freedom", "told"), [(0.04, 9, False), (0.04, 39, True), (0.02, 9, True)]
)
def test_few_seeds_that_differ_do_not_tell_how_far_others_may_go(
    of_seeds: float, freedom: float, told: bool
) -> None:
    row = {"lean": [0.1], "high": [0.2], "standard_error": [0.05], "degrees_of_freedom": [freedom]}
    judged = with_not_excluded(pd.DataFrame(row | {"family": ["a"], "of_seeds": [of_seeds]}), 0.95)
    assert judged["not_excluded"].notna().tolist() == [told]
