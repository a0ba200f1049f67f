"""Which runs of a study can be compared with each other, and what their confounders are called."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
import pandas as pd

from srcmatters.evaluation.analysis import Analysis
from srcmatters.numbers import share

SETUP = ("target", "network", "depth", "protocol", "p_neg", "adaptation", "train_size")
_ADAPTATIONS = ("linear", "freeze", "lp_ft", "full")  # the more weights move, the later


@dataclass(frozen=True)
class Setup:
    """Runs that can be compared with each other: one target, network, depth, protocol, p_neg, ...

    Args:
        name: the axes that the study varies, for a heading; "" where there is one setup only.
        analysis: the tables of these runs without null controls; the column ``confounder`` names the
            parameters as well.
        controls: the rows of the analysis' table ``controls``.
        sources: in the order in which they are drawn.
        values: of :data:`SETUP`.
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
        One or more setups: the more weights moved and the more cases trained, the later, else in alphabetical
        order; runs that are all null controls make none.
    """
    main = analysis.environments[analysis.environments["control"] == "none"]
    keys = main[list(SETUP)].drop_duplicates().sort_values(list(SETUP), key=_rank)
    varying = [name for name in SETUP if keys[name].nunique() > 1]
    result = []
    for _, values in keys.iterrows():
        tables = {
            entry.name: _rows_of(getattr(analysis, entry.name), values)
            for entry in fields(analysis)
            if isinstance(getattr(analysis, entry.name), pd.DataFrame)
        }
        plain: dict[str, Any] = {name: _without_controls(rows) for name, rows in tables.items()}
        own = replace(analysis, **plain)
        name = setup_words({axis: values[axis] for axis in varying})
        order = _ordered(list(own.environments["source"].unique()), analysis.plan.sources)
        result.append(
            Setup(name, own, tables["controls"], order, {axis: str(values[axis]) for axis in SETUP})
        )
    return result


def setup_words(values: Mapping[str, Any]) -> str:
    """What sets runs apart, for a heading or beside a sentence: ``adaptation full, 64 training cases``."""
    return ", ".join(
        (f"{int(value)} training cases" if int(value) else "all training cases")
        if axis == "train_size"
        else f"{axis} {share(float(value)) if axis == 'p_neg' else value}"
        for axis, value in values.items()
    )


def _rank(column: pd.Series) -> pd.Series:
    """By what setups are ordered; ``train_size`` 0 is every case."""
    if column.name == "train_size":
        return column.astype(int).replace(0, np.iinfo(np.int64).max)
    if column.name == "adaptation":
        return column.map(lambda name: f"{_place(str(name))} {name}")
    return column


def _place(adaptation: str) -> int:
    begins = [place for place, name in enumerate(_ADAPTATIONS) if adaptation.startswith(name)]
    return begins[0] if begins else len(_ADAPTATIONS)


def _rows_of(table: pd.DataFrame, values: pd.Series) -> pd.DataFrame:
    if table.empty:
        return table.reindex(columns=[*table.columns, *({"control", "confounder"} - set(table.columns))])
    rows = table[(table[list(SETUP)] == values).all(axis=1)].copy()
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
