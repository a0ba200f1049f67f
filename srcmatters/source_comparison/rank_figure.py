"""Figure of a ranking: what sources know and lean on, and where in the network label and confounder are."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from srcmatters.source_comparison.figures import COLOURS, DASHES, MARKERS
from srcmatters.source_comparison.ranking import SourceRanking

_PER_ROW = 3
_LEGEND_COLUMNS = 4


def rank_figure(ranking: SourceRanking, title: str = "") -> Figure:
    """Clean AUC, leans and robustness by source; then the AUC of every property by stage, one panel a source.

    Args:
        ranking: of :func:`srcmatters.source_comparison.ranking.rank_sources`.
        title: written above.
    """
    names = list(ranking.sources["source"])
    rows = -(-len(names) // _PER_ROW)
    figure = Figure(figsize=(13, 2.2 + 0.45 * len(names) + 3 * rows), layout="constrained")
    areas = figure.subfigures(2, 1, squeeze=False, height_ratios=[2 + 0.45 * len(names), 3 * rows])
    upper, lower = areas.ravel()
    clean, leans, robust = upper.subplots(1, 3, sharey=True)
    known = ranking.sources.assign(what="clean")
    _dots(clean, known, "what", "clean_auc", names, "clean AUC of a linear head", 0.5)
    _dots(leans, ranking.leans, "confounder", "lean", names, "learned lean at p_art 1 (AUC)", 0.0)
    _dots(robust, ranking.robustness, "against", "index", names, "robustness index", 0.5)
    ranks = ["not ranked" if pd.isna(rank) else f"{rank}" for rank in ranking.sources["rank"]]
    labels = [f"{name} ({rank})" for name, rank in zip(names, ranks, strict=True)]
    clean.set_yticks(range(len(names)), labels)
    clean.set_ylim(len(names) - 0.5, -0.5)  # the first source above, the outer markers inside
    panels = lower.subplots(rows, _PER_ROW, sharey=True, squeeze=False).ravel()
    for axes in panels[len(names) :]:
        axes.set_axis_off()
    for axes, name in zip(panels, names, strict=False):
        _by_stage(axes, ranking.stages[ranking.stages["source"] == name], name)
    handles, properties = panels[0].get_legend_handles_labels()
    lower.legend(
        handles, properties, frameon=False, fontsize=8, ncols=len(properties), loc="outside upper left"
    )
    figure.suptitle(title, fontsize=11)
    return figure


def _dots(
    axes: Axes, rows: pd.DataFrame, by: str, value: str, names: list[str], label: str, neutral: float
) -> None:
    kinds = list(dict.fromkeys(rows[by])) if len(rows) else []
    for number, kind in enumerate(kinds):
        own = rows[rows[by] == kind].set_index("source").loc[names]
        places = np.arange(len(names)) + 0.12 * (number - (len(kinds) - 1) / 2)
        reach = np.stack([own[value] - own["low"], own["high"] - own[value]]).clip(min=0)
        axes.errorbar(
            own[value],
            places,
            xerr=reach,
            color=COLOURS[number % len(COLOURS)],
            marker=MARKERS[number % len(MARKERS)],
            linestyle="none",
            markersize=5,
            elinewidth=1,
            label=str(kind),
        )
    axes.axvline(neutral, color="0.6", linewidth=1, zorder=0)
    axes.set_xlabel(label)
    if len(kinds) > 1:  # above the axes, where it covers no interval
        columns, corner = min(_LEGEND_COLUMNS, len(kinds)), (-0.02, 1)
        axes.legend(
            frameon=False, fontsize=8, ncols=columns, loc="lower left", bbox_to_anchor=corner, borderpad=0
        )
    axes.spines[["top", "right"]].set_visible(False)


def _by_stage(axes: Axes, rows: pd.DataFrame, title: str) -> None:
    stages = list(dict.fromkeys(rows["stage"]))
    for number, of in enumerate(dict.fromkeys(rows["of"])):
        own = rows[rows["of"] == of].set_index("stage").loc[stages]
        axes.plot(
            range(len(stages)),
            own["auc"],
            color=COLOURS[number % len(COLOURS)],
            marker=MARKERS[number % len(MARKERS)],
            linestyle=DASHES[number % len(DASHES)],
            linewidth=2.2 if of == "label" else 1.3,
            markersize=4,
            label=str(of),
        )
    axes.axhline(0.5, color="0.6", linewidth=1, zorder=0)
    axes.set_xticks(range(len(stages)), stages, rotation=45, ha="right", rotation_mode="anchor", fontsize=7)
    axes.set_title(title, fontsize=9, loc="left")
    axes.set_ylabel("AUC of a linear probe", fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
