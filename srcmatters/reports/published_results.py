"""A study beside results that somebody published of the same question."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from srcmatters.csv_tables import read_their_csv
from srcmatters.errors import InputError
from srcmatters.numbers import interval, number, share, signed
from srcmatters.reports.inline_svg import Picture, inline, style
from srcmatters.reports.study_figures import Line
from srcmatters.reports.study_tables import ENVIRONMENT_NAMES, Table

_COLUMNS = ("experiment", "source", "test", "p_art", "auc")
_TESTS = ("clean", "iid", "ood")
_MODALITIES = ("xray", "ct")
_ACROSS = 3  # panels beside each other


@dataclass(frozen=True)
class PublishedComparison:
    """What is shown of it.

    Args:
        table: a row per published result that this study repeats.
        picture: o.o.d. AUC over p_art, a panel per confounder.
        sentence: how many results agree.
        sources: those that are compared.
    """

    table: Table
    picture: Picture | None
    sentence: str
    sources: tuple[str, ...] = ()


def read_published(path: str | Path) -> pd.DataFrame:
    """Results of others: experiment (confounder), source, test (clean, iid, ood), p_art, auc, maybe target.

    Args:
        path: CSV file.

    Raises:
        InputError: names the file, the column or the line.
    """
    table = read_their_csv(path)
    missing = [name for name in _COLUMNS if name not in table]
    if missing:
        raise InputError(f"{path}: no column {missing[0]}, expected {', '.join(_COLUMNS)}")
    for name in ("p_art", "auc"):
        numbers = pd.to_numeric(table[name], errors="coerce")
        wrong = table.index[~numbers.between(0, 1)]
        if len(wrong):
            entry = table.loc[wrong[0], name]
            raise InputError(
                f"{path}: line {wrong[0] + 2}: {name}: got {entry!r}, expected a number in [0, 1]"
            )
        table[name] = numbers
    wrong = table.index[~table["test"].isin(_TESTS)]
    if len(wrong):
        entry = table.loc[wrong[0], "test"]
        raise InputError(f"{path}: line {wrong[0] + 2}: test: got {entry!r}, expected {', '.join(_TESTS)}")
    return table


def published_comparison(
    published: pd.DataFrame, environments: pd.DataFrame, modality: str, lines: Mapping[str, Line]
) -> PublishedComparison | None:
    """Results of a study beside those that were published of the same confounder, source, test and p_art.

    Args:
        published: of :func:`read_published`; of a column ``target`` with "xray" and "ct" only rows of the
            study's modality count.
        environments: of :class:`srcmatters.evaluation.Analysis`; ``confounder`` is its name.
        modality: "xray" or "ct".
        lines: how each source is drawn.

    Returns:
        None where nothing is in both.
    """
    if "target" in published and published["target"].isin(_MODALITIES).all():
        published = published[published["target"] == modality]
    both = environments.rename(columns={"auc": "here"}).merge(
        published.rename(columns={"experiment": "confounder", "test": "environment", "auc": "published"})[
            ["confounder", "source", "environment", "p_art", "published"]
        ],
        on=["confounder", "source", "environment", "p_art"],
    )
    both = both.dropna(subset=["here"])
    if both.empty:
        return None
    groups = [
        (str(confounder), [_row(row) for row in rows.itertuples()])
        for confounder, rows in both.groupby("confounder", sort=False)
    ]
    others = sorted(set(published["source"]) - set(both["source"]))
    note = "Other images than those of the publication unless its splits were used: the pattern can agree."
    if others:
        note += f" Published and not in this study: {', '.join(others)}."
    table = Table(
        "AUC here and as published",
        ("source", "test", "p_art", "published AUC", "AUC here", "here − published"),
        groups,
        labels=2,
        note=note,
    )
    inside = ((both["published"] >= both["auc_low"]) & (both["published"] <= both["auc_high"])).sum()
    sentence = f"Of {len(both)} published AUCs {inside} lie in the 95 % interval of this study."
    compared = tuple(dict.fromkeys(both["source"]))
    return PublishedComparison(table, _picture(both, lines), f"{sentence} {_orders(both)}".strip(), compared)


def published_section(
    published: pd.DataFrame | None, environments: pd.DataFrame, cells: pd.DataFrame, lines: Mapping[str, Line]
) -> PublishedComparison | None:
    """The comparison of a study, None where no table was named.

    Args:
        published, environments, lines: see :func:`published_comparison`.
        cells: runs of the study, which tell its modality.

    Raises:
        InputError: the study repeats no published result.
    """
    if published is None:
        return None
    modality = "ct" if "window" in cells else "xray"
    comparison = published_comparison(published, environments, modality, lines)
    if comparison is None:
        raise InputError(
            "--published: no result has the confounder, source, test and p_art of a cell of this study"
        )
    return comparison


def _row(row: Any) -> list[str]:
    return [
        row.source,
        ENVIRONMENT_NAMES.get(row.environment, row.environment),
        share(row.p_art),
        number(row.published),
        interval(row.here, row.auc_low, row.auc_high),
        signed(row.here - row.published),
    ]


def _orders(both: pd.DataFrame) -> str:
    """Which of two sources has the higher o.o.d. AUC at the highest p_art, there and here."""
    ood, parts = both[both["environment"] == "ood"], []
    for confounder, rows in ood.groupby("confounder", sort=False):
        highest = rows[rows["p_art"] == rows["p_art"].max()].set_index("source")
        if len(highest) < 2:
            continue
        there, here = (" < ".join(highest[name].sort_values().index) for name in ("published", "here"))
        order = there if there == here else f"{there} there, {here} here"
        parts.append(f"{confounder} {order}")
    return f"Order of the o.o.d. AUC at the highest p_art: {'; '.join(parts)}." if parts else ""


def _picture(both: pd.DataFrame, lines: Mapping[str, Line]) -> Picture | None:
    ood = both[both["environment"] == "ood"]
    confounders = list(dict.fromkeys(ood["confounder"]))
    if not confounders:
        return None
    wide, high = min(len(confounders), _ACROSS), -(-len(confounders) // _ACROSS)
    with matplotlib.rc_context(style()):
        figure = Figure(figsize=(3.3 * wide, 2.6 * high), layout="constrained")
        panels = figure.subplots(high, wide, squeeze=False).flat
        for axes, confounder in zip(panels, [*confounders, *[None] * (wide * high)], strict=False):
            if confounder is None:
                axes.set_axis_off()
            else:
                _draw(axes, ood[ood["confounder"] == confounder], lines)
                axes.set_title(confounder)
        worst = (ood["here"] - ood["published"]).abs().max()
        alt = f"o.o.d. AUC over p_art, here and as published; the largest difference is {number(worst)}."
        return Picture(inline(figure, alt, "published"))


def _draw(axes: Axes, rows: pd.DataFrame, lines: Mapping[str, Line]) -> None:
    """Here: filled marks with intervals; published: hollow marks, dotted."""
    axes.axhline(0.5, color="#888888", linewidth=0.8, linestyle=(0, (2, 2)), zorder=0)
    for source in [name for name in lines if name in set(rows["source"])]:
        mine, line = rows[rows["source"] == source].sort_values("p_art"), lines[source]
        ends = np.abs(np.stack([mine["here"] - mine["auc_low"], mine["auc_high"] - mine["here"]]))
        drawn: dict[str, Any] = {"color": line.colour, "marker": line.marker, "markersize": 4.5}
        axes.errorbar(mine["p_art"], mine["here"], yerr=np.nan_to_num(ends), linewidth=1.6, **drawn)
        hollow: dict[str, Any] = {"markerfacecolor": "none", "linestyle": ":", "linewidth": 1.2}
        axes.plot(mine["p_art"], mine["published"], **drawn, **hollow)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set(ylim=(-0.02, 1.02), xlabel="p_art", ylabel="o.o.d. AUC")
    values = sorted(rows["p_art"].unique())
    axes.set_xticks(values, [share(value) for value in values])
