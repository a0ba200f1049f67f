"""Figure of how alike sources are, and how much each tells of a target's label."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

#: Okabe and Ito's palette without black and yellow; markers and dashes say the same without colour.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
MARKERS = ("o", "s", "^", "D", "v", "P")
DASHES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)))
_PER_ROW = 3
_LEGEND_COLUMNS = 2
#: Why there may be no CKA at a stage.
BLANK = "the features of one source do not vary between the images there, so there is no CKA."


def source_comparison_figure(
    same_stage: pd.DataFrame, similarity: pd.DataFrame, probes: pd.DataFrame, title: str = ""
) -> Figure:
    """CKA and probe AUC by stage; then every stage of one source against every stage of the other.

    Args:
        same_stage: source_a, source_b, stage, cka, standard_error; bars are 95 % intervals.
        similarity: source_a, stage_a, source_b, stage_b, cka.
        probes: source, stage, auc, low, high.
        title: written above.
    """
    stages = list(dict.fromkeys(probes["stage"]))
    pairs = list(dict.fromkeys(zip(similarity["source_a"], similarity["source_b"], strict=True)))
    rows = -(-len(pairs) // _PER_ROW)
    if len(pairs) == 1:
        figure = Figure(figsize=(14, 4.4), layout="constrained")
        areas = figure.subfigures(1, 2, squeeze=False, width_ratios=[2.1, 1])
    else:
        figure = Figure(figsize=(12, 4.2 + 3.9 * rows), layout="constrained")
        areas = figure.subfigures(2, 1, squeeze=False, height_ratios=[4.2, 3.9 * rows])
    upper, lower = areas.ravel()
    alike, telling = upper.subplots(1, 2)
    _draw_similarity(alike, same_stage, pairs, stages)
    _draw_probes(telling, probes, stages)
    _draw_matrices(lower, similarity, pairs, stages, rows)
    figure.suptitle(title, fontsize=11)
    return figure


def _draw_similarity(
    axes: Axes, same_stage: pd.DataFrame, pairs: Sequence[tuple[str, str]], stages: Sequence[str]
) -> None:
    for number, (one, other) in enumerate(pairs):
        rows = same_stage[(same_stage["source_a"] == one) & (same_stage["source_b"] == other)]
        rows = rows.set_index("stage").loc[list(stages)]
        reach = 1.96 * rows["standard_error"].fillna(0)
        _line(axes, number, len(pairs), rows["cka"], (reach, reach), f"{one} – {other}")
    axes.axhline(0, color="0.6", linewidth=1, zorder=0)
    axes.set(ylabel="linear CKA (debiased)", ylim=(min(-0.05, axes.get_ylim()[0]), 1.04))
    _finish(axes, stages, "How alike is what they see?")


def _draw_probes(axes: Axes, probes: pd.DataFrame, stages: Sequence[str]) -> None:
    sources = list(dict.fromkeys(probes["source"]))
    for number, source in enumerate(sources):
        rows = probes[probes["source"] == source].set_index("stage").loc[list(stages)]
        below, above = rows["auc"] - rows["low"], rows["high"] - rows["auc"]
        _line(axes, number, len(sources), rows["auc"], (below, above), source)
    axes.axhline(0.5, color="0.6", linewidth=1, zorder=0)
    axes.set(ylabel="ROC-AUC of a linear probe", ylim=(min(0.45, axes.get_ylim()[0]), 1.01))
    _finish(axes, stages, "How much does it tell of the label?")


def _line(
    axes: Axes,
    number: int,
    of: int,
    values: pd.Series,
    reach: tuple[pd.Series, pd.Series],
    label: str,
) -> None:
    """One line with intervals, beside the others so that intervals do not cover one another."""
    places = np.arange(len(values)) + 0.12 * (number - (of - 1) / 2)
    axes.errorbar(
        places,
        values.to_numpy(),
        yerr=np.stack([side.to_numpy().clip(min=0) for side in reach]),
        color=COLOURS[number % len(COLOURS)],
        marker=MARKERS[number % len(MARKERS)],
        linestyle=DASHES[number % len(DASHES)],
        markersize=5,
        linewidth=1.5,
        elinewidth=1,
        label=label,
    )


def _finish(axes: Axes, stages: Sequence[str], title: str) -> None:
    """Ticks, and the legend between title and axes, where it covers no interval."""
    axes.set_xticks(range(len(stages)), stages, rotation=35, ha="right", rotation_mode="anchor")
    lines = -(-len(axes.get_legend_handles_labels()[0]) // _LEGEND_COLUMNS)
    axes.legend(
        frameon=False,
        fontsize=9,
        ncols=_LEGEND_COLUMNS,
        loc="lower left",
        bbox_to_anchor=(-0.02, 1),
        borderpad=0,
    )
    axes.set_title(title, fontsize=10, loc="left", pad=8 + 14 * lines)
    axes.spines[["top", "right"]].set_visible(False)


def _draw_matrices(
    area: SubFigure,
    similarity: pd.DataFrame,
    pairs: Sequence[tuple[str, str]],
    stages: Sequence[str],
    rows: int,
) -> None:
    grid = area.subplots(rows, min(_PER_ROW, len(pairs)), squeeze=False).ravel()
    for axes in grid[len(pairs) :]:
        axes.set_axis_off()
    for axes, (one, other) in zip(grid, pairs, strict=False):
        rows_of_pair = similarity[(similarity["source_a"] == one) & (similarity["source_b"] == other)]
        matrix = rows_of_pair.pivot(index="stage_a", columns="stage_b", values="cka").loc[
            list(stages), list(stages)
        ]
        axes.patch.set(facecolor="0.92", edgecolor="0.6", hatch="///")  # shows where there is no value
        # Both axes run from input to output, away from the corner.
        shown = axes.imshow(matrix.to_numpy(), vmin=0, vmax=1, cmap="viridis", origin="lower")
        axes.set_xticks(
            range(len(stages)), stages, rotation=60, ha="right", rotation_mode="anchor", fontsize=8
        )
        axes.set_yticks(range(len(stages)), stages, fontsize=8)
        axes.set_ylabel(one)
        axes.set_xlabel(other)
        axes.spines[:].set_visible(False)
    area.colorbar(shown, ax=list(grid), shrink=0.8, label="linear CKA")
    if similarity["cka"].isna().any():
        area.supxlabel("Hatched: " + BLANK.replace("vary ", "vary\n"), fontsize=8)
