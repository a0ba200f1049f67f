"""From log-odds to probabilities that can be taken at their word, fitted on the validation cases of a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import brentq, minimize_scalar
from scipy.special import expit
from sklearn.isotonic import IsotonicRegression

from srcmatters.errors import InputError, did_you_mean

METHODS = ("temperature", "isotonic", "none")
_TEMPERATURES = (0.05, 20.0)
#: Standard deviation of the logarithm of the temperature before any case was seen. Scores that separate a few
#: validation cases would want a temperature of 0, and certainty.
_SPREAD = 1.0


@dataclass(frozen=True)
class ProbabilityCalibration:
    """A monotone map from log-odds to probabilities.

    Args:
        method: "temperature": sigmoid(log-odds / temperature + bias); "isotonic": linear between the points
            (x, y), constant beyond them; "none": the sigmoid alone.
        cases: validation cases that it was fitted on.
        temperature: above 0; above 1 the network was too sure of itself.
        bias: added to the log-odds: a training that drew both labels equally often has taught the network
            another prevalence than the cases have.
        x: log-odds of the points, rising.
        y: their probabilities, never falling.
    """

    method: str
    cases: int
    temperature: float = 1.0
    bias: float = 0.0
    x: tuple[float, ...] = ()
    y: tuple[float, ...] = ()

    def __call__(self, log_odds: np.ndarray | float) -> np.ndarray:
        """Probabilities of label 1, of the shape of ``log_odds``."""
        values = np.asarray(log_odds, dtype=np.float64)
        if self.method == "isotonic":
            return np.interp(values, self.x, self.y)
        return expit(values / self.temperature + self.bias)

    def record(self) -> dict[str, Any]:
        """What ``clinical.json`` says of it."""
        parameters: dict[str, dict[str, Any]] = {
            "temperature": {"temperature": self.temperature, "bias": self.bias},
            "isotonic": {"x": list(self.x), "y": list(self.y)},
            "none": {},
        }
        return {"method": self.method, **parameters[self.method], "cases": self.cases}


def read_calibration(record: Mapping[str, Any]) -> ProbabilityCalibration:
    """The calibration that :meth:`ProbabilityCalibration.record` wrote; its schema was checked before."""
    fields = dict(record)
    fields |= {name: tuple(float(value) for value in fields.get(name, ())) for name in ("x", "y")}
    return ProbabilityCalibration(**fields)


def fit_calibration(
    log_odds: np.ndarray, labels: np.ndarray, method: str = "temperature"
) -> ProbabilityCalibration:
    """Fit a calibration on validation cases.

    Temperature scaling, here with a bias, has two parameters and keeps the order of the scores, so it is the
    default for the few dozen validation cases of a fold. The mean of its probabilities is the prevalence of
    these cases. Isotonic regression fits any monotone curve and wants hundreds; its probabilities stay
    1 / (cases + 2) away from 0 and 1, which no finite sample shows.

    Args:
        log_odds: (cases,) of label 1.
        labels: (cases,) 0 or 1.
        method: "temperature", "isotonic" or "none".

    Raises:
        InputError: an unknown method, or validation cases of one class only.

    Source: Platt 1999; Guo et al. 2017, "On calibration of modern neural networks"; Zadrozny and Elkan 2002.
    """
    if method not in METHODS:
        raise InputError(f"calibration: {method!r} is unknown{did_you_mean(str(method), METHODS)}")
    scores, truth = np.asarray(log_odds, dtype=np.float64), np.asarray(labels)
    if method == "none":
        return ProbabilityCalibration("none", len(scores))
    if len(np.unique(truth)) < 2:
        raise InputError("calibration: the validation cases are of one class only, expected both; or `none`")
    if method == "temperature":
        return ProbabilityCalibration("temperature", len(scores), *_temperature_and_bias(scores, truth))
    margin = 1 / (len(scores) + 2)
    fitted = IsotonicRegression(y_min=margin, y_max=1 - margin, out_of_bounds="clip").fit(scores, truth)
    x, y = (
        tuple(float(value) for value in values) for values in (fitted.X_thresholds_, fitted.y_thresholds_)
    )
    return ProbabilityCalibration("isotonic", len(scores), x=x, y=y)


def _temperature_and_bias(log_odds: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """Minimises the log loss; the temperature alone is held weakly towards 1."""

    def loss(logarithm: float) -> float:
        scaled = log_odds / np.exp(logarithm)
        shifted = scaled + _bias(scaled, labels)
        surprise = np.logaddexp(0, np.where(labels == 1, -shifted, shifted)).sum()
        return float(surprise + logarithm**2 / (2 * _SPREAD**2))

    low, high = np.log(_TEMPERATURES)
    minimum = minimize_scalar(loss, bounds=(low, high), method="bounded", options={"xatol": 1e-6})
    temperature = float(np.exp(minimum.x))
    return temperature, _bias(log_odds / temperature, labels)


def _bias(log_odds: np.ndarray, labels: np.ndarray) -> float:
    """The best bias is the one with which the mean probability is the share of the positives."""
    share = float(labels.mean())
    beyond = 40.0  # log-odds that no share of real cases reaches

    def excess(bias: float) -> float:
        return float(expit(log_odds + bias).mean()) - share

    return float(brentq(excess, -log_odds.max() - beyond, -log_odds.min() + beyond, xtol=1e-10))
