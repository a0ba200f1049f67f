"""Where a model fails is shown: the worst first, without names."""

from __future__ import annotations

import pandas as pd

from srcmatters.clinical.failures import described, worst_errors


def table(scores: list[float], labels: list[int]) -> pd.DataFrame:
    """A prediction table as far as it matters here."""
    names = [f"case-{number}" for number in range(len(scores))]
    return pd.DataFrame({"case_id": names, "label": labels, "score_clean": scores, "sex": "F", "age": 40})


def test_the_five_worst_of_each_kind_are_listed_worst_first() -> None:
    scores = [0.4, 0.1, 0.3, 0.2, 0.05, 0.45, 0.9, 0.7, 0.95, 0.2]
    errors = worst_errors(table(scores, [1, 1, 1, 1, 1, 1, 1, 0, 0, 0]))
    assert errors["score_clean"].tolist() == [0.05, 0.1, 0.2, 0.3, 0.4, 0.95, 0.7]
    assert errors["kind"].tolist() == ["missed"] * 5 + ["false alarm"] * 2


def test_scores_on_their_right_side_are_no_errors() -> None:
    assert described(worst_errors(table([0.9, 0.1], [1, 0]))) == []


def test_a_description_names_the_groups_but_no_case() -> None:
    rows = described(worst_errors(table([0.1], [1])), ["failures/1.jpg"])
    assert rows == [{"kind": "missed", "score": 0.1, "sex": "F", "image": "failures/1.jpg"}]
