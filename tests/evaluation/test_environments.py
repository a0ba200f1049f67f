"""Environments, AUC and effect: by hand on small tables, and by the laws they obey."""

from __future__ import annotations

import json
from itertools import product

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit

from srcmatters.errors import InputError
from srcmatters.evaluation import (
    Mixture,
    compute_metrics,
    confounder_effect,
    environment_auc,
    environment_scores,
    flattened_auc,
    mixture_entries,
)
from srcmatters.evaluation.environments import in_environment

ENVIRONMENTS = ("iid", "ood", "clean", "confounded")

# Two positives, two negatives. The confounder adds to every score; the first positive carries it i.i.d.
SMALL = pd.DataFrame(
    {
        "case_id": list("abcd"),
        "patient_id": list("pqrs"),
        "fold": 0,
        "label": [1, 1, 0, 0],
        "carries": [True, False, False, False],
        "score_clean": [0.5, 0.3, 0.4, 0.1],
        "score_confounded": [0.9, 0.8, 0.7, 0.2],
    }
)


def drawn(cases: int = 300, seed: int = 0, effect: float = 1.0, per_patient: int = 3) -> pd.DataFrame:
    """A table whose logits have noise of their own, of the patient and, for the effect, of both."""
    stream = np.random.default_rng(seed)
    patient = np.arange(cases) // per_patient
    label = stream.integers(0, 2, cases)
    own, shared = stream.normal(size=cases), stream.normal(size=patient.max() + 1)[patient]
    logits = np.round(label + own, 1)  # rounded: there are ties
    return pd.DataFrame(
        {
            "case_id": [str(case) for case in range(cases)],
            "patient_id": [f"p{number}" for number in patient],
            "fold": 0,
            "label": label,
            "carries": (label == 1) & (stream.random(cases) < 0.5),
            "score_clean": expit(logits),
            "score_confounded": expit(logits + effect + shared + 0.5 * stream.normal(size=cases)),
        }
    )


def pairwise_auc(labels: np.ndarray, scores: np.ndarray) -> float:
    """Share of pairs of a positive and a negative in the right order, ties counting one half."""
    difference = scores[labels == 1][:, None] - scores[labels == 0]
    return float(((difference > 0) + 0.5 * (difference == 0)).mean())


# Environments


@pytest.mark.parametrize(
    ("environment", "scores", "auc"),
    [
        ("clean", [0.5, 0.3, 0.4, 0.1], 3 / 4),
        ("confounded", [0.9, 0.8, 0.7, 0.2], 4 / 4),
        ("iid", [0.9, 0.3, 0.4, 0.1], 3 / 4),
        ("ood", [0.5, 0.3, 0.7, 0.2], 2 / 4),
    ],
)
def test_environments_recombine_the_two_scores(environment: str, scores: list[float], auc: float) -> None:
    assert environment_scores(SMALL, environment).tolist() == scores
    assert environment_auc(SMALL, environment) == auc


def test_out_of_distribution_is_the_reverse_of_full_correlation() -> None:
    """Where every positive carries the confounder, both environments together show each case twice."""
    table = drawn().assign(carries=lambda frame: frame["label"] == 1)
    iid, ood = environment_scores(table, "iid"), environment_scores(table, "ood")
    both = np.sort(np.stack([iid, ood]), axis=0)
    columns = table[["score_clean", "score_confounded"]].to_numpy().T
    np.testing.assert_array_equal(both, np.sort(columns, axis=0))
    np.testing.assert_array_equal(iid[table["label"] == 0], table["score_clean"][table["label"] == 0])


def test_without_a_carrier_iid_is_clean() -> None:
    table = drawn().assign(carries=False)
    np.testing.assert_array_equal(environment_scores(table, "iid"), environment_scores(table, "clean"))


def test_an_unknown_environment_is_refused_with_the_known_ones() -> None:
    with pytest.raises(InputError, match=r"environment: got 'odd', expected one of .*'ood'"):
        environment_scores(SMALL, "odd")


@pytest.mark.parametrize("environment", ENVIRONMENTS)
@pytest.mark.parametrize("seed", range(3))
def test_auc_is_the_share_of_pairs_in_the_right_order(environment: str, seed: int) -> None:
    table = drawn(120, seed)
    scores = environment_scores(table, environment)
    expected = pairwise_auc(table["label"].to_numpy(), scores)
    assert environment_auc(table, environment) == pytest.approx(expected, abs=1e-12)


# Sampled confounders: other cases instead of other images

# Women carry. i.i.d. the positives are women and the negatives men, o.o.d. the reverse.
SAMPLED = pd.DataFrame(
    {
        "case_id": list("abcdef"),
        "patient_id": list("pqrstu"),
        "label": [1, 1, 0, 0, 1, 0],
        "carries": [True, True, False, False, False, True],
        "environment": ["iid", "iid", "iid", "iid+ood", "ood", "ood"],
        "score_clean": [0.9, 0.6, 0.7, 0.2, 0.3, 0.8],
    }
).assign(score_confounded=lambda frame: frame["score_clean"])


