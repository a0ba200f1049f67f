"""From log-odds to probabilities that can be taken at their word, fitted on the validation cases of a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import expit
from sklearn.isotonic import IsotonicRegression

from srcmatters.errors import InputError, did_you_mean

METHODS = ("temperature", "isotonic", "none")
#: Scores that separate the validation cases would want a temperature of 0.
_TEMPERATURES = (0.05, 20.0)


@dataclass(frozen=True)
class ProbabilityCalibration:
    """A monotone map from log-odds to probabilities.

    Args:
        method: "temperature": sigmoid(log-odds / temperature + bias); "isotonic": linear between the points
            (x, y), constant beyond them; "none": the sigmoid alone.
        cases: validation cases that it was fitted on.
        temperature: above 0; above 1 the network was too sure of itself.
        bias: added to the log-odds.
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
        given = np.asarray(log_odds, dtype=np.float64)
        if self.method == "isotonic":
            return np.interp(given, self.x, self.y)
        return expit(given / self.temperature + self.bias)

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
    given = dict(record)
    given |= {name: tuple(float(value) for value in given.get(name, ())) for name in ("x", "y")}
    return ProbabilityCalibration(**given)


def fit_calibration(
    log_odds: np.ndarray, labels: np.ndarray, method: str = "temperature"
) -> ProbabilityCalibration:
    """Fit a calibration on validation cases.

    Temperature scaling has one parameter and keeps the order of the scores, so it is the default for the
    few dozen validation cases of a fold. Isotonic regression fits any monotone curve and wants hundreds; its
    probabilities stay 1 / (cases + 2) away from 0 and 1, which no finite sample shows.

    Args:
        log_odds: (cases,) of label 1.
        labels: (cases,) 0 or 1.
        method: "temperature", "isotonic" or "none".

    Raises:
        InputError: an unknown method, or validation cases of one class only.

    Source: Guo et al. 2017, "On calibration of modern neural networks"; Zadrozny and Elkan 2002.
    """
    if method not in METHODS:
        raise InputError(f"calibration: {method!r} is unknown{did_you_mean(str(method), METHODS)}")
    given, truth = np.asarray(log_odds, dtype=np.float64), np.asarray(labels)
    if method == "none":
        return ProbabilityCalibration("none", len(given))
    if len(np.unique(truth)) < 2:
        raise InputError("calibration: the validation cases are of one class only, expected both; or `none`")
    if method == "temperature":
        return ProbabilityCalibration("temperature", len(given), _temperature(given, truth))
    margin = 1 / (len(given) + 2)
    fitted = IsotonicRegression(y_min=margin, y_max=1 - margin, out_of_bounds="clip").fit(given, truth)
    x, y = (
        tuple(float(value) for value in values) for values in (fitted.X_thresholds_, fitted.y_thresholds_)
    )
    return ProbabilityCalibration("isotonic", len(given), x=x, y=y)


def _temperature(log_odds: np.ndarray, labels: np.ndarray) -> float:
    """Minimises the log loss."""
    signed = np.where(labels == 1, log_odds, -log_odds)

    def loss(logarithm: float) -> float:
        return float(np.logaddexp(0, -signed / np.exp(logarithm)).mean())

    low, high = np.log(_TEMPERATURES)
    found = minimize_scalar(loss, bounds=(low, high), method="bounded", options={"xatol": 1e-6})
    return float(np.exp(found.x))
