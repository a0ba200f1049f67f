"""The prediction table: every test case scored clean and confounded. All results are computed from it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pandera.errors
import pandera.pandas as pa
from pandera.errors import SchemaErrorReason
from scipy.special import expit, logit

from srcmatters.cohorts.case_table import is_structure
from srcmatters.csv_tables import read_csv
from srcmatters.errors import UNREADABLE_CSV, InputError

#: Above these log-odds every probability is 1 in double precision, and two scores cannot be told apart.
LARGEST_LOG_ODDS = 36.7

#: What a score may be.
SCORE = pa.Check.in_range(0, 1)

#: Columns of a prediction table. Scores are probabilities of label 1; ``carries`` says who carries the
#: confounder in the i.i.d. test set. ``environment`` is there for a sampled confounder only, whose test sets
#: are different cases, and whose two scores are the same number. Any further column is a group of the case
#: table (sex, view, ...).
SCHEMA = pa.DataFrameSchema(
    {
        "case_id": pa.Column(str, coerce=True, unique=True),
        "patient_id": pa.Column(str, coerce=True),
        "fold": pa.Column(int),
        "label": pa.Column(int, pa.Check.isin([0, 1])),
        "carries": pa.Column(bool),
        "score_clean": pa.Column(float, SCORE),
        "score_confounded": pa.Column(float, SCORE),
        "environment": pa.Column(str, pa.Check.isin(["iid", "ood", "iid+ood", "clean"]), required=False),
    }
)


_EXPECTED = {
    "case_id": "every case once",
    "patient_id": "an identifier",
    "fold": "a whole number",
    "label": "0 or 1",
    "carries": "True or False",
    "environment": "iid, ood, iid+ood or clean",
}


#: Of several tables one under another, in which a case is there as often as there are tables.
_STACKED = SCHEMA.update_column("case_id", unique=False)


def prediction_table(
    cases: pd.DataFrame,
    fold: int,
    carries: np.ndarray,
    logits_clean: np.ndarray,
    logits_confounded: np.ndarray,
    environments: np.ndarray | None = None,
) -> pd.DataFrame:
    """Assemble the table of one fold.

    Args:
        cases: the test cases.
        fold: number of the fold.
        carries: (cases,) bool, the i.i.d. assignment.
        logits_clean: (cases,) log-odds of label 1 for the clean images.
        logits_confounded: (cases,) the same for the confounded ones.
        environments: (cases,) "iid", "ood", "iid+ood" or "clean" (neither) for a sampled confounder.
    """
    table, groups = leading_columns(cases, fold)
    table["carries"] = carries
    if environments is not None:
        table["environment"] = environments
    table[groups] = cases[groups]
    # In double precision a probability keeps its log-odds up to LARGEST_LOG_ODDS; single precision to 16.
    table["score_clean"] = expit(np.asarray(logits_clean, dtype=np.float64))
    table["score_confounded"] = expit(np.asarray(logits_confounded, dtype=np.float64))
    return SCHEMA.validate(table.reset_index(drop=True))


def leading_columns(cases: pd.DataFrame, fold: int) -> tuple[pd.DataFrame, list[str]]:
    """Identifiers, fold and label of the test cases, and the names of their groups."""
    groups = [name for name in cases.columns if not is_structure(name)]
    table = cases[["case_id", "patient_id"]].copy()
    table["fold"] = fold
    table["label"] = cases["label"]
    return table, groups


def read_predictions(path: str | Path, schema: pa.DataFrameSchema = SCHEMA) -> pd.DataFrame:
    """Read a prediction table.

    Args:
        path: of the file.
        schema: of the table; that of a pair is in :mod:`srcmatters.runs.four_state_table`.

    Raises:
        InputError: not there, or not a prediction table; names the file and the column.
    """
    try:
        table = read_csv(path, dtype={"case_id": str, "patient_id": str})
        if schema is SCHEMA and "score_both" in table:
            raise InputError(
                f"{path}: the four states of a pair of confounders, expected a run of one confounder"
            )
        return schema.validate(table)
    except pandera.errors.SchemaError as error:
        raise InputError(f"{path}{_mistake(error)}") from error
    except UNREADABLE_CSV as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{path}: not a readable prediction table ({reason})") from error


def read_transfer(path: str | Path) -> pd.DataFrame:
    """Read the prediction tables of a run under further confounders, one under another by ``tested``.

    Raises:
        InputError: not there, or not such tables; names the file and the column.
    """
    try:
        table = pd.read_csv(path, dtype={"case_id": str, "patient_id": str, "tested": str})
        if "tested" not in table:
            raise InputError(f"{path}: no column tested, expected the confounder of each row")
        if table.duplicated(["tested", "case_id"]).any():
            raise InputError(f"{path}: a case is there twice under one tested confounder, expected it once")
        return _STACKED.validate(table)
    except pandera.errors.SchemaError as error:
        raise InputError(f"{path}{_mistake(error)}") from error
    except UNREADABLE_CSV as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{path}: not a readable prediction table ({reason})") from error


def _mistake(error: pandera.errors.SchemaError) -> str:
    """The first wrong cell with its row and column, or the columns that are missing."""
    table, reason = error.data, error.reason_code
    if isinstance(table, pd.DataFrame) and reason is SchemaErrorReason.COLUMN_NOT_IN_DATAFRAME:
        missing = [
            name for name, column in error.schema.columns.items() if column.required and name not in table
        ]
        return f": no column {', '.join(missing)}, expected a whole prediction table; is the file cut short?"
    name = str(error.schema.name)
    cells = table[name] if isinstance(table, pd.DataFrame) else pd.Series(table)
    if isinstance(error.failure_cases, pd.DataFrame):
        row = int(error.failure_cases["index"].iloc[0])
    else:  # the type of the column is another: the first cell that is to blame
        numbers = pd.to_numeric(cells, errors="coerce")
        fits = numbers.notna() if name.startswith("score_") else numbers % 1 == 0
        if name == "carries":
            fits = cells.astype(str).isin(["True", "False"])
        row = int(np.argmin(fits.to_numpy()))
    cell = cells.iloc[row]
    got = "nothing" if pd.isna(cell) else repr(str(cell)[:40])
    return f", row {row + 2}, {name}: got {got}, expected {_EXPECTED.get(name, 'a probability')}"


def log_odds(scores: pd.Series | np.ndarray) -> np.ndarray:
    """Log-odds of probabilities; 0 and 1 are taken as the nearest doubles inside, which keeps them finite."""
    return logit(np.clip(np.asarray(scores, dtype=np.float64), 1e-16, 1 - 1e-16))