@pytest.mark.parametrize(
    ("environment", "rows", "auc"), [("iid", "abcd", 3 / 4), ("ood", "def", 1 / 2), ("clean", "abcdef", None)]
)
def test_a_sampled_environment_is_its_own_cases(environment: str, rows: str, auc: float | None) -> None:
    selected = in_environment(SAMPLED, environment)
    assert "".join(SAMPLED["case_id"][selected]) == rows
    if auc is not None:
        assert environment_auc(SAMPLED, environment) == auc


def test_clean_compares_cases_that_agree_in_a_sampled_confounder() -> None:
    """Women: a, b against f are 1 of 2 pairs; men: e against c, d are 1 of 2; e against f plays no part."""
    assert environment_auc(SAMPLED, "clean") == pytest.approx((1 + 1) / (2 + 2))
    a_man_less = SAMPLED.drop(index=3)  # women 1 of 2 pairs, men 0 of 1
    assert environment_auc(a_man_less, "clean") == pytest.approx(1 / 3)


def test_a_score_that_knows_the_sampled_confounder_alone_is_at_chance_when_clean() -> None:
    table = SAMPLED.assign(score_clean=SAMPLED["carries"].astype(float))
    assert environment_auc(table, "iid") == 1
    assert environment_auc(table, "ood") < 0.5
    assert environment_auc(table, "clean") == 0.5


def test_without_two_cases_to_compare_the_clean_auc_is_unknown() -> None:
    assert np.isnan(environment_auc(SAMPLED[:4], "clean"))


def test_a_sampled_confounder_has_no_confounded_state_and_no_effect() -> None:
    with pytest.raises(InputError, match="no 'confounded' state, expected iid or ood"):
        environment_auc(SAMPLED, "confounded")
    metrics = compute_metrics(SAMPLED, "paper")
    assert "confounder_effect" not in metrics
    assert (metrics["iid_auc"], metrics["ood_auc"], metrics["cases"]) == (3 / 4, 1 / 2, 6)
    assert set(metrics) >= {"clean_auc_flattened", "iid_auc_flattened", "ood_auc_flattened"}


# The publication's number


@pytest.mark.parametrize("positives", [0.1, 0.3, 0.5, 0.8])
def test_a_constant_predictor_scores_the_share_of_the_majority_when_flattened(positives: float) -> None:
    """So .5 is no chance level of it: without looking at an image it reaches .9 where 10 % are positive."""
    label = (np.arange(100) < 100 * positives).astype(int)
    constant = np.full(100, positives)
    table = pd.DataFrame({"label": label, "carries": False, "score_clean": constant})
    table["score_confounded"] = constant
    assert environment_auc(table, "clean") == 0.5
    assert flattened_auc(table, "clean") == pytest.approx(max(positives, 1 - positives))


def test_flattening_counts_every_case_as_a_positive_and_as_a_negative() -> None:
    table = drawn(60)
    label, score = table["label"].to_numpy(), environment_scores(table, "ood")
    columns, one_hot = np.stack([1 - score, score], axis=1), np.stack([1 - label, label], axis=1)
    expected = pairwise_auc(one_hot.ravel(), columns.ravel())
    assert flattened_auc(table, "ood") == pytest.approx(expected, abs=1e-12)


# The effect


def with_shifts(shifts: list[float], patients: str) -> pd.DataFrame:
    clean = np.linspace(-1, 1, len(shifts))
    scores = {"score_clean": expit(clean), "score_confounded": expit(clean + shifts)}
    return pd.DataFrame({"patient_id": list(patients), **scores})


def test_the_effect_of_a_small_table_is_the_one_by_hand() -> None:
    """Shifts 1, 2 | 3 | 6: mean 3, residuals by patient -3, 0, 3, so variance 3/2 * 18 / 16."""
    effect = confounder_effect(with_shifts([1, 2, 3, 6], "aabc"))
    assert effect.mean == pytest.approx(3)
    assert effect.standard_error == pytest.approx(np.sqrt(1.5 * 18 / 16))


def test_with_one_image_a_patient_the_error_is_the_textbooks() -> None:
    shifts = [0.5, -1, 2, 4, 0, 1]
    effect = confounder_effect(with_shifts(shifts, "abcdef"))
    assert effect.standard_error == pytest.approx(np.std(shifts, ddof=1) / np.sqrt(6))


def test_copies_of_an_image_of_the_same_patient_are_no_new_evidence() -> None:
    once = with_shifts([0.5, -1, 2, 4], "abcd")
    effect, copied = confounder_effect(once), confounder_effect(pd.concat([once] * 5))
    assert copied.mean == pytest.approx(effect.mean)
    assert copied.standard_error == pytest.approx(effect.standard_error)


def test_the_error_is_the_spread_over_resampled_patients() -> None:
    table = drawn(600)
    patients = [rows for _, rows in table.groupby("patient_id")]
    stream = np.random.default_rng(1)
    logit = lambda score: np.log(score / (1 - score))  # noqa: E731
    shifts = [(logit(rows["score_confounded"]) - logit(rows["score_clean"])).to_numpy() for rows in patients]
    means = [
        np.concatenate([shifts[index] for index in stream.integers(len(shifts), size=len(shifts))]).mean()
        for _ in range(2000)
    ]
    effect = confounder_effect(table)
    assert effect.mean == pytest.approx(np.concatenate(shifts).mean())
    assert effect.standard_error == pytest.approx(np.std(means), rel=0.08)
    naive = np.concatenate(shifts).std() / np.sqrt(600)
    assert effect.standard_error > 1.2 * naive  # images of a patient go together


