"""Prediction tables as they may leave: salted hashes instead of identifiers, and no free text."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from srcmatters.pseudonyms import installation_salt, pseudonym


def pseudonymise(table: pd.DataFrame, folder: Path | None = None) -> pd.DataFrame:
    """A copy of a prediction table with hashed case and patient identifiers and without free text.

    Args:
        table: prediction table.
        folder: where the salt lies, see :func:`srcmatters.pseudonyms.installation_salt`.
    """
    salt = installation_salt(folder)
    result = table.copy()
    for column in ("case_id", "patient_id"):
        result[column] = [pseudonym(str(value), salt) for value in result[column]]
    groups = ["sex", "age", "view", "manufacturer"]
    kept = ["case_id", "patient_id", "fold", "label", "carries", "environment", *groups]
    scores = [column for column in result if str(column).startswith("score_")]
    return result[[column for column in kept if column in result] + scores]
