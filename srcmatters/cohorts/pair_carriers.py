"""Who carries the second confounder of a pair: those who carry the first, others, or anybody."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pandas as pd

from srcmatters.cohorts.assignment import assign
from srcmatters.errors import InputError


def second_carriers(
    cases: pd.DataFrame,
    first: np.ndarray,
    carriers: str,
    p_art: tuple[float, float],
    p_neg: tuple[float, float],
    seed: int = 0,
    unit: Literal["image", "patient"] = "image",
    fold: int = 0,
) -> np.ndarray:
    """Decide who carries the second confounder; the first is assigned as that of a single one.

    Args:
        cases: case table with case_id, patient_id, label.
        first: (cases,) bool, who carries the first.
        carriers: "same": the ranks of the first, so that at the same share the same cases carry both;
            "independent": ranks of its own; "complementary": the ranks of the first from the other end, so
            that no case carries both.
        p_art: share of the positives that carry the first, and the second.
        p_neg: likewise of the negatives.
        seed, unit, fold: as :func:`srcmatters.cohorts.assignment.assign` takes them.

    Returns:
        (cases,) bool.

    Raises:
        InputError: complementary shares that add up to more than 1.
    """
    if carriers == "complementary":
        for name, shares in (("p_art", p_art), ("p_neg", p_neg)):
            if sum(shares) > 1 + 1e-9:
                raise InputError(
                    f"{name}: got {shares[0]:g} and {shares[1]:g} with complementary carriers, of whom none"
                    " has both confounders; expected shares that add up to 1 at most"
                )
    ranks = {"same": "first", "independent": "second", "complementary": "last"}[carriers]
    second = assign(cases, p_art[1], seed, unit, fold=fold, p_neg=p_neg[1], ranks=ranks)
    # Of an odd number both halves may be rounded up.
    return second & ~first if carriers == "complementary" else second
