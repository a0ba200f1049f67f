"""Precision, calibration and decisions at a fixed threshold."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit
from sklearn.metrics import brier_score_loss

from srcmatters.errors import InputError
from srcmatters.evaluation.classification import (
    average_precision,
    brier_score,
    calibration,
    decide,
    fix_threshold,
)


def drawn(cases: int = 20_000, slope: float = 1.0, shift: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Labels that follow the log-odds, and scores that are off by a slope and a shift."""
    stream = np.random.default_rng(0)
    truth = stream.normal(size=cases)
    labels = (stream.random(cases) < expit(truth)).astype(int)
    return labels, expit((truth - shift) / slope)


def test_calibrated_scores_have_slope_one_and_intercept_zero() -> None:
    fitted = calibration(*drawn())
    assert (fitted.slope, fitted.intercept) == (pytest.approx(1, abs=0.05), pytest.approx(0, abs=0.05))


def test_the_slope_takes_back_what_made_scores_too_extreme() -> None:
    assert calibration(*drawn(slope=0.4)).slope == pytest.approx(0.4, abs=0.03)
    labels, scores = drawn()
    assert calibration(labels, 1 - scores).slope == pytest.approx(-1, abs=0.05)


def test_the_intercept_says_that_scores_are_too_low() -> None:
    assert calibration(*drawn(shift=0.7)).intercept == pytest.approx(0.7, abs=0.05)


def test_what_does_not_exist_is_unknown() -> None:
    separated = calibration(np.array([0, 0, 1, 1]), np.array([0.1, 0.2, 0.8, 0.9]))
    assert np.isnan(separated.slope) and np.isfinite(separated.intercept)
    assert np.isnan(calibration(np.ones(3, dtype=int), np.array([0.2, 0.5, 0.7])).intercept)
    assert np.isnan(calibration(np.array([0, 1, 1]), np.full(3, 0.4)).slope)
    assert np.isnan(average_precision(np.zeros(3), np.array([0.2, 0.5, 0.7])))


def test_a_share_counts_as_so_many_cases() -> None:
    labels, scores = drawn(300)
    times = np.random.default_rng(1).integers(1, 4, 300)
    copied = np.repeat(labels, times), np.repeat(scores, times)
    for figure in (average_precision, brier_score):
        assert figure(labels, scores, times) == pytest.approx(figure(*copied))
    assert brier_score(labels, scores) == pytest.approx(brier_score_loss(labels, scores))
    weighted, written_out = calibration(labels, scores, times), calibration(*copied)
    assert weighted.slope == pytest.approx(written_out.slope)
    assert weighted.intercept == pytest.approx(written_out.intercept)
    assert decide(labels, scores, 0.5, times) == decide(*copied, 0.5)


def test_youdens_threshold_is_the_best_of_all() -> None:
    labels, scores = drawn(200)
    metrics = decide(labels, scores, fix_threshold(labels, scores))
    best = max(sum(vars(decide(labels, scores, threshold)).values()) for threshold in scores)
    assert metrics.sensitivity + metrics.specificity == pytest.approx(best)


@pytest.mark.parametrize("wished", [0.1, 0.5, 0.9, 1.0])
def test_a_wished_sensitivity_is_reached_at_the_least_cost(wished: float) -> None:
    labels, scores = drawn(200)
    threshold = fix_threshold(labels, scores, wished)
    assert decide(labels, scores, threshold).sensitivity >= wished
    assert decide(labels, scores, np.nextafter(threshold, 1)).sensitivity < wished


def test_a_threshold_is_never_above_every_score() -> None:
    labels = np.array([0, 0, 1, 1])
    assert fix_threshold(labels, np.array([0.9, 0.8, 0.2, 0.1])) <= 0.9  # a score that is turned round
    assert np.isnan(fix_threshold(np.ones(4), labels.astype(float)))
    assert np.isnan(decide(labels, labels.astype(float), float("nan")).sensitivity)


@pytest.mark.parametrize("wished", [0.0, -1.0, 1.1])
def test_an_impossible_sensitivity_is_refused(wished: float) -> None:
    with pytest.raises(InputError, match=r"sensitivity: got .*, expected a share"):
        fix_threshold(np.array([0, 1]), np.array([0.1, 0.2]), wished)


def test_of_equal_youden_thresholds_the_highest_is_taken_whatever_the_rounding() -> None:
    labels = np.array([1, 0, 1, 1, 0, 1, 0, 0, 0, 1])
    scores = np.linspace(0.95, 0.05, 10)  # .6 - .2 at the fourth, .8 - .4 at the sixth
    assert fix_threshold(labels, scores) == scores[3]
