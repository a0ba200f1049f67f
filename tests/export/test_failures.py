"""Where a model fails is shown: the worst first, without names."""

from __future__ import annotations

import numpy as np
import pandas as pd

from srcmatters.export.model_card.failures import described, worst_errors
from srcmatters.exported_bundle.calibration import ProbabilityCalibration
from srcmatters.runs.prediction_table import log_odds

NONE = ProbabilityCalibration("none", 9)


def table(scores: list[float], labels: list[int]) -> pd.DataFrame:
    """A prediction table as far as it matters here."""
    names = [f"case-{number}" for number in range(len(scores))]
    return pd.DataFrame({"case_id": names, "label": labels, "score_clean": scores, "sex": "F", "age": 40})


def test_the_five_worst_of_each_kind_are_listed_worst_first() -> None:
    scores = [0.4, 0.1, 0.3, 0.2, 0.05, 0.45, 0.9, 0.7, 0.95, 0.2]
    errors = worst_errors(table(scores, [1, 1, 1, 1, 1, 1, 1, 0, 0, 0]), NONE, 0.5)
    assert errors["score_clean"].tolist() == [0.05, 0.1, 0.2, 0.3, 0.4, 0.95, 0.7]
    assert errors["kind"].tolist() == ["missed"] * 5 + ["false alarm"] * 2


def test_errors_are_those_of_the_decision_at_its_threshold_on_calibrated_probabilities() -> None:
    halved = ProbabilityCalibration("temperature", 9, temperature=1.0, bias=-2.0)
    scores = [0.75, 0.6, 0.65, 0.9, 0.99]
    errors = worst_errors(table(scores, [1, 1, 0, 0, 0]), halved, 0.3)
    probabilities = halved(log_odds(pd.Series(scores)))
    assert errors["case_id"].tolist() == ["case-1", "case-0", "case-4", "case-3"], "0.65 is decided rightly"
    np.testing.assert_allclose(errors["probability"], probabilities[[1, 0, 4, 3]])
    assert (errors["probability"][:2] < 0.3).all() and (errors["probability"][2:] >= 0.3).all()


def test_a_case_at_the_threshold_is_called_positive() -> None:
    errors = worst_errors(table([0.5, 0.5], [1, 0]), NONE, float(NONE(0.0)))
    assert errors["kind"].tolist() == ["false alarm"]


def test_cases_that_are_decided_rightly_are_no_errors() -> None:
    assert described(worst_errors(table([0.9, 0.1], [1, 0]), NONE, 0.5)) == []


def test_a_description_names_the_groups_but_no_case() -> None:
    rows = described(worst_errors(table([0.1], [1]), NONE, 0.5), ["failures/1.jpg"])
    assert rows == [{"kind": "missed", "probability": 0.1, "sex": "F", "image": "failures/1.jpg"}]
