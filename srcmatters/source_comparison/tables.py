"""Table of how alike sources are, for the terminal."""

from __future__ import annotations

import sys

import numpy as np
import pandas as pd
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from srcmatters.numbers import NONE, interval, number
from srcmatters.source_comparison.figures import BLANK

_WIDTH = 140  # redirected into a file or a pipe there is no terminal whose width would be known


def print_source_comparison(same_stage: pd.DataFrame, probes: pd.DataFrame, title: str) -> None:
    """Print CKA of every pair and the probe's AUC of every source, one row per stage.

    Args:
        same_stage: source_a, source_b, stage, cka, standard_error, auc_difference, low, high.
        probes: source, stage, auc, low, high.
        title: written above.
    """
    console = Console(width=None if sys.stdout.isatty() else _WIDTH)
    pairs = list(dict.fromkeys(zip(same_stage["source_a"], same_stage["source_b"], strict=True)))
    sources = list(dict.fromkeys(probes["source"]))
    stages = list(dict.fromkeys(probes["stage"]))
    alike = _table([f"{one} – {other}" for one, other in pairs])
    telling = _table(sources)
    gains = _table([f"{one} – {other}" for one, other in pairs])
    by_pair = dict(list(same_stage.groupby(["source_a", "source_b", "stage"])))
    by_source = dict(list(probes.groupby(["source", "stage"])))
    for stage in stages:
        rows = [by_pair[*pair, stage].iloc[0] for pair in pairs]
        alike.add_row(stage, *(_with_error(row["cka"], row["standard_error"]) for row in rows))
        gains.add_row(stage, *(_with_interval(row, "auc_difference") for row in rows))
        areas = (by_source[source, stage].iloc[0] for source in sources)
        telling.add_row(stage, *(_with_interval(row, "auc") for row in areas))
    console.print(escape(title), style="bold", highlight=False)
    for heading, table in (
        ("How alike: linear CKA ± standard error", alike),
        ("How much of the label: ROC-AUC of a linear probe [95 % interval]", telling),
        ("Difference of the AUCs [95 % interval]", gains),
    ):
        console.print(heading, style="italic", highlight=False)
        console.print(table)
    if same_stage["cka"].isna().any():
        console.print(f"–: {BLANK}", highlight=False)


def _table(columns: list[str]) -> Table:
    table = Table()
    table.add_column("stage", no_wrap=True)
    for column in columns:
        table.add_column(escape(column), justify="right", overflow="fold")
    return table


def _with_error(value: float, error: float) -> str:
    if np.isnan(value):
        return NONE
    return number(value) + ("" if np.isnan(error) else f" ± {number(error)}")


def _with_interval(row: pd.Series, name: str) -> str:
    return interval(row[name], row["low"], row["high"])
