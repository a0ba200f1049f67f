"""Who carries the confounder: the share ``p_art`` of the positives, drawn the same way every time."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pandas as pd

from srcmatters.case_stream import case_stream
from srcmatters.errors import InputError


def assign(
    cases: pd.DataFrame,
    p_art: float,
    seed: int = 0,
    unit: Literal["image", "patient"] = "image",
    nested: bool = True,
    fold: int = 0,
) -> np.ndarray:
    """Decide which cases carry the confounder.

    ``round(p_art * positives)`` positive cases carry it, negatives never do. Each case (or patient) has a
    rank that depends on seed, fold and its identifier alone, and the lowest ranks carry: so the cases that
    carry it at p_art = .2 also carry it at .5, and adding cases does not reshuffle the others. Every fold
    draws ranks of its own: one draw for all folds would be part of their mean, and no interval over folds
    would cover it.

    Args:
        cases: case table with case_id, patient_id, label.
        p_art: share of the positive cases, 0..1.
        seed: seed of the ranks.
        unit: "image": each image by itself; "patient": all positive images of a patient or none, in which
            case the share is the nearest one that whole patients allow in the order of their ranks.
        nested: False draws anew for every ``p_art`` and alike for every fold, as the published code does.
        fold: number of the fold.

    Returns:
        (number of cases,) bool.

    Raises:
        InputError: ``p_art`` outside [0, 1] or an unknown ``unit``.
    """
    if not 0 <= p_art <= 1:
        raise InputError(f"p_art: got {p_art}, expected a share between 0 and 1")
    if unit not in ("image", "patient"):
        raise InputError(f"unit: got {unit!r}, expected 'image' or 'patient'")
    purpose = f"assignment, fold {fold}" if nested else f"assignment at {p_art:g}"
    positives = cases.loc[cases["label"] == 1]
    key = "case_id" if unit == "image" else "patient_id"
    ranks = {name: case_stream(seed, str(name), purpose).random() for name in positives[key].unique()}
    order = positives[key].map(ranks).sort_values(kind="stable").index
    sizes = positives.loc[order, key].value_counts(sort=False)
    reached = np.concatenate([[0], np.cumsum(sizes)])
    # argmin takes the smaller of two prefixes that are equally near.
    carrying = reached[int(np.argmin(np.abs(reached - round(p_art * len(positives)))))]
    carriers = pd.Series(False, index=cases.index)
    carriers[order[:carrying]] = True
    return carriers.to_numpy()