def test_no_confounder_has_no_effect_and_no_error() -> None:
    table = drawn().assign(score_confounded=lambda frame: frame["score_clean"])
    effect = confounder_effect(table)
    assert effect.mean == effect.standard_error == 0


def test_the_effect_changes_its_sign_with_the_states() -> None:
    table = drawn()
    swapped = table.rename(columns={"score_clean": "score_confounded", "score_confounded": "score_clean"})
    effect, reverse = confounder_effect(table), confounder_effect(swapped)
    assert reverse.mean == pytest.approx(-effect.mean)
    assert reverse.standard_error == pytest.approx(effect.standard_error)


def test_of_a_single_patient_no_error_is_known() -> None:
    effect = confounder_effect(with_shifts([1, 2, 3], "aaa"))
    assert effect.mean == pytest.approx(2)
    assert np.isnan(effect.standard_error)


def test_scores_of_zero_and_one_have_a_finite_effect() -> None:
    table = SMALL.assign(score_clean=[0.0, 1.0, 0.0, 1.0], score_confounded=[1.0, 0.0, 0.0, 1.0])
    assert np.isfinite(confounder_effect(table).mean)


# The figures of a run


def test_metrics_are_the_figures_under_their_names() -> None:
    table = drawn()
    metrics = compute_metrics(table)
    assert list(metrics) == [
        "clean_auc",
        "iid_auc",
        "ood_auc",
        "iid_minus_ood_auc",
        "confounder_effect",
        "confounder_effect_standard_error",
        "cases",
        "positives",
        "patients",
    ]
    for environment in ("clean", "iid", "ood"):
        assert metrics[f"{environment}_auc"] == environment_auc(table, environment)
    assert metrics["iid_minus_ood_auc"] == pytest.approx(metrics["iid_auc"] - metrics["ood_auc"])
    effect = confounder_effect(table)
    assert metrics["confounder_effect"] == effect.mean
    assert metrics["confounder_effect_standard_error"] == effect.standard_error
    assert (metrics["cases"], metrics["patients"]) == (300, 100)
    assert metrics["positives"] == table["label"].sum()


def test_the_papers_protocol_adds_the_papers_numbers() -> None:
    table = drawn()
    corrected, paper = compute_metrics(table), compute_metrics(table, "paper")
    added = {f"{environment}_auc_flattened": environment for environment in ("clean", "iid", "ood")}
    assert set(paper) - set(corrected) == set(added)
    assert {name: paper[name] for name in corrected} == corrected
    for name, environment in added.items():
        assert paper[name] == flattened_auc(table, environment)


def test_metrics_are_plain_numbers_that_json_knows() -> None:
    metrics = compute_metrics(drawn(), "paper")
    assert json.loads(json.dumps(metrics)) == metrics


def test_a_model_that_leans_on_the_confounder_loses_out_of_distribution() -> None:
    metrics = compute_metrics(drawn(effect=3.0))
    assert metrics["iid_auc"] > metrics["clean_auc"] > metrics["ood_auc"]
    assert metrics["confounder_effect"] == pytest.approx(3.0, abs=0.3)


# Mixtures


def test_named_environments_are_mixtures() -> None:
    table = drawn()
    for environment, shares in {"clean": (0, 0), "ood": (0, 1), "confounded": (1, 1)}.items():
        assert environment_auc(table, Mixture(*shares)) == pytest.approx(environment_auc(table, environment))


def test_a_mixture_is_the_mean_over_all_ways_of_choosing_who_carries() -> None:
    table = drawn(7, seed=3)
    share = np.where(table["label"] == 1, 0.3, 0.7)
    mean = 0.0
    for carries in map(np.array, product([False, True], repeat=7)):
        probability = np.where(carries, share, 1 - share).prod()
        mean += probability * environment_auc(table.assign(carries=carries), "iid")
    assert environment_auc(table, Mixture(0.3, 0.7)) == pytest.approx(mean, abs=1e-12)


def test_the_entries_of_a_case_add_up_to_it() -> None:
    entries = mixture_entries(SMALL, Mixture(0.25, 0.5))
    assert entries.groupby("case_id")["share"].sum().tolist() == [1, 1, 1, 1]
    assert entries.loc[(entries["case_id"] == "a") & (entries["score"] == 0.9), "share"].item() == 0.25


def test_a_mixture_of_a_sampled_confounder_or_of_no_share_is_refused() -> None:
    with pytest.raises(InputError, match="sampled confounder cannot be put into a case"):
        environment_auc(SAMPLED, Mixture(0.5, 0.5))
    with pytest.raises(InputError, match=r"mixture, negatives: got 1\.5, expected a share"):
        Mixture(0.5, 1.5)
