"""Identifiers that may leave: salted hashes, the same on one machine and meaningless elsewhere."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from pathlib import Path

import pandas as pd

from srcmatters.preprocessing.state_cache import default_cache_dir


def _salt(folder: Path | None = None) -> bytes:
    """The secret of this installation, made on first use and readable by its owner only."""
    path = (folder or default_cache_dir()) / "pseudonym-salt"
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return path.read_bytes()
    with os.fdopen(descriptor, "wb") as file:
        file.write(secrets.token_bytes(32))
    return path.read_bytes()


def pseudonymise(table: pd.DataFrame, folder: Path | None = None) -> pd.DataFrame:
    """A copy of a prediction table with hashed case and patient identifiers and without free text.

    Args:
        table: prediction table.
        folder: where the salt lies, None: :func:`srcmatters.preprocessing.state_cache.default_cache_dir`.
    """
    salt = _salt(folder)
    result = table.copy()
    for column in ("case_id", "patient_id"):
        result[column] = [
            hmac.new(salt, str(value).encode(), hashlib.sha256).hexdigest()[:16] for value in result[column]
        ]
    groups = ["sex", "age", "view", "manufacturer"]
    kept = ["case_id", "patient_id", "fold", "label", "carries", "environment", *groups]
    scores = [column for column in result if str(column).startswith("score_")]
    return result[[column for column in kept if column in result] + scores]
