"""What a study did not show: cells that are missing, and questions that nobody asked."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import pandas as pd

from srcmatters.confounders import confounder_summaries
from srcmatters.evaluation.analysis_plan import AnalysisPlan
from srcmatters.numbers import counted, listed, share
from srcmatters.runs.prediction_table import SCHEMA
from srcmatters.sources.catalogue import known_sources

_MOST_GROUPS = 20  # a column with more different texts is free text
_GRID = ("source", "label", "p_art", "fold", "seed")


def missing_cells(cells: pd.DataFrame) -> list[str]:
    """Cells without a result, in words: what is missing from the grid that the results themselves span.

    Args:
        cells: finished runs; ``label`` is the confounder with its parameters.
    """
    missing = []
    setup = ["target", "network", "depth", "protocol", "control", "p_neg", "mitigation"]
    for _, members in cells.groupby(setup, sort=True, dropna=False):
        present = set(members[list(_GRID)].itertuples(index=False, name=None))
        grid = product(*(sorted(members[name].unique()) for name in _GRID))
        missing += [_cell_name(cell) for cell in grid if cell not in present]
    return missing


def _cell_name(cell: tuple[Any, ...]) -> str:
    source, label, p_art, fold, seed = cell
    return f"{source}, {label}, p_art {share(p_art)}, fold {fold}, seed {seed}"


def not_tested(cells: pd.DataFrame, predictions: pd.DataFrame, plan: AnalysisPlan) -> list[str]:
    """Sentences on what the study leaves open, for a reader who is about to conclude too much."""
    return [*_other_axes(cells, predictions), *_other_conditions(cells, plan, predictions)]


def _other_axes(cells: pd.DataFrame, predictions: pd.DataFrame) -> Iterator[str]:
    tested = set(cells["confounder"])
    summaries = confounder_summaries()
    images = [summaries[name] for name in tested if name in summaries]
    modalities = set.intersection(*(set(facts.modalities) for facts in images)) if images else set()
    others = [
        name
        for name, facts in summaries.items()
        if name not in tested and (not modalities or modalities & set(facts.modalities))
    ]
    if others:
        yield f"Other confounders: {listed(others)} of the catalogue, and every one outside it."
    groups = [name for name in group_columns(predictions) if name not in tested]
    if groups:
        yield f"Whether {listed(groups)} can act as a confounder: none was sampled as one."
    sources = [name for name in known_sources() if name not in set(cells["source"])]
    if sources:
        yield f"Other sources: {listed(sources)} of the catalogue."
    for axis, noun in (("network", "network"), ("target", "target")):
        names = sorted(cells[axis].astype(str).unique())
        if len(names) == 1:
            yield f"Another {noun}: everything here is {names[0]}."


def _other_conditions(cells: pd.DataFrame, plan: AnalysisPlan, predictions: pd.DataFrame) -> Iterator[str]:
    if set(cells["depth"]) == {"screen"}:
        yield (
            "Fine-tuning: the networks were frozen and only their last layer was fitted (depth screen). A"
            " fine-tuned network can lean on a confounder far more."
        )
    if cells["seed"].nunique() == 1:
        yield f"Other seeds: all runs have seed {cells['seed'].iloc[0]}."
    shares = cells["p_art"].astype(float)
    for value, reason in ((0.0, "what happens without any correlation"), (1.0, "a perfect correlation")):
        if value not in set(shares):
            yield f"p_art {share(value)}: {reason}."
    absent = [name for name in plan.subgroups if name not in predictions]
    if absent:
        yield f"Subgroups by {listed(absent)}: the case table does not say."
    if set(cells["control"]) == {"none"}:
        yield "Null controls with shuffled labels or with a confounder that is independent of the label."
    yield (
        "Images from elsewhere: the o.o.d. test reverses the confounder in images of the same target; it is"
        " no external validation."
    )


def group_columns(predictions: pd.DataFrame) -> list[str]:
    """Columns of the case table that put cases into groups, such as sex and view, and are no free text."""
    columns = [str(name) for name in predictions if name not in SCHEMA.columns and name != "cell"]
    return [
        name
        for name in columns
        if pd.api.types.is_numeric_dtype(predictions[name]) or predictions[name].nunique() <= _MOST_GROUPS
    ]


def unreadable_images(cells: pd.DataFrame) -> str:
    """How many images were left out because they could not be decoded; "" if none was."""
    if "unreadable_images" not in cells:
        return ""
    count = int(cells["unreadable_images"].fillna(0).max())
    return counted(count, "image") if count else ""
