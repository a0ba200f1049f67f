"""Which runs of a study can be compared with each other, and what their confounders are called."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
import pandas as pd

from srcmatters.evaluation.analysis import Analysis

_SETUP = ("target", "network", "depth", "protocol", "p_neg", "adaptation", "train_size")


@dataclass(frozen=True)
class Setup:
    """Runs that can be compared with each other: one target, network, depth, protocol, p_neg, ...

    Args:
        name: the axes that the study varies, for a heading; "" where there is one setup only.
        analysis: the tables of these runs without null controls; the column ``confounder`` names the
            parameters as well.
        controls: the rows of the analysis' table ``controls``.
        sources: in the order in which they are drawn.
        values: of :data:`_SETUP`.
    """

    name: str
    analysis: Analysis
    controls: pd.DataFrame
    sources: list[str]
    values: dict[str, str] = field(default_factory=dict)

    @property
    def confounders(self) -> list[str]:
        """Names with parameters, in alphabetical order."""
        return sorted(self.analysis.environments["confounder"].unique())

    def p_art(self, rows: pd.DataFrame) -> float:
        """The planned p_art where there are results for it, else the highest that there is."""
        present = rows["p_art"].dropna().unique()
        planned = [value for value in present if np.isclose(value, self.analysis.plan.p_art)]
        return float(planned[0] if planned else max(present))


def with_labels(cells: pd.DataFrame) -> pd.DataFrame:
    """Runs with a column ``label``, their confounder as a reader sees it."""
    both = zip(cells["confounder"], cells["confounder_args"], strict=True)
    labelled = cells.assign(label=[confounder_label(name, args) for name, args in both])
    labelled.attrs = cells.attrs
    return labelled


def confounder_label(name: object, args: object) -> str:
    """A confounder with the parameters that a study gave it: ``sex (value: F)``."""
    try:
        arguments = ast.literal_eval(str(args))
    except (ValueError, SyntaxError):
        arguments = {}
    if not isinstance(arguments, dict) or not arguments:
        return str(name)
    return f"{name} ({', '.join(f'{key}: {value}' for key, value in arguments.items())})"


def setups(analysis: Analysis) -> list[Setup]:
    """Take an analysis apart into what can be compared.

    Returns:
        One or more setups, in alphabetical order; runs that are all null controls make none.
    """
    main = analysis.environments[analysis.environments["control"] == "none"]
    keys = main[list(_SETUP)].drop_duplicates().sort_values(list(_SETUP))
    varying = [name for name in _SETUP if keys[name].nunique() > 1]
    result = []
    for _, values in keys.iterrows():
        tables = {
            entry.name: _rows_of(getattr(analysis, entry.name), values)
            for entry in fields(analysis)
            if isinstance(getattr(analysis, entry.name), pd.DataFrame)
        }
        plain: dict[str, Any] = {name: _without_controls(rows) for name, rows in tables.items()}
        own = replace(analysis, **plain)
        name = ", ".join(f"{axis} {values[axis]}" for axis in varying)
        order = _ordered(list(own.environments["source"].unique()), analysis.plan.sources)
        result.append(
            Setup(name, own, tables["controls"], order, {axis: str(values[axis]) for axis in _SETUP})
        )
    return result


def _rows_of(table: pd.DataFrame, values: pd.Series) -> pd.DataFrame:
    if table.empty:
        return table.reindex(columns=[*table.columns, *({"control", "confounder"} - set(table.columns))])
    rows = table[(table[list(_SETUP)] == values).all(axis=1)].copy()
    labels = [
        confounder_label(name, args)
        for name, args in zip(rows["confounder"], rows["confounder_args"], strict=True)
    ]
    return rows.assign(confounder=labels)


def _without_controls(rows: pd.DataFrame) -> pd.DataFrame:
    return rows[rows["control"] == "none"]


def _ordered(present: Sequence[str], planned: Sequence[str]) -> list[str]:
    """Sources as the plan names them, the others after them."""
    return [name for name in planned if name in present] + sorted(set(present) - set(planned))
