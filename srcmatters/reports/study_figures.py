"""Figures of a study: AUC over p_art, what the confounder does to a score, differences between sources."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import Transform

from srcmatters.numbers import interval, number, share, signed
from srcmatters.reports.inline_svg import INK, Picture, inline, style

#: The paper's panels: column prefix of the environment and what is written above.
PANELS = {
    "iid": "i.i.d. test: confounded as in training",
    "ood": "o.o.d. test: the correlation reversed",
    "clean": "clean test: no confounder",
}
# Okabe and Ito's palette, and a marker and a dash of its own for each: also told apart in grey.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", INK)
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_DASHES: tuple[object, ...] = ("-", (0, (5, 2)), (0, (1, 1.4)), (0, (5, 1.5, 1, 1.5)), (0, (3, 1)), "-", "--")
_PANEL_SIZE = (3.3, 2.55)  # inches: a third of a page, or the width of a phone
_DODGE = 0.012  # of p_art, so that intervals of two sources do not cover each other


@dataclass(frozen=True)
class Line:
    """How a source is drawn in all figures of a report."""

    colour: str
    marker: str
    dash: object


def source_lines(sources: Sequence[str]) -> dict[str, Line]:
    """A line for each source, the same in every figure; from the eighth on they repeat."""
    return {
        source: Line(
            _COLOURS[place % len(_COLOURS)], _MARKERS[place % len(_MARKERS)], _DASHES[place % len(_DASHES)]
        )
        for place, source in enumerate(sources)
    }


def legend_mark(line: Line, key: str) -> Markup:
    """A piece of a source's line with its marker, for a legend in the page's text."""
    with matplotlib.rc_context(style()):
        figure = Figure(figsize=(0.5, 0.17))
        axes = figure.add_axes((0, 0, 1, 1))
        axes.plot([0, 1, 2], [0, 0, 0], color=line.colour, linestyle=line.dash, linewidth=1.8)
        axes.plot([1], [0], line.marker, color=line.colour, markersize=6)
        axes.set(xlim=(0, 2), ylim=(-1, 1))
        axes.set_axis_off()
        return inline(figure, "", key)


def area_panels(rows: pd.DataFrame, lines: Mapping[str, Line], confounder: str, key: str) -> list[Picture]:
    """The paper's figure for one confounder: ROC-AUC over p_art, a panel per environment, a line per source.

    Args:
        rows: rows of ``Analysis.environments`` of this confounder.
        lines: how each source is drawn.
        confounder: its name, for the text.
        key: see :func:`srcmatters.reports.inline_svg.inline`.
    """
    pictures = []
    for environment, title in PANELS.items():
        points = rows[rows["environment"] == environment]
        if points["auc"].notna().any():
            markup = _area_panel(points, lines, f"{confounder}, {title}", f"{key}{environment}")
            pictures.append(Picture(markup, title))
    return pictures


def _area_panel(rows: pd.DataFrame, lines: Mapping[str, Line], what: str, key: str) -> Markup:
    with matplotlib.rc_context(style()):
        figure, axes = _panel()
        axes.axhline(0.5, color="#888888", linewidth=0.8, linestyle=(0, (2, 2)), zorder=0)
        _draw_lines(axes, rows, lines, ("auc", "auc_low", "auc_high"))
        axes.set(ylim=(-0.02, 1.02), ylabel="ROC-AUC", yticks=np.arange(0, 1.01, 0.25))
        axes.set_yticklabels(["0", ".25", ".5", ".75", "1"])
        return inline(figure, f"ROC-AUC over p_art. {what}. {_ends(rows, 'auc')}", key)


def effect_panel(rows: pd.DataFrame, lines: Mapping[str, Line], confounder: str, key: str) -> Picture | None:
    """What the confounder does to the score of a case, in log-odds, over p_art; None for a sampled one.

    Args:
        rows: rows of ``Analysis.gaps`` of this confounder.
        lines, confounder, key: as for :func:`area_panels`.
    """
    rows = rows[rows["effect"].notna()]
    if rows.empty:
        return None
    with matplotlib.rc_context(style()):
        figure, axes = _panel()
        axes.axhline(0, color="#888888", linewidth=0.8, linestyle=(0, (2, 2)), zorder=0)
        _draw_lines(axes, rows, lines, ("effect", "effect_low", "effect_high"))
        axes.set_ylabel("shift of the score, log-odds")
        what = f"Mean shift of a case's score by {confounder}, in log-odds, over p_art"
        markup = inline(figure, f"{what}. {_ends(rows, 'effect')}", key)
    return Picture(markup, confounder)


def _panel() -> tuple[Figure, Axes]:
    figure = Figure(figsize=_PANEL_SIZE, layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#888888", alpha=0.22, linewidth=0.6)
    return figure, axes


def _draw_lines(
    axes: Axes, rows: pd.DataFrame, lines: Mapping[str, Line], columns: tuple[str, str, str]
) -> None:
    """A line per source with its intervals, a little beside each other."""
    present = [source for source in lines if source in set(rows["source"])]
    span = max(float(rows["p_art"].max() - rows["p_art"].min()), 0.1)
    for place, source in enumerate(present):
        mine, line = rows[rows["source"] == source].sort_values("p_art"), lines[source]
        value, low, high = (mine[column].to_numpy(dtype=float) for column in columns)
        dodge = (place - (len(present) - 1) / 2) * _DODGE * span
        distance = np.nan_to_num(np.clip([value - low, high - value], 0, None))
        axes.errorbar(
            mine["p_art"].to_numpy(dtype=float) + dodge,
            value,
            yerr=distance,
            color=line.colour,
            marker=line.marker,
            linestyle=line.dash,
            markersize=4.5,
            linewidth=1.6,
            elinewidth=1,
            capsize=0,
        )
    values = sorted(rows["p_art"].unique())
    axes.set_xticks(values, [share(value) for value in values])
    # 0 and .1 are neighbours: their labels must not touch.
    axes.tick_params(axis="x", labelsize=8)
    axes.set_xlabel("p_art: share of positives that carry it in training")


def _ends(rows: pd.DataFrame, column: str) -> str:
    """The figure in words: each source at the lowest and the highest p_art."""
    parts = []
    for source, mine in rows.sort_values("p_art").groupby("source", sort=False):
        first, last = mine.iloc[0], mine.iloc[-1]
        parts.append(
            f"{source}: {number(first[column])} at p_art {share(first['p_art'])},"
            f" {number(last[column])} at {share(last['p_art'])}"
        )
    return "; ".join(parts) + "."


def forest(rows: pd.DataFrame, margin: float, what: str, key: str) -> Picture:
    """Differences between sources with their intervals; the equivalence margin is shaded.

    Args:
        rows: rows of ``Analysis.contrasts``, in the order in which they are drawn.
        margin: equivalence margin, AUC.
        what: the metric and p_art that are compared, for the axis.
        key: see :func:`srcmatters.reports.inline_svg.inline`.
    """
    headings = rows["confounder"].ne(rows["confounder"].shift()).to_numpy()
    places, place = [], 0.0
    for heading in headings:
        place += 1.8 if heading and place else 1.0
        places.append(place)
    with matplotlib.rc_context(style()):
        figure = Figure(figsize=(4.5, 0.4 * (places[-1] + 1.2) + 0.45), layout="constrained")
        axes = figure.subplots()
        axes.axvspan(-margin, margin, color="#888888", alpha=0.18, linewidth=0)
        axes.axvline(0, color="#888888", linewidth=0.9)
        for at, heading, row in zip(places, headings, rows.itertuples(), strict=True):
            _forest_row(axes, at, row, bool(heading))
        _forest_axis(axes, rows, margin, places[-1], what)
        alt = f"Differences between sources, {what}. " + "; ".join(
            f"{row.confounder}, {row.source_a} minus {row.source_b}:"
            f" {interval(row.difference, row.low, row.high)}"
            for row in rows.itertuples()
        )
        return Picture(inline(figure, alt, key))


def _forest_row(axes: Axes, at: float, row: Any, heading: bool) -> None:
    beside = _across(axes)
    if heading:
        axes.text(0, at - 0.78, str(row.confounder), transform=beside, fontweight="bold")
    primary = row.family == "primary"
    if np.isfinite(row.low) and np.isfinite(row.high):
        axes.plot([row.low, row.high], [at, at], color=_COLOURS[0], linewidth=1.6)
    axes.plot(
        [row.difference],
        [at],
        "D" if primary else "o",
        color=_COLOURS[0],
        markersize=6 if primary else 5,
        markerfacecolor=_COLOURS[0] if primary else "white",
    )
    pair = f"{row.source_a} − {row.source_b}"
    size = interval(row.difference, row.low, row.high)
    axes.text(0, at - 0.32, pair, transform=beside, fontsize=8)
    axes.text(1, at - 0.32, size, transform=beside, fontsize=8, ha="right")


def _forest_axis(axes: Axes, rows: pd.DataFrame, margin: float, last: float, what: str) -> None:
    widest = np.nanmax(np.abs(rows[["low", "high", "difference"]].to_numpy(dtype=float)))
    limit = max(1.15 * float(widest), 2 * margin)
    axes.set(xlim=(-limit, limit), ylim=(last + 0.5, 0), yticks=[], xlabel=f"difference in {what}")
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.xaxis.set_major_formatter(lambda value, _: signed(value) if abs(value) > 1e-9 else "0")


def dumbbells(rows: pd.DataFrame, lines: Mapping[str, Line], confounders: Sequence[str], key: str) -> Picture:
    """A study at a glance: from the i.i.d. AUC of a source to its o.o.d. AUC, at one p_art.

    Args:
        rows: rows of ``Analysis.environments`` at that p_art.
        lines: how each source is drawn.
        confounders: in the order in which they are drawn.
        key: see :func:`srcmatters.reports.inline_svg.inline`.
    """
    areas = rows.set_index(["confounder", "source", "environment"])["auc"].to_dict()
    places = [(name, source) for name in confounders for source in ("", *lines)]
    words = []
    with matplotlib.rc_context(style()):
        figure = Figure(figsize=(4.2, 0.24 * len(places) + 0.6), layout="constrained")
        axes = figure.subplots()
        axes.axvline(0.5, color="#888888", linewidth=0.8, linestyle=(0, (2, 2)), zorder=0)
        for at, (confounder, source) in enumerate(places):
            if not source:
                axes.text(0, at, confounder, fontweight="bold", va="center", transform=_across(axes))
                continue
            iid, ood = (areas.get((confounder, source, name), np.nan) for name in ("iid", "ood"))
            _dumbbell(axes, at, lines[source], iid, ood)
            words.append(f"{confounder}, {source}: {number(iid)} to {number(ood)}")
        axes.set(xlim=(-0.03, 1.03), ylim=(len(places) - 0.4, -0.6))
        axes.set_yticks(range(len(places)), [source for _, source in places])
        axes.tick_params(axis="y", length=0)
        axes.set_xlabel("ROC-AUC: full mark i.i.d., hollow mark o.o.d.")
        axes.set_xticks(np.arange(0, 1.01, 0.25), ["0", ".25", ".5", ".75", "1"])
        axes.spines[["top", "right", "left"]].set_visible(False)
        return Picture(inline(figure, f"From i.i.d. to o.o.d. AUC. {'; '.join(words)}.", key))


def _dumbbell(axes: Axes, at: float, line: Line, iid: float, ood: float) -> None:
    axes.plot([ood, iid], [at, at], color=line.colour, linewidth=2.2, alpha=0.55)
    axes.plot([iid], [at], line.marker, color=line.colour, markersize=6)
    axes.plot([ood], [at], line.marker, color=line.colour, markersize=6, markerfacecolor="white")


def _across(axes: Axes) -> Transform:
    """Across the axes in fractions of its width, down in data."""
    return axes.get_yaxis_transform()
