"""The prediction table of a pair of confounders: every test case scored in four states."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pandera.pandas as pa
from scipy.special import expit

from srcmatters.confounders.pair_names import is_pair
from srcmatters.runs.prediction_table import SCORE, leading_columns, read_predictions

#: The states of an image, as columns ``score_...``.
STATES = ("clean", "first", "second", "both")

#: Columns of the table. Scores are probabilities of label 1; ``carries_first`` and ``carries_second`` say who
#: carries which confounder in the i.i.d. test set. Any further column is a group of the case table.
SCHEMA = pa.DataFrameSchema(
    {
        "case_id": pa.Column(str, coerce=True, unique=True),
        "patient_id": pa.Column(str, coerce=True),
        "fold": pa.Column(int),
        "label": pa.Column(int, pa.Check.isin([0, 1])),
        "carries_first": pa.Column(bool),
        "carries_second": pa.Column(bool),
        **{f"score_{state}": pa.Column(float, SCORE) for state in STATES},
    }
)


def four_state_table(
    cases: pd.DataFrame, fold: int, carries: tuple[np.ndarray, np.ndarray], logits: dict[str, np.ndarray]
) -> pd.DataFrame:
    """Assemble the table of one fold.

    Args:
        cases: the test cases.
        fold: number of the fold.
        carries: (cases,) bool of the first and of the second confounder, the i.i.d. assignment.
        logits: (cases,) log-odds of label 1 by state.
    """
    table, groups = leading_columns(cases, fold)
    table["carries_first"], table["carries_second"] = carries
    table[groups] = cases[groups]
    for state in STATES:
        table[f"score_{state}"] = expit(np.asarray(logits[state], dtype=np.float64))
    return SCHEMA.validate(table.reset_index(drop=True))


def read_tested(path: str | Path, confounder: object) -> pd.DataFrame:
    """Read the prediction table of a run: of four states where its confounder is a pair.

    Raises:
        InputError: see :func:`srcmatters.runs.prediction_table.read_predictions`.
    """
    return read_predictions(path, SCHEMA) if is_pair(confounder) else read_predictions(path)


def has_four_states(table: pd.DataFrame) -> bool:
    """Whether a prediction table is one of a pair."""
    return "score_both" in table
