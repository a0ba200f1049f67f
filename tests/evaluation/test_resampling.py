"""Resampled AUCs and DeLong's variance: the laws they obey, and brute force on small tables."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from srcmatters.evaluation.fold_tests import delong_p_value
from srcmatters.evaluation.resampling import (
    PatientWeights,
    Ranking,
    auc,
    auc_influence,
    replicate_auc,
    resample_patients,
)


def drawn(cases: int = 60, per_patient: int = 1, seed: int = 0) -> Ranking:
    stream = np.random.default_rng(seed)
    labels = stream.integers(0, 2, cases)
    scores = np.round(labels + stream.normal(size=cases), 1)  # rounded: there are ties
    return Ranking(labels, scores, np.arange(cases) // per_patient)


def test_every_resample_draws_as_many_patients_as_there_are() -> None:
    weights = resample_patients(np.array(list("abcabd")), 500, seed=1)
    assert weights.counts.shape == (4, 500)
    np.testing.assert_array_equal(weights.counts.sum(axis=0), 4)
    np.testing.assert_allclose(weights.counts.mean(axis=1), 1, atol=0.15)


def test_another_seed_draws_other_patients() -> None:
    one, other = (resample_patients(np.array(list("abcd")), 50, seed=seed) for seed in (3, 4))
    assert not np.array_equal(one.counts, other.counts)


def test_the_variance_of_clustered_cases_is_that_of_the_patients() -> None:
    """With G patients of a class, G / (G - 1) times the raw sum of squares (Obuchowski 1997)."""
    ranking = drawn(cases=80, per_patient=4, seed=1)
    ranking = Ranking(ranking.patients % 2, ranking.scores, ranking.patients)  # a patient has one label
    area = auc(ranking)
    raw = np.zeros(20)
    for patient in range(20):
        own = np.flatnonzero(ranking.patients == patient)
        label = ranking.labels[own[0]]
        other = ranking.scores[ranking.labels != label]
        for case in own:
            above = (ranking.scores[case] > other).mean() + 0.5 * (ranking.scores[case] == other).mean()
            raw[patient] += ((above if label else 1 - above) - area) / (ranking.labels == label).sum()
    expected = raw * np.sqrt(10 / 9)
    np.testing.assert_allclose(auc_influence(ranking, 20), expected, atol=1e-12)


@pytest.mark.parametrize("per_patient", [1, 3])
def test_a_replicate_is_the_auc_of_the_cases_drawn(per_patient: int) -> None:
    ranking = drawn(per_patient=per_patient)
    weights = resample_patients(ranking.patients, 40)
    rows = weights.rows(ranking.patients)
    aucs = replicate_auc(Ranking(ranking.labels, ranking.scores, rows), weights)
    for replicate in range(40):
        times = weights.counts[rows, replicate].astype(int)
        labels, scores = np.repeat(ranking.labels, times), np.repeat(ranking.scores, times)
        assert aucs[replicate] == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)


def test_blocks_of_replicates_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    ranking = drawn()
    weights = resample_patients(ranking.patients, 100)
    whole = replicate_auc(ranking, weights)
    monkeypatch.setattr("srcmatters.evaluation.resampling._BLOCK", 7 * 60)
    np.testing.assert_allclose(replicate_auc(ranking, weights), whole, rtol=1e-12)
    np.testing.assert_array_equal(resample_patients(ranking.patients, 100).counts, weights.counts)


def test_within_strata_only_cases_of_one_stratum_are_compared() -> None:
    ranking = Ranking(
        np.array([1, 0, 1, 0]), np.array([2.0, 1.0, 3.0, 4.0]), np.arange(4), np.array([0, 0, 1, 1])
    )
    assert auc(ranking) == 1 / 2
    only = PatientWeights({}, np.array([[1.0], [1.0], [0.0], [1.0]]))
    assert replicate_auc(ranking, only).tolist() == [1.0]


def test_a_resample_without_a_pair_has_no_auc() -> None:
    ranking = Ranking(np.array([1, 0]), np.array([0.2, 0.1]), np.arange(2))
    aucs = replicate_auc(ranking, PatientWeights({}, np.array([[1.0, 2.0], [1.0, 0.0]])))
    assert aucs[0] == 1 and np.isnan(aucs[1])
    assert np.isnan(auc(Ranking(np.array([1, 1]), np.array([0.2, 0.1]), np.arange(2))))


def brute_force_delong(labels: np.ndarray, first: np.ndarray, second: np.ndarray) -> float:
    """Variance of the difference of two AUCs, term by term as DeLong et al. write it."""
    components = []
    for scores in (first, second):
        gap = scores[labels == 1][:, None] - scores[labels == 0][None, :]
        kernel = (gap > 0) + 0.5 * (gap == 0)
        components.append((kernel.mean(axis=1), kernel.mean(axis=0)))
    variance = 0.0
    for side in (0, 1):
        covariance = np.cov(components[0][side], components[1][side])
        variance += (covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]) / len(components[0][side])
    return float(variance)


def test_with_one_image_a_patient_the_influence_is_delongs() -> None:
    one, other = drawn(80), drawn(80, seed=5)
    other = Ranking(one.labels, one.scores + other.scores, one.patients)
    influence = auc_influence(one, 80) - auc_influence(other, 80)
    expected = brute_force_delong(one.labels, one.scores, other.scores)
    assert (influence**2).sum() == pytest.approx(expected, rel=1e-10)
    difference = np.array([auc(one) - auc(other)])
    statistic = abs(difference[0]) / np.sqrt(expected)
    assert delong_p_value(difference, influence[None]) == pytest.approx(2 * norm.sf(statistic))


def test_copies_of_the_images_of_a_patient_are_no_new_evidence() -> None:
    once = drawn(200)
    copied = Ranking(*(np.tile(values, 4) for values in (once.labels, once.scores, once.patients)))
    assert auc(copied) == pytest.approx(auc(once))
    once_variance = (auc_influence(once, 200) ** 2).sum()
    assert (auc_influence(copied, 200) ** 2).sum() == pytest.approx(once_variance, rel=0.02)


@pytest.mark.parametrize("per_patient", [1, 4])
def test_the_analytic_error_is_that_of_the_bootstrap(per_patient: int) -> None:
    ranking = drawn(240, per_patient)
    patients = 240 // per_patient
    weights = PatientWeights({}, resample_patients(np.arange(patients), 4000).counts)
    resampled = replicate_auc(ranking, weights).std()
    assert np.sqrt((auc_influence(ranking, patients) ** 2).sum()) == pytest.approx(resampled, rel=0.08)
