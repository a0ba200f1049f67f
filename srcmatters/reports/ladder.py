"""The ladder as a table and as a figure."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib
from matplotlib.figure import Figure

from srcmatters.evaluation.ladder import CAUTION, Rung
from srcmatters.numbers import interval, number
from srcmatters.reports.inline_svg import INK, Picture, inline, style
from srcmatters.reports.study_tables import Table

_ROW = 0.27


def ladder_table(rungs: Sequence[Rung], beyond: str = "") -> Table:
    """A row per step."""
    rows = [
        [
            rung.title,
            str(rung.features),
            "yes" if rung.anatomy else "no",
            interval(rung.auc, rung.low, rung.high),
        ]
        for rung in rungs
    ]
    columns = ("what the classifier is given", "features", "anatomy", "AUC")
    note = f"{CAUTION} Logistic regression fixed beforehand, five folds by patient, 95 % intervals."
    return Table(
        "The ladder: what is knowable without the disease",
        columns,
        [("", rows)],
        1,
        f"{note} {beyond}".strip(),
    )


def ladder_figure(rungs: Sequence[Rung], key: str) -> Picture:
    """AUC of every step with its interval; steps without anatomy are filled circles.

    Args:
        rungs: in order.
        key: see :func:`srcmatters.reports.inline_svg.inline`.
    """
    with matplotlib.rc_context(style()):
        figure = Figure(figsize=(6.2, _ROW * len(rungs) + 0.7), layout="constrained")
        axes = figure.subplots()
        axes.axvline(0.5, color="#888888", linewidth=0.9)
        for at, rung in enumerate(rungs):
            colour = "#0072B2" if rung.anatomy else "#D55E00"
            axes.plot([rung.low, rung.high], [at, at], color=colour, linewidth=1.8)
            axes.plot([rung.auc], [at], "o" if rung.anatomy else "D", color=colour, markersize=5)
        lowest = min([0.45, *(rung.low - 0.02 for rung in rungs)])
        axes.set(xlim=(lowest, 1.0), ylim=(len(rungs) - 0.4, -0.6))
        axes.set_yticks(range(len(rungs)), [rung.title for rung in rungs])
        axes.tick_params(axis="y", length=0)
        axes.set_xlabel("AUC (diamonds: no anatomy to be seen; circles: anatomy)", color=INK)
        axes.xaxis.set_major_formatter(lambda value, _: number(value, 1))
        axes.spines[["top", "right", "left"]].set_visible(False)
        words = "; ".join(f"{rung.title}: {interval(rung.auc, rung.low, rung.high)}" for rung in rungs)
        return Picture(inline(figure, f"AUC by step. {words}.", key))
