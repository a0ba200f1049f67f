"""Prediction tables as they may leave: salted hashes instead of identifiers, decades of age, no free text."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from srcmatters.pseudonyms import installation_salt, pseudonym


def pseudonymise(table: pd.DataFrame, folder: Path | None = None) -> pd.DataFrame:
    """A copy of a prediction table with hashed case and patient identifiers and without free text.

    Ages become the first year of their decade, 90 for everyone above 89: an exact age singles out old people.

    Args:
        table: prediction table.
        folder: where the salt lies, see :func:`srcmatters.pseudonyms.installation_salt`.
    """
    salt = installation_salt(folder)
    result = table.copy()
    for column in ("case_id", "patient_id"):
        result[column] = [pseudonym(str(value), salt) for value in result[column]]
    if "age" in result:
        decades = pd.to_numeric(result["age"], errors="coerce") // 10 * 10
        result["age"] = decades.clip(upper=90).astype("Int64")
    groups = ["sex", "age", "view", "manufacturer"]
    carriers = ["carries", "carries_first", "carries_second"]
    kept = ["case_id", "patient_id", "fold", "label", *carriers, "environment", *groups]
    scores = [column for column in result if str(column).startswith("score_")]
    return result[[column for column in kept if column in result] + scores]
