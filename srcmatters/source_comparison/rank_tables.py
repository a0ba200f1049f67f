"""Tables of a ranking of sources, for the terminal."""

from __future__ import annotations

import sys
from collections.abc import Hashable, Mapping
from typing import Any

import pandas as pd
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from srcmatters.evaluation.leans import LEAST_CLEAN_AUC
from srcmatters.numbers import NONE, interval, number
from srcmatters.source_comparison.fine_tuned import FineTuned
from srcmatters.source_comparison.ranking import SourceRanking

_WIDTH = 140  # redirected into a file or a pipe there is no terminal whose width would be known


def print_ranking(ranking: SourceRanking, title: str) -> None:
    """Print rank, clean AUC, leans and CKA, then the robustness indices, one row per source.

    Args:
        ranking: of :func:`srcmatters.source_comparison.ranking.rank_sources`.
        title: written above.
    """
    console = Console(width=None if sys.stdout.isatty() else _WIDTH)
    console.print(escape(title), style="bold", highlight=False)
    console.print("Clean AUC, learned lean at p_art 1, CKA to ImageNet [95 % interval]", style="italic")
    console.print(_leans(ranking))
    if len(ranking.robustness):
        console.print(
            "Robustness index: nearer for the same label (1) or the same property (0)", style="italic"
        )
        console.print(_wide(ranking, ranking.robustness, "against", "index"))
    for line in remarks(ranking):
        console.print(escape(line), highlight=False)


def print_fine_tuned(beside: FineTuned) -> None:
    """Print frozen and fine-tuned leans side by side, one row per source and confounder.

    Args:
        beside: of :func:`srcmatters.source_comparison.fine_tuned.fine_tuned`.
    """
    console = Console(width=None if sys.stdout.isatty() else _WIDTH)
    console.print("Beside the fine-tuned runs of the study [95 % interval]", style="italic")
    headings = ("source", "confounder", "frozen lean", "fine-tuned lean", "clean AUC", "fine-tuned")
    table = Table()
    for place, heading in enumerate(headings):
        table.add_column(heading, justify="left" if place < 2 else "right", overflow="fold")
    for row in beside.table.itertuples():
        leans = (
            interval(row.lean, row.low, row.high),
            interval(row.tuned_lean, row.tuned_low, row.tuned_high),
        )
        cells = (str(row.source), str(row.confounder), *leans)
        table.add_row(*map(escape, cells), number(row.clean_auc), number(row.tuned_clean_auc))
    console.print(table)
    for line in beside.remarks:
        console.print(escape(line), highlight=False)


def remarks(ranking: SourceRanking) -> list[str]:
    """What has to be known to read the table."""
    lines = [
        "Ranks follow the mean learned lean. Sources whose intervals overlap are not told apart by these"
        " images."
    ]
    unknown = ranking.sources.loc[ranking.sources["rank"].isna(), "source"].tolist()
    if unknown:
        lines.append(
            f"Not ranked, since the clean AUC is not shown to lie above {LEAST_CLEAN_AUC:g}: a source that"
            f" does not know the target has nothing to lose: {', '.join(unknown)}."
        )
    return lines


def _leans(ranking: SourceRanking) -> Table:
    confounders = list(dict.fromkeys(ranking.leans["confounder"])) if len(ranking.leans) else []
    table = Table()
    for heading in ("rank", "source", "clean AUC", *confounders, "mean lean", "CKA"):
        table.add_column(escape(heading), justify="left" if heading == "source" else "right", overflow="fold")
    for row in ranking.sources.to_dict("records"):
        own = ranking.leans[ranking.leans["source"] == row["source"]] if confounders else ranking.leans
        leans = [_interval(one, "lean") for one in own.to_dict("records")]
        rank = NONE if pd.isna(row["rank"]) else str(row["rank"])
        mean = number(row["mean_lean"])
        alike = NONE if pd.isna(row["cka"]) else f"{number(row['cka'])} ± {number(row['cka_error'])}"
        cells = (rank, row["source"], _interval(row, "clean_auc"), *leans, mean, alike)
        table.add_row(*(escape(str(cell)) for cell in cells))
    return table


def _wide(ranking: SourceRanking, rows: pd.DataFrame, columns: str, value: str) -> Table:
    names = list(dict.fromkeys(rows[columns]))
    table = Table()
    for heading in ("source", *names):
        table.add_column(escape(heading), justify="left" if heading == "source" else "right", overflow="fold")
    for source in ranking.sources["source"]:
        own = rows[rows["source"] == source].set_index(columns)
        table.add_row(escape(source), *(escape(_interval(own.loc[name], value)) for name in names))
    return table


def _interval(row: Mapping[Hashable, Any] | pd.Series, name: str) -> str:
    return interval(row[name], row["low"], row["high"])
