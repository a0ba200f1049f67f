"""Sentences: the right words for the right numbers, and one vocabulary of outcomes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pandas as pd
import pytest

from srcmatters.evaluation import Analysis, AnalysisPlan, Outcome
from srcmatters.evaluation.verdicts import outcome_of, outcome_of_interval, verdicts
from srcmatters.numbers import number, p_text

AXES = {
    "target": "nih",
    "network": "resnet50",
    "depth": "finetune",
    "protocol": "corrected",
    "control": "none",
    "confounder": "tag",
    "confounder_args": "{}",
    "p_neg": 0.0,
    "adaptation": "full",
    "train_size": 0,
}
NOTHING = pd.DataFrame()


def analysis(
    lean: tuple[float, float, float] = (0.42, 0.35, 0.49),
    p: tuple[float, float] = (0.001, 0.99),
    clean: tuple[float, float, float] = (0.8, 0.7, 0.9),
    contrast: dict[str, Any] | None = None,
    p_arts: tuple[float, ...] = (0.5, 1.0),
    plan: AnalysisPlan | None = None,
    control: dict[str, Any] | None = None,
    training_cohort: bool = False,
    trainings: int = 5,
    **axes: str,
) -> Analysis:
    """Two sources with the same lean, their contrast, and perhaps a null control."""
    own = {**AXES, **axes}
    sources = ("imagenet", "random")
    cells = [{**own, "source": source, "p_art": p_art} for source in sources for p_art in (0.0, *p_arts)]
    areas = {"clean": clean, "iid": (0.98, 0.9, 1.0), "ood": (0.56, 0.5, 0.6)}
    environments = [
        {**cell, "environment": name, "auc": auc, "auc_low": low, "auc_high": high}
        for cell in cells
        for name, (auc, low, high) in areas.items()
    ]
    row = {
        "lean": lean[0],
        "low": lean[1],
        "high": lean[2],
        "not_excluded": lean[2] + 0.03,
        "metric": "learned_lean",
        "seeds": 5,
    }
    covered = {"training_cohort": training_cohort, "trainings": trainings}
    row |= {"p_beyond_adjusted": p[0], "p_equivalence_adjusted": p[1], **covered}
    leans = [{**cell, **row} for cell in cells if cell["p_art"] > 0]
    row = {"difference": -0.32, "low": -0.44, "high": -0.20, "p_value": 0.001, "p_adjusted": 0.002}
    row |= {"family": "primary", "correction": "holm", "equivalent": False, "p_equivalence_adjusted": 0.9}
    row |= {"detectable_difference": 0.11, "metric": "learned_lean", **covered}
    row |= {"source_a": "imagenet", "source_b": "random", "superiority_difference": -0.1}
    contrasts = [{**own, "p_art": p_art, **row, **(contrast or {})} for p_art in p_arts]
    controls = []
    if control is not None:
        row = {"source": "imagenet", "p_art": 0.5, "metric": "iid_minus_ood_auc", "null": "0"}
        row |= {"value": 0.01, "low": -0.02, "high": 0.04, "p_beyond_adjusted": 1.0}
        row |= {
            "p_equivalence_adjusted": 0.01,
            "permutation_mean": float("nan"),
            "p_permutation": float("nan"),
        }
        controls = [{**own, "control": "shuffled_labels", **row, **control}]
    tables = [pd.DataFrame(rows) for rows in (environments, [], leans, controls, contrasts)]
    return Analysis(plan or AnalysisPlan(), *tables, NOTHING, NOTHING, NOTHING, [])


def texts(study_analysis: Analysis) -> list[str]:
    return [verdict.text for verdict in verdicts(study_analysis)]


@pytest.mark.parametrize(
    ("p_beyond", "p_equivalence", "value", "expected"),
    [
        (0.01, 0.99, 0.2, Outcome.LEANS),
        (0.01, 0.99, -0.2, Outcome.INCONCLUSIVE),
        (1.0, 0.01, 0.02, Outcome.WITHIN_MARGIN),
        (0.06, 0.99, 0.1, Outcome.INCONCLUSIVE),
        (1.0, 0.06, 0.02, Outcome.INCONCLUSIVE),
        (float("nan"), 0.01, 0.02, Outcome.SKIPPED),
    ],
)
def test_an_outcome_is_a_test_against_the_margin(
    p_beyond: float, p_equivalence: float, value: float, expected: Outcome
) -> None:
    assert outcome_of(p_beyond, p_equivalence, value) is expected


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.06, 0.2, Outcome.LEANS),
        (0.01, 0.03, Outcome.WITHIN_MARGIN),
        (-0.1, 0.13, Outcome.INCONCLUSIVE),
        (0.04, 0.13, Outcome.INCONCLUSIVE),
        (-0.2, -0.1, Outcome.INCONCLUSIVE),
        (None, None, Outcome.SKIPPED),
        (float("nan"), 0.1, Outcome.SKIPPED),
    ],
)
def test_an_interval_alone_has_an_outcome_too(
    low: float | None, high: float | None, expected: Outcome
) -> None:
    """A small test set gives no mark for nothing, and a large one none for .02."""
    assert outcome_of_interval(low, high, 0.05) is expected


def test_a_lean_is_told_in_plain_words_with_its_interval_and_levels() -> None:
    assert texts(analysis())[0] == (
        "imagenet: leans on a letter in the corner. Reversing the correlation costs .42 [.35, .49] AUC,"
        " beyond what"
        " the same source loses at p_art 0 (tag, p_art 1). i.i.d. AUC .98, o.o.d. .56. For this training"
        " cohort."
    )


def test_frozen_features_are_called_so_and_refits_need_no_reservation() -> None:
    lean, _, comparison = texts(analysis(depth="screen", training_cohort=True))
    assert lean.startswith("frozen imagenet features: leans on") and "training cohort" not in lean
    assert comparison.startswith(
        "frozen random features: leans on a letter in the corner more than frozen imagenet"
    )
    assert "training cohort" not in comparison


@pytest.mark.parametrize(("trainings", "these"), [(1, "this one training"), (2, "these two trainings")])
def test_one_or_two_trainings_speak_for_themselves_alone(trainings: int, these: str) -> None:
    lean, _, comparison = texts(analysis(trainings=trainings))
    for text in (lean, comparison):
        assert text.endswith(f" For {these} alone; how others would differ is not known.")
    frozen, _, _ = texts(analysis(depth="screen", training_cohort=True, trainings=trainings))
    assert "alone" not in frozen


def test_what_is_not_excluded_is_told() -> None:
    verdict = verdicts(analysis(lean=(0.03, -0.07, 0.13), p=(1.0, 0.3)))[0]
    assert verdict.outcome is Outcome.INCONCLUSIVE and verdict.not_excluded == 0.16
    assert "neither shown nor excluded: .03 [−.07, .13] AUC lost" in verdict.text
    assert "a fall of up to .16 is not excluded" in verdict.text
    seeds_differ = analysis(lean=(0.03, -0.07, 0.13), p=(1.0, 0.3))
    seeds_differ.leans["not_excluded"] = float("nan")
    text = verdicts(seeds_differ)[0].text
    assert "; how far other seeds may go beyond that, 5 seeds do not tell." in text and "excluded:" in text


@pytest.mark.parametrize(("low", "outcome"), [(0.44, Outcome.NOT_RANKED), (0.8, Outcome.WITHIN_MARGIN)])
def test_without_runs_at_p_art_0_chance_is_no_merit_either(low: float, outcome: Outcome) -> None:
    study = analysis(lean=(0.0, -0.03, 0.03), p=(1.0, 0.001), clean=(0.9, low, 0.95))
    environments = study.environments[study.environments["p_art"] > 0]
    verdict = verdicts(replace(study, environments=environments))[0]
    assert verdict.outcome is outcome
    assert ("not shown to know the target (clean AUC at p_art 1 " in verdict.text) == (
        outcome is Outcome.NOT_RANKED
    )


def test_a_small_loss_that_is_shown_is_no_lean() -> None:
    """A good model with many test cases is not marked for .02: it is shown to be within the margin."""
    verdict = verdicts(analysis(lean=(0.02, 0.01, 0.03), p=(1.0, 0.001)))[0]
    assert verdict.outcome is Outcome.WITHIN_MARGIN
    assert "no lean on a letter in the corner beyond the margin: .02 [.01, .03] AUC lost" in verdict.text


def test_a_source_that_knows_nothing_is_not_ranked_and_gets_no_praise() -> None:
    weak = analysis(lean=(0.01, -0.03, 0.05), p=(1.0, 0.01), clean=(0.51, 0.44, 0.58))
    lean, _, comparison = verdicts(weak)
    assert lean.outcome is comparison.outcome is Outcome.NOT_RANKED
    assert "not shown to know the target (clean AUC at p_art 0 .51 [.44, .58])" in lean.text
    assert lean.reason == "is not shown to know the target"
    assert (
        comparison.reason
        == "imagenet is not shown to know the target; random is not shown to know the target"
    )


def test_a_lean_is_a_lean_whatever_is_known() -> None:
    assert verdicts(analysis(clean=(0.51, 0.44, 0.58)))[0].outcome is Outcome.LEANS


def test_who_leans_more_is_told_with_its_corrected_p() -> None:
    verdict = verdicts(analysis())[2]
    assert verdict.text == (
        "random: leans on a letter in the corner more than imagenet, by .32 [.20, .44] AUC (tag, p_art 1;"
        " p = .002"
        " after Holm over 2). For this training cohort."
    )
    assert (verdict.sources, verdict.value, verdict.low, verdict.high) == (
        ("random", "imagenet"),
        0.32,
        0.2,
        0.44,
    )


def test_sources_are_not_ranked_where_auc_and_effect_contradict_each_other() -> None:
    verdict = verdicts(analysis(contrast={"superiority_difference": 0.1}))[2]
    assert verdict.outcome is Outcome.NOT_RANKED and "point to different sources" in verdict.text


def test_another_metric_is_what_one_would_get_and_needs_no_p_art_0() -> None:
    plan = AnalysisPlan(metric="ood_auc")
    text = texts(analysis(plan=plan, contrast={"metric": "ood_auc"}, clean=(0.51, 0.44, 0.58)))[2]
    assert text == (
        "o.o.d. AUC of imagenet is .32 [.20, .44] lower than that of random (tag, p_art 1; p = .002 after"
        " Holm over"
        " 2). For this training cohort."
    )


def test_comparable_is_told_after_an_equivalence_test_only() -> None:
    small = {"difference": 0.01, "low": -0.02, "high": 0.04, "p_value": 0.5, "p_adjusted": 0.6}
    shown = verdicts(analysis(contrast={**small, "equivalent": True, "p_equivalence_adjusted": 0.012}))[2]
    assert shown.outcome is Outcome.WITHIN_MARGIN
    assert (
        "are comparable in learned lean" in shown.text
        and "(equivalence test, p = .01 after Holm)" in shown.text
    )
    not_shown = verdicts(analysis(contrast=small))[2]
    assert not_shown.outcome is Outcome.INCONCLUSIVE
    assert "one of up to .04 is not excluded, and .11 would have been seen with 80 % power" in not_shown.text


def test_a_difference_that_correction_takes_away_is_not_claimed() -> None:
    verdict = verdicts(analysis(contrast={"p_value": 0.03, "p_adjusted": 0.12}))[2]
    assert verdict.outcome is Outcome.INCONCLUSIVE and "p = .12" in verdict.text


def test_a_difference_within_the_margin_is_both() -> None:
    text = texts(analysis(contrast={"equivalent": True}))[2]
    assert "more than" in text and "The difference is within ±.05." in text


def test_what_could_not_be_computed_is_told() -> None:
    unknown = float("nan")
    undecided = verdicts(
        analysis((unknown,) * 3, (unknown,) * 2, contrast={"p_value": unknown, "p_adjusted": unknown})
    )
    assert {one.outcome for one in undecided} == {Outcome.SKIPPED} and all(one.reason for one in undecided)
    assert "is unknown" in undecided[0].text and "could not be compared" in undecided[2].text


def test_the_declared_p_art_is_the_one_spoken_of_and_else_the_highest() -> None:
    assert {verdict.p_art for verdict in verdicts(analysis(plan=AnalysisPlan(p_art=0.5)))} == {0.5}
    assert {verdict.p_art for verdict in verdicts(analysis(plan=AnalysisPlan(p_art=0.2)))} == {1.0}


@pytest.mark.parametrize(
    ("row", "outcome", "words"),
    [
        ({}, Outcome.WITHIN_MARGIN, "holds: within ±.05 (p = .01 after Holm)"),
        ({"p_equivalence_adjusted": 0.2}, Outcome.INCONCLUSIVE, "a deviation of up to .04 is not excluded"),
        (
            {"value": -0.2, "p_beyond_adjusted": 0.001},
            Outcome.LEANS,
            "fails: beyond ±.05 (p = .001 after Holm",
        ),
    ],
)
def test_a_control_is_judged_by_the_margin_in_either_direction(
    row: dict[str, Any], outcome: Outcome, words: str
) -> None:
    verdict = verdicts(analysis(control={"p_equivalence_adjusted": 0.01, **row}))[-1]
    assert (verdict.kind, verdict.outcome) == ("control", outcome) and words in verdict.text


def test_the_mean_under_permuted_labels_stands_beside_a_control() -> None:
    text = texts(analysis(control={"permutation_mean": -0.004, "p_permutation": 0.4}))[-1]
    assert "permuted labels give .00 on average, p = .40" in text


def test_controls_come_last() -> None:
    kinds = [verdict.kind for verdict in verdicts(analysis(control={}))]
    assert kinds == ["lean", "lean", "comparison", "control"]


def test_numbers_have_one_format() -> None:
    values = {0.421: ".42", -0.03: "−.03", 1.0: "1.00", 0.0: ".00", -0.001: ".00"}
    assert [number(value) for value in values] == list(values.values())
    assert [p_text(p) for p in (0.0004, 0.0079, 0.03, 1.0)] == ["p < .001", "p = .008", "p = .03", "p = 1.00"]
    assert p_text(float("nan")) == "p unknown"
