"""The prediction table: what is written is what is read, to the last digit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from srcmatters.errors import InputError
from srcmatters.runs.prediction_table import log_odds, prediction_table, read_predictions

COLUMNS = ["case_id", "patient_id", "fold", "label", "carries", "score_clean", "score_confounded"]


def cases(count: int, **groups: object) -> pd.DataFrame:
    numbers = range(count)
    table = {
        "case_id": [f"{number:03}" for number in numbers],
        "patient_id": [f"{number // 2:03}" for number in numbers],
        "image": [f"/secret/{number}.png" for number in numbers],
        "label": [number % 2 for number in numbers],
        **groups,
        "split": "test",
    }
    return pd.DataFrame(table, index=range(10, 10 + count))  # rows of a bigger table


def predictions(logits: np.ndarray, **groups: object) -> pd.DataFrame:
    carries = np.arange(len(logits)) % 3 == 0
    return prediction_table(cases(len(logits), **groups), 2, carries, logits, logits[::-1])


# Assembling


def test_scores_are_the_probabilities_of_the_logits_of_their_own_case() -> None:
    logits = np.linspace(-5, 5, 9)
    table = predictions(logits)
    np.testing.assert_allclose(table["score_clean"], 1 / (1 + np.exp(-logits)))
    np.testing.assert_allclose(table["score_confounded"], 1 / (1 + np.exp(logits)))
    assert table["case_id"].tolist() == [f"{number:03}" for number in range(9)]
    assert table["label"].tolist() == [number % 2 for number in range(9)]
    assert table["carries"].tolist() == [number % 3 == 0 for number in range(9)]
    assert (table["fold"] == 2).all()
    assert table.index.tolist() == list(range(9))


def test_groups_of_the_case_table_are_kept_and_paths_are_not() -> None:
    table = predictions(np.zeros(4), sex=["F", "M", None, "F"], scanner=list("abcd"))
    assert set(table.columns) == {*COLUMNS, "sex", "scanner"}
    assert table["scanner"].tolist() == list("abcd")
    assert "secret" not in table.to_csv()


def test_a_sampled_confounder_adds_the_environment_of_each_case(tmp_path: Path) -> None:
    environments = np.array(["iid", "ood", "iid+ood"])
    table = prediction_table(cases(3), 0, np.ones(3, bool), np.zeros(3), np.zeros(3), environments)
    table.to_csv(tmp_path / "predictions.csv", index=False)
    assert read_predictions(tmp_path / "predictions.csv")["environment"].tolist() == list(environments)
    assert "environment" not in predictions(np.zeros(3))


def test_certain_predictions_stay_apart() -> None:
    """In single precision everything above 17 would be one score, and an AUC among them a coin's."""
    table = predictions(np.array([17.0, 20.0, 25.0, 30.0, 35.0], dtype=np.float32))
    assert table["score_clean"].is_monotonic_increasing
    assert table["score_clean"].is_unique


def test_log_odds_undo_the_probability() -> None:
    logits = np.linspace(-20, 20, 41)
    np.testing.assert_allclose(log_odds(predictions(logits)["score_clean"]), logits, atol=1e-6)


def test_log_odds_of_certainty_are_finite_and_symmetric() -> None:
    low, high = log_odds(pd.Series([0.0, 1.0]))
    assert 30 < high < 40
    assert low == pytest.approx(-high, abs=0.2)


# Writing and reading


def test_a_table_survives_csv_to_the_last_digit(tmp_path: Path) -> None:
    stream = np.random.default_rng(0)
    table = predictions(stream.normal(scale=8, size=2000), sex=["F", "M"] * 1000)
    table.to_csv(tmp_path / "predictions.csv", index=False)
    again = read_predictions(tmp_path / "predictions.csv")
    pd.testing.assert_frame_equal(again, table, check_exact=True)


def write(folder: Path, **spoilt: object) -> Path:
    table = predictions(np.linspace(-1, 1, 4)).assign(**spoilt)
    table.to_csv(folder / "predictions.csv", index=False)
    return folder / "predictions.csv"


@pytest.mark.parametrize(
    ("column", "values", "row", "expected"),
    [
        ("score_clean", [0.1, 0.2, 1.3, 0.4], 4, "got '1.3', expected a probability"),
        ("score_confounded", [0.1, -0.2, 0.3, 0.4], 3, "got '-0.2', expected a probability"),
        ("score_clean", [0.1, 0.2, None, 0.4], 4, "got nothing, expected a probability"),
        ("score_clean", [0.1, 0.2, 0.3, "x"], 5, "got 'x', expected a probability"),
        ("label", [0, 1, 2, 0], 4, "got '2', expected 0 or 1"),
        ("label", [0, 1, 0.5, 0], 4, "got '0.5', expected 0 or 1"),
        ("carries", ["True", "Fal", "True", "True"], 3, "got 'Fal', expected True or False"),
        ("case_id", list("aabc"), 2, "got 'a', expected every case once"),
        ("fold", [0, 0, 0, "d"], 5, "got 'd', expected a whole number"),
        ("environment", ["iid", "ood", "iid+ood", "confounded"], 5, "expected iid, ood, iid+ood or clean"),
    ],
)
def test_a_wrong_cell_is_refused_with_file_row_and_column(
    tmp_path: Path, column: str, values: list[object], row: int, expected: str
) -> None:
    path = write(tmp_path, **{column: values})
    with pytest.raises(InputError) as caught:
        read_predictions(path)
    message = str(caught.value)
    assert message.startswith(f"{path}, row {row}, {column}: ")
    assert message.endswith(expected)


@pytest.mark.parametrize("column", COLUMNS)
def test_a_missing_column_is_refused_by_name(tmp_path: Path, column: str) -> None:
    path = write(tmp_path)
    pd.read_csv(path).drop(columns=column).to_csv(path, index=False)
    with pytest.raises(InputError, match=rf"predictions\.csv: .*{column}"):
        read_predictions(path)


@pytest.mark.parametrize("content", [None, b"", b"\x89PNG\r\n\x1a\n\0\xff", b"a,b\n1,2\n3,4,5\n"])
def test_a_file_that_is_no_table_is_refused_by_name(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "predictions.csv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        read_predictions(path)
    assert str(caught.value).startswith(f"{path}: not a readable prediction table")
    assert "\n" not in str(caught.value)
