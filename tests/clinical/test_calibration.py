"""Calibrated probabilities can be taken at their word and keep the order of the scores."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.special import expit
from sklearn.metrics import log_loss

from srcmatters.clinical.calibration import fit_calibration, read_calibration
from srcmatters.errors import InputError


def _overconfident(cases: int = 4000, factor: float = 3.0) -> tuple[np.ndarray, np.ndarray]:
    """Log-odds that are ``factor`` times too large, and labels drawn from the true ones."""
    stream = np.random.default_rng(0)
    true = stream.normal(0, 1.5, cases)
    return factor * true, (stream.random(cases) < expit(true)).astype(int)


def test_the_temperature_is_what_the_scores_are_too_sure_by() -> None:
    given, labels = _overconfident(factor=3.0)
    assert fit_calibration(given, labels).temperature == pytest.approx(3.0, rel=0.1)


@pytest.mark.parametrize("method", ["temperature", "isotonic"])
def test_calibrated_probabilities_agree_with_what_happens(method: str) -> None:
    given, labels = _overconfident()
    fitted = fit_calibration(given[:2000], labels[:2000], method)
    probability, truth = fitted(given[2000:]), labels[2000:]
    assert log_loss(truth, probability) < log_loss(truth, expit(given[2000:])) - 0.1
    for low in np.arange(0, 1, 0.25):
        inside = (probability >= low) & (probability < low + 0.25)
        assert truth[inside].mean() == pytest.approx(probability[inside].mean(), abs=0.06)


@pytest.mark.parametrize("method", ["temperature", "isotonic", "none"])
def test_order_is_kept_and_probabilities_are_probabilities(method: str) -> None:
    given, labels = _overconfident(60)
    found = fit_calibration(given, labels, method)(np.linspace(-300, 300, 1001))
    assert (np.diff(found) >= 0).all() and found.min() >= 0 and found.max() <= 1
    assert found[-1] > found[0]


def test_isotonic_regression_never_claims_certainty() -> None:
    fitted = fit_calibration(np.array([-2.0, -1.0, 1.0, 2.0]), np.array([0, 0, 1, 1]), "isotonic")
    np.testing.assert_allclose(fitted(np.array([-9.0, 9.0])), [1 / 6, 5 / 6])


def test_scores_that_separate_the_cases_get_a_finite_temperature() -> None:
    fitted = fit_calibration(np.array([-2.0, -1.0, 1.0, 2.0]), np.array([0, 0, 1, 1]))
    assert fitted.temperature == pytest.approx(0.05, rel=0.01)


@pytest.mark.parametrize("method", ["temperature", "isotonic", "none"])
def test_what_is_written_is_what_is_read(method: str) -> None:
    given, labels = _overconfident(100)
    fitted = fit_calibration(given, labels, method)
    again = read_calibration(json.loads(json.dumps(fitted.record())))
    np.testing.assert_array_equal(again(given), fitted(given))
    assert again.cases == 100


def test_one_class_or_an_unknown_method_is_refused() -> None:
    with pytest.raises(InputError, match="one class only"):
        fit_calibration(np.zeros(4), np.ones(4, int))
    with pytest.raises(InputError, match="did you mean 'isotonic'"):
        fit_calibration(np.zeros(4), np.array([0, 1, 0, 1]), "isotonik")
