"""Calibrated probabilities can be taken at their word and keep the order of the scores."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.special import expit
from sklearn.metrics import log_loss

from srcmatters.errors import InputError
from srcmatters.exported_bundle.calibration import fit_calibration, read_calibration


def _overconfident(cases: int = 4000, factor: float = 3.0) -> tuple[np.ndarray, np.ndarray]:
    """Log-odds that are ``factor`` times too large, and labels drawn from the true ones."""
    stream = np.random.default_rng(0)
    true = stream.normal(0, 1.5, cases)
    return factor * true, (stream.random(cases) < expit(true)).astype(int)


def test_the_temperature_is_what_the_scores_are_too_sure_by() -> None:
    logits, labels = _overconfident(factor=3.0)
    fitted = fit_calibration(logits, labels)
    assert fitted.temperature == pytest.approx(3.0, rel=0.1) and abs(fitted.bias) < 0.2


@pytest.mark.parametrize("method", ["temperature", "isotonic"])
def test_calibrated_probabilities_agree_with_what_happens(method: str) -> None:
    logits, labels = _overconfident()
    fitted = fit_calibration(logits[:2000], labels[:2000], method)
    probability, truth = fitted(logits[2000:]), labels[2000:]
    assert log_loss(truth, probability) < log_loss(truth, expit(logits[2000:])) - 0.1
    for low in np.arange(0, 1, 0.25):
        inside = (probability >= low) & (probability < low + 0.25)
        assert truth[inside].mean() == pytest.approx(probability[inside].mean(), abs=0.06)


@pytest.mark.parametrize("method", ["temperature", "isotonic", "none"])
def test_order_is_kept_and_probabilities_are_probabilities(method: str) -> None:
    logits, labels = _overconfident(60)
    probabilities = fit_calibration(logits, labels, method)(np.linspace(-300, 300, 1001))
    assert (np.diff(probabilities) >= 0).all() and probabilities.min() >= 0 and probabilities.max() <= 1
    assert probabilities[-1] > probabilities[0]


@pytest.mark.parametrize("prevalence", [0.03, 0.9])
def test_a_balanced_training_is_corrected_to_the_prevalence_of_the_cases(prevalence: float) -> None:
    stream = np.random.default_rng(0)
    labels = (stream.random(8000) < prevalence).astype(int)
    # The true log-odds, were both labels equally frequent.
    balanced = stream.normal(2.0 * labels - 1.0, np.sqrt(2.0))
    fitted = fit_calibration(2 * balanced[:4000], labels[:4000])
    shift = np.log(prevalence / (1 - prevalence))
    assert fitted.temperature == pytest.approx(2.0, rel=0.15) and fitted.bias == pytest.approx(shift, abs=0.3)
    assert fitted(2 * balanced[:4000]).mean() == pytest.approx(labels[:4000].mean(), abs=1e-9)
    assert fitted(2 * balanced[4000:]).mean() == pytest.approx(prevalence, abs=0.02)


@pytest.mark.parametrize(
    ("scores", "labels"),
    [
        ([-3.0, 5.0], [0, 1]),
        ([5.0, -3.0], [0, 1]),
        ([36.0, 36.0, 36.0], [0, 0, 1]),
        ([-36.7, -36.0, 36.7], [0, 0, 1]),
        ([0.0, 0.0, 1e-9, 0.0], [0, 1, 1, 1]),
    ],
    ids=["separated", "turned round", "all alike", "saturated", "flat"],
)
def test_few_or_strange_cases_give_a_finite_map_with_their_prevalence(
    scores: list[float], labels: list[int]
) -> None:
    fitted = fit_calibration(np.array(scores), np.array(labels))
    assert 0.05 <= fitted.temperature <= 20 and np.isfinite(fitted.bias)
    probabilities = fitted(np.array(scores))
    assert probabilities.mean() == pytest.approx(np.mean(labels), abs=1e-6)
    json.dumps(fitted.record(), allow_nan=False)


def test_isotonic_regression_never_claims_certainty() -> None:
    fitted = fit_calibration(np.array([-2.0, -1.0, 1.0, 2.0]), np.array([0, 0, 1, 1]), "isotonic")
    np.testing.assert_allclose(fitted(np.array([-9.0, 9.0])), [1 / 6, 5 / 6])


def test_scores_that_separate_four_cases_give_no_certainty() -> None:
    fitted = fit_calibration(np.array([-2.0, -1.0, 1.0, 2.0]), np.array([0, 0, 1, 1]))
    assert fitted.bias == pytest.approx(0, abs=1e-6)
    assert 0.02 < fitted(-1.0) < 0.2 and 0.8 < fitted(1.0) < 0.98


@pytest.mark.parametrize("method", ["temperature", "isotonic", "none"])
def test_what_is_written_is_what_is_read(method: str) -> None:
    logits, labels = _overconfident(100)
    fitted = fit_calibration(logits, labels, method)
    again = read_calibration(json.loads(json.dumps(fitted.record())))
    np.testing.assert_array_equal(again(logits), fitted(logits))
    assert again.cases == 100


def test_one_class_or_an_unknown_method_is_refused() -> None:
    with pytest.raises(InputError, match="one class only"):
        fit_calibration(np.zeros(4), np.ones(4, int))
    with pytest.raises(InputError, match="did you mean 'isotonic'"):
        fit_calibration(np.zeros(4), np.array([0, 1, 0, 1]), "isotonik")
