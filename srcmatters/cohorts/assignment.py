"""Who carries the confounder: a share of the positives and one of the negatives, drawn alike."""

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
    p_neg: float = 0.0,
    ranks: str = "first",
) -> np.ndarray:
    """Decide which cases carry the confounder.

    ``round(p_art * positives)`` positive cases carry it and ``round(p_neg * negatives)`` negative ones, by
    default none. Each case (or patient) has a rank that depends on seed, fold and its identifier alone, and
    the lowest ranks carry: so the cases that carry it at p_art = .2 also carry it at .5, likewise over p_neg,
    neither share moves the carriers of the other class, and adding cases does not reshuffle the others. Every
    fold draws ranks of its own: one draw for all folds would be part of their mean, and no interval over
    folds would cover it.

    Args:
        cases: case table with case_id, patient_id, label.
        p_art: share of the positive cases, 0..1.
        seed: seed of the ranks.
        unit: "image": each image by itself; "patient": all images of a patient with one label or none, in
            which case the share is the nearest one that whole patients allow in the order of their ranks.
        nested: False draws anew for every ``p_art`` and alike for every fold, as the published code does.
        fold: number of the fold.
        p_neg: share of the negative cases, 0..1.
        ranks: "first"; of the second confounder of a pair "second", other ranks, or "last": the same ranks,
            of which the highest carry.

    Returns:
        (number of cases,) bool.

    Raises:
        InputError: a share outside [0, 1] or an unknown ``unit``.
    """
    for name, share in (("p_art", p_art), ("p_neg", p_neg)):
        if not 0 <= share <= 1:
            raise InputError(f"{name}: got {share}, expected a share between 0 and 1")
    if unit not in ("image", "patient"):
        raise InputError(f"unit: got {unit!r}, expected 'image' or 'patient'")
    key = "case_id" if unit == "image" else "patient_id"
    carriers = pd.Series(False, index=cases.index)
    for label, share in ((1, p_art), (0, p_neg)):
        purpose = f"assignment, fold {fold}" if nested else f"assignment at {share:g}"
        purpose += ", second" if ranks == "second" else ""
        names = cases.loc[cases["label"] == label, key]
        carriers[_lowest_ranks(names, share, seed, purpose, ranks == "last")] = True
    return carriers.to_numpy()


def _lowest_ranks(names: pd.Series, share: float, seed: int, purpose: str, highest: bool = False) -> pd.Index:
    """Index of the share of some cases that carry; cases of one name do so together."""
    if not share:
        return names.index[:0]
    ranks = {name: case_stream(seed, str(name), purpose).random() for name in names.unique()}
    order = names.map(ranks).sort_values(kind="stable", ascending=not highest).index
    sizes = names.loc[order].value_counts(sort=False)
    reached = np.concatenate([[0], np.cumsum(sizes)])
    # argmin takes the smaller of two prefixes that are equally near.
    carrying = reached[int(np.argmin(np.abs(reached - round(share * len(names)))))]
    return order[:carrying]
