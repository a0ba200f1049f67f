"""Who carries the confounder in each part of a split."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pandas as pd

from srcmatters.cohorts import Split
from srcmatters.confounders import assign


def assign_split(
    cases: pd.DataFrame,
    split: Split,
    p_art: float,
    seed: int = 0,
    unit: Literal["image", "patient"] = "image",
    protocol: str = "corrected",
) -> np.ndarray:
    """Who carries the confounder in the training, validation and test set.

    The share ``p_art`` holds in each of the three. ``protocol`` "paper" draws over all cases together and
    anew for every ``p_art``, as the published code does.

    Returns:
        (cases,) bool.
    """
    if protocol == "paper":
        return assign(cases, p_art, seed, unit, nested=False)
    carries = np.zeros(len(cases), dtype=bool)
    for rows in (split.train, split.validation, split.test):
        carries[rows] = assign(cases.iloc[rows], p_art, seed, unit)
    return carries
