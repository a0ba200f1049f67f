"""Test environments of a pair of confounders: recombinations of the four columns of one table."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

Who = Literal["nobody", "everybody", "assigned", "reversed"]

#: By environment, who carries the first confounder and who the second. "assigned": as in training;
#: "reversed": every negative carries it, no positive does. "ood" reverses both.
ENVIRONMENTS: dict[str, tuple[Who, Who]] = {
    "clean": ("nobody", "nobody"),
    "iid": ("assigned", "assigned"),
    "first": ("everybody", "nobody"),
    "second": ("nobody", "everybody"),
    "both": ("everybody", "everybody"),
    "first_reversed": ("reversed", "assigned"),
    "second_reversed": ("assigned", "reversed"),
    "ood": ("reversed", "reversed"),
    "first_alone_reversed": ("reversed", "nobody"),
    "second_alone_reversed": ("nobody", "reversed"),
}
#: The environments in which a correlation is reversed.
REVERSED = tuple(name for name, who in ENVIRONMENTS.items() if "reversed" in who)


def carrying(table: pd.DataFrame, environment: str) -> tuple[np.ndarray, np.ndarray]:
    """(cases,) bool, who carries the first and who the second confounder in an environment.

    Args:
        table: prediction table of four states.
        environment: of :data:`ENVIRONMENTS`.
    """
    return carrying_as(table, ENVIRONMENTS[environment])


def carrying_as(table: pd.DataFrame, who: tuple[Who, Who]) -> tuple[np.ndarray, np.ndarray]:
    """(cases,) bool, who carries the first and who the second confounder.

    Args:
        table: prediction table of four states.
        who: carries the first, and the second.
    """
    first, second = (
        {
            "nobody": np.zeros(len(table), dtype=bool),
            "everybody": np.ones(len(table), dtype=bool),
            "assigned": table[f"carries_{name}"].to_numpy(dtype=bool),
            "reversed": table["label"].to_numpy() == 0,
        }[one]
        for name, one in zip(("first", "second"), who, strict=True)
    )
    return first, second


def scores_where(table: pd.DataFrame, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """(cases,) score of each case in its state.

    Args:
        table: prediction table of four states.
        first: (cases,) bool, who carries the first confounder.
        second: (cases,) bool, who carries the second.
    """
    columns = table[["score_clean", "score_first", "score_second", "score_both"]].to_numpy()
    return columns[np.arange(len(table)), first + 2 * second.astype(int)]


def pair_auc(table: pd.DataFrame, environment: str) -> float:
    """ROC-AUC of the test set in one of :data:`ENVIRONMENTS`."""
    return float(roc_auc_score(table["label"], scores_where(table, *carrying(table, environment))))


def compute_pair_metrics(table: pd.DataFrame) -> dict[str, float]:
    """The metrics of one run with a pair of confounders.

    Args:
        table: prediction table of four states.

    Returns:
        ``..._auc`` of every environment, iid_minus_ood_auc (both reversed); cases, positives, patients.
    """
    areas = {f"{name}_auc": pair_auc(table, name) for name in ENVIRONMENTS}
    return {
        **areas,
        "iid_minus_ood_auc": areas["iid_auc"] - areas["ood_auc"],
        "cases": len(table),
        "positives": int(table["label"].sum()),
        "patients": int(table["patient_id"].nunique()),
    }
