"""What else differs between the classes of a sampled cohort: standardised mean differences of its columns."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from srcmatters.evaluation.environments import in_environment
from srcmatters.evaluation.run_groups import RunGroup
from srcmatters.numbers import number, share
from srcmatters.runs.prediction_table import SCHEMA

#: Above it two groups are usually called imbalanced (Stuart 2010).
IMBALANCED = 0.25
_MOST_VALUES = 20  # a column with more different texts is free text


def standardised_mean_difference(entries: pd.Series, labels: np.ndarray) -> float:
    """Difference of the classes in a column, in standard deviations; of texts the largest of their shares.

    Args:
        entries: (cases,) numbers or texts; missing ones count for neither class.
        labels: (cases,) 0 or 1.

    Returns:
        The absolute difference; NaN where a class has no entry or a text column has too many values.
    """
    present = entries.notna().to_numpy()
    values, truth = entries[present], labels[present]
    if len(set(truth)) < 2:
        return float("nan")
    if not pd.api.types.is_numeric_dtype(values) or pd.api.types.is_bool_dtype(values):
        names = values.astype(str)
        if names.nunique() > _MOST_VALUES:
            return float("nan")
        return max(
            standardised_mean_difference((names == name).astype(float), truth) for name in names.unique()
        )
    groups = [values.to_numpy(dtype=float)[truth == label] for label in (1, 0)]
    spread = np.sqrt(np.mean([np.var(group) for group in groups]))
    apart = abs(float(groups[0].mean() - groups[1].mean()))
    return float("inf") if apart and not spread else (apart / spread if spread else 0.0)


def balance_rows(group: RunGroup, notes: list[str]) -> list[dict[str, Any]]:
    """One row per p_art, set and column of a sampled confounder; imbalanced ones go into ``notes``.

    The training cases are not in the tables of a run; the validation cases are chosen as they are.
    """
    if not group.sampled:
        return []
    source, rows = group.sources[0], []
    for p_art in group.shares(source):
        label = next(iter(group.runs(source, p_art).values()))
        table = group.tables[label]
        sets = {name: table[in_environment(table, name)] for name in ("iid", "ood")}
        if label in group.validation:
            sets["validation"] = group.validation[label]
        columns = [name for name in table.columns if name not in SCHEMA.columns and name != "cell"]
        for (name, cases), column in ((one, column) for one in sets.items() for column in columns):
            if column not in cases or column == group.axes["confounder"]:
                continue
            value = standardised_mean_difference(cases[column], cases["label"].to_numpy())
            row = {"p_art": p_art, "set": name, "column": column, "standardised_difference": value}
            rows.append({**group.axes, **row})
            if value > IMBALANCED:
                notes.append(
                    f"{group.label}: at p_art {share(p_art)} the classes of the {name} set differ in {column}"
                    f" (standardised mean difference {number(value)}), which may be what is learnt;"
                    " ``match`` in"
                    " confounder_args makes them alike"
                )
    return rows
