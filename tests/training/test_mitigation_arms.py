"""Arms against a confounder: the stated objective, a known answer, and nothing that they may not know."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.stats import norm
from sklearn.linear_model import LogisticRegression

from srcmatters.errors import InputError
from srcmatters.training.mitigation.arms import MITIGATIONS, SCREEN_ARMS
from srcmatters.training.mitigation.balanced import group_weights
from srcmatters.training.mitigation.group_dro import worst_shares
from srcmatters.training.mitigation.paired import PENALTY
from srcmatters.training.mitigation.training_cases import TrainingCases

CORE, SHIFT = 1.0, 4.0


def drawn(
    cases: int = 4000, p_art: float = 0.95, p_neg: float = 0.05, features: int = 3, seed: int = 0
) -> TrainingCases:
    """The label moves the first feature by +-CORE, the confounder the second by SHIFT; the rest is noise."""
    stream = np.random.default_rng(seed)
    labels = np.arange(cases) % 2
    clean = stream.normal(size=(cases, features))
    clean[:, 0] += CORE * (2 * labels - 1)
    confounded = clean + SHIFT * (np.arange(features) == 1) + 0.1 * stream.normal(size=clean.shape)
    carries = stream.random(cases) < np.where(labels == 1, p_art, p_neg)
    ids = np.array([f"c{case}" for case in range(cases)])
    return TrainingCases(clean, confounded, labels, carries, np.arange(cases), ids)


def worst_group_accuracy(log_odds: np.ndarray, labels: np.ndarray, carries: np.ndarray) -> float:
    right = (log_odds > 0) == (labels == 1)
    return min(right[(labels == label) & (carries == carry)].mean() for label in (0, 1) for carry in (0, 1))


TEST = drawn(40_000, 0.5, 0.5, seed=9)


def accuracy(head: object) -> float:
    return worst_group_accuracy(head.log_odds(TEST.own), TEST.labels, TEST.carries)  # type: ignore[attr-defined]


def test_group_dro_finds_the_saddle_point_of_an_independent_solver() -> None:
    cases = drawn()
    groups, strength = 2 * cases.labels + cases.carries, 1.0
    signs = 2 * cases.labels - 1

    def group_losses(theta: np.ndarray) -> np.ndarray:
        losses = np.logaddexp(0, -signs * (cases.own @ theta[:3] + theta[3]))
        return np.array([losses[groups == name].mean() for name in range(4)])

    # The epigraph form: the smallest level that no group's loss exceeds.
    bound = {"type": "ineq", "fun": lambda x: x[4] - group_losses(x[:4])}
    start = np.array([0.0, 0, 0, 0, 1])
    penalty = 1 / (2 * strength * len(groups))
    solution = minimize(lambda x: x[4] + penalty * (x[:3] @ x[:3]), start, constraints=[bound], tol=1e-10)
    shares = worst_shares(cases.own, cases.labels, groups, strength)
    model = LogisticRegression(C=strength).fit(cases.own, cases.labels, group_weights(groups, shares))
    theta = np.concatenate([model.coef_[0], model.intercept_])
    assert group_losses(theta).max() == pytest.approx(group_losses(solution.x[:4]).max(), abs=2e-3)
    scores = [TEST.own @ one[:3] + one[3] for one in (theta, solution.x)]
    worst = [worst_group_accuracy(one, TEST.labels, TEST.carries) for one in scores]
    assert worst[0] == pytest.approx(worst[1], abs=0.01)


@pytest.mark.slow
def test_group_dro_and_dfr_reach_the_accuracy_of_who_ignores_the_confounder() -> None:
    best = norm.cdf(CORE)  # of the first feature alone, in every group
    for mitigation in ("groupdro", "dfr"):
        assert accuracy(SCREEN_ARMS[mitigation](drawn())) == pytest.approx(best, abs=0.03)
    assert accuracy(SCREEN_ARMS["none"](drawn())) < best - 0.1


@pytest.mark.slow
def test_dfr_agrees_with_an_independent_refit_on_balanced_groups() -> None:
    cases, stream = drawn(), np.random.default_rng(3)
    groups = 2 * cases.labels + cases.carries
    size, weights = np.bincount(groups).min(), []
    for _ in range(10):
        rows = np.concatenate(
            [stream.permutation(np.flatnonzero(groups == name))[:size] for name in range(4)]
        )
        model = LogisticRegression(C=1.0).fit(cases.own[rows], cases.labels[rows])
        weights.append(np.concatenate([model.coef_[0], model.intercept_]))
    theta = np.mean(weights, axis=0)
    expected = worst_group_accuracy(TEST.own @ theta[:3] + theta[3], TEST.labels, TEST.carries)
    assert accuracy(SCREEN_ARMS["dfr"](cases)) == pytest.approx(expected, abs=0.01)


def test_paired_minimises_the_objective_that_it_states_also_beyond_the_span_of_the_cases() -> None:
    cases = drawn(60, features=100, seed=2)
    head = SCREEN_ARMS["paired"](cases)
    own, free = cases.own, ~cases.carries
    centre, spread, signs = own.mean(0), own.std(0), 2 * cases.labels - 1
    features, changes = (own - centre) / spread, (cases.confounded - cases.clean)[free] / spread

    def objective(theta: np.ndarray) -> float:
        losses = np.logaddexp(0, -signs * (features @ theta[:-1] + theta[-1]))
        squares = (changes @ theta[:-1]) ** 2
        ridge = theta[:-1] @ theta[:-1] / (2 * head.strength * len(signs))
        return float(losses.mean() + PENALTY * squares.mean() + ridge)

    theta = np.append(head.weight * spread, head.bias + head.weight @ centre)
    best = minimize(objective, np.zeros(101), method="BFGS", options={"gtol": 1e-7}).x
    assert objective(theta) == pytest.approx(objective(best), rel=1e-6)
    np.testing.assert_allclose(theta, best, atol=1e-3)


def test_augmentation_is_the_mean_over_random_additions() -> None:
    cases, stream = drawn(400, 0.6, 0.2), np.random.default_rng(0)
    head = SCREEN_ARMS["augment"](cases)
    states = []
    for _ in range(60):
        added = cases.carries | (stream.random(len(cases.labels)) < 0.5)
        states.append(np.where(added[:, None], cases.confounded, cases.clean))
    stacked = np.concatenate(states)
    both = np.concatenate([cases.own, cases.confounded])
    model = LogisticRegression(C=head.strength / 30, tol=1e-8)  # 60 copies in the place of 2
    model.fit((stacked - both.mean(0)) / both.std(0), np.tile(cases.labels, 60))
    np.testing.assert_allclose(head.weight * both.std(0), model.coef_[0], rtol=0.1, atol=0.02)


@pytest.mark.parametrize("mitigation", MITIGATIONS)
def test_no_arm_sees_a_carrier_without_the_confounder(mitigation: str) -> None:
    cases = drawn(200, 0.7, 0.3)
    removed = replace(cases, clean=np.where(cases.carries[:, None], 99.0, cases.clean))
    heads = [SCREEN_ARMS[mitigation](one) for one in (cases, removed)]
    np.testing.assert_array_equal(heads[0].weight, heads[1].weight)


def test_null_arms_leave_the_confounder_where_it_is() -> None:
    effects = {}
    for mitigation in ("none", "balanced", "paired", "balanced_fake", "balanced_shuffled"):
        effects[mitigation] = SHIFT * SCREEN_ARMS[mitigation](drawn(1000)).weight[1]
    for mitigation in ("balanced_fake", "balanced_shuffled"):
        assert effects[mitigation] == pytest.approx(effects["none"], rel=0.25)
    assert max(effects["balanced"], effects["paired"]) < 0.2 * effects["none"]


@pytest.mark.parametrize("mitigation", ["balanced", "groupdro", "dfr", "balanced_shuffled"])
def test_an_empty_group_is_refused_with_what_would_fill_it(mitigation: str) -> None:
    with pytest.raises(InputError, match=r"none of the negatives carry.*expected p_neg between 0 and 1"):
        SCREEN_ARMS[mitigation](drawn(100, 0.9, 0.0))
    with pytest.raises(InputError, match=r"all of the positives carry.*expected p_art between 0 and 1"):
        SCREEN_ARMS[mitigation](drawn(100, 1.0, 0.5))


@pytest.mark.parametrize("mitigation", ["augment", "paired"])
def test_a_sampled_confounder_cannot_be_put_into_images(mitigation: str) -> None:
    with pytest.raises(InputError, match=f"mitigation: {mitigation} puts the confounder into images"):
        SCREEN_ARMS[mitigation](replace(drawn(100), two_states=False))
