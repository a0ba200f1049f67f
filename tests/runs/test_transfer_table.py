"""The prediction tables of further confounders, one under another in one file."""

from pathlib import Path

import pandas as pd
import pytest

from srcmatters.errors import InputError
from srcmatters.runs.prediction_table import read_transfer

ROWS = pd.DataFrame(
    {
        "case_id": ["1", "2"],
        "patient_id": ["p", "q"],
        "fold": 0,
        "label": [0, 1],
        "carries": [False, True],
        "score_clean": [0.2, 0.7],
        "score_confounded": [0.3, 0.9],
    }
)


def test_tables_are_read_with_the_confounder_of_each_row(tmp_path: Path) -> None:
    both = pd.concat([ROWS.assign(tested="noise"), ROWS.assign(tested="tag")], ignore_index=True)
    both.to_csv(tmp_path / "transfer.csv", index=False)
    pd.testing.assert_frame_equal(read_transfer(tmp_path / "transfer.csv"), both, check_dtype=False)


@pytest.mark.parametrize(
    ("table", "told"),
    [
        (ROWS, "no column tested"),
        (pd.concat([ROWS, ROWS]).assign(tested="tag"), "a case is there twice under one tested confounder"),
        (ROWS.assign(tested="tag", score_clean=1.5), "score_clean"),
    ],
)
def test_a_table_that_is_none_is_refused_with_its_file(
    tmp_path: Path, table: pd.DataFrame, told: str
) -> None:
    table.to_csv(tmp_path / "transfer.csv", index=False)
    with pytest.raises(InputError, match=told) as caught:
        read_transfer(tmp_path / "transfer.csv")
    assert str(tmp_path / "transfer.csv") in str(caught.value)
