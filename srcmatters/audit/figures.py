"""Figures of an audit: the verdicts at a glance, and what a dose and a mixture do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from srcmatters.audit.check import Finding
from srcmatters.evaluation.outcomes import Outcome
from srcmatters.numbers import interval, number, signed
from srcmatters.reports.inline_svg import INK, Picture, inline, style

#: Okabe and Ito: told apart with every common colour blindness; the marker says the same in grey.
_LOOKS = {
    Outcome.LEANS: ("#D55E00", "D"),
    Outcome.INCONCLUSIVE: ("#E69F00", "s"),
    Outcome.NOT_RANKED: ("#8a8a8a", "s"),
    Outcome.WITHIN_MARGIN: ("#0072B2", "o"),
}
_ROW = 0.27  # inches


def verdict_figure(verdicts: Sequence[Finding], margin: float, key: str) -> Picture:
    """Loss under reversal of every confounder with its interval; the margin is shaded.

    Args:
        verdicts: of the check ``sensitivity``, the worst first.
        margin: of AUC.
        key: see :func:`srcmatters.reports.inline_svg.inline`.
    """
    rows = [one for one in verdicts if np.isfinite(one.value)]
    with matplotlib.rc_context(style()):
        figure = Figure(figsize=(6.2, _ROW * max(len(rows), 1) + 0.75), layout="constrained")
        axes = figure.subplots()
        axes.axvspan(-margin, margin, color="#888888", alpha=0.18, linewidth=0)
        axes.axvline(0, color="#888888", linewidth=0.9)
        for at, one in enumerate(rows):
            colour, marker = _LOOKS.get(one.outcome, (INK, "o")) if one.outcome else (INK, "o")
            axes.plot([one.low, one.high], [at, at], color=colour, linewidth=1.8)
            axes.plot([one.value], [at], marker, color=colour, markersize=6)
        widest = max([abs(end) for one in rows for end in (one.low, one.high)], default=margin)
        limit = max(1.1 * widest, 2 * margin)
        axes.set(xlim=(-limit, limit), ylim=(len(rows) - 0.4, -0.6))
        axes.set_yticks(range(len(rows)), [one.subject for one in rows])
        axes.tick_params(axis="y", length=0)
        axes.set_xlabel("loss of AUC when who carries the confounder is reversed (shaded: the margin)")
        axes.xaxis.set_major_formatter(lambda value, _: signed(value) if abs(value) > 1e-9 else "0")
        axes.spines[["top", "right", "left"]].set_visible(False)
        words = "; ".join(f"{one.subject}: {interval(one.value, one.low, one.high)}" for one in rows)
        return Picture(inline(figure, f"Loss under reversal. {words}.", key))


def dose_figure(doses: Sequence[Mapping[str, Any]], name: str, key: str) -> Picture:
    """Mean change of the log-odds over the dose, with intervals.

    Args:
        doses: rows of the check ``effect``, ascending.
        name: of the confounder.
        key: see :func:`srcmatters.reports.inline_svg.inline`.
    """
    at = [float(row["dose"]) for row in doses]
    effects = [row["effect"] for row in doses]
    with matplotlib.rc_context(style()):
        figure = Figure(figsize=(2.9, 2.1), layout="constrained")
        axes = figure.subplots()
        axes.axhline(0, color="#888888", linewidth=0.8)
        axes.plot(at, [one["value"] for one in effects], "-", color="#0072B2", linewidth=1.6)
        for place, one in zip(at, effects, strict=True):
            axes.plot([place, place], [one["low"], one["high"]], color="#0072B2", linewidth=1.4)
        axes.plot(at, [one["value"] for one in effects], "o", color="#0072B2", markersize=5)
        axes.set_xscale("log")
        axes.set_xticks([1 / 3, 1, 3], ["⅓", "1", "3"])
        axes.minorticks_off()
        axes.set(xlim=(0.25, 4), xlabel="dose, of the default", ylabel="change of log-odds")
        axes.yaxis.set_major_locator(MaxNLocator(4))
        steps = np.diff(axes.get_yticks())
        digits = max(1, int(np.ceil(-np.log10(max(float(steps.min()), 1e-6)))))
        axes.yaxis.set_major_formatter(lambda value, _: signed(value, digits) if abs(value) > 1e-9 else "0")
        axes.spines[["top", "right"]].set_visible(False)
        words = "; ".join(
            f"dose {place:.3g}: {interval(one['value'], one['low'], one['high'])}"
            for place, one in zip(at, effects, strict=True)
        )
        return Picture(inline(figure, f"{name}: change of the log-odds. {words}.", key), "Effect over dose")


def mixture_figure(curve: Sequence[Mapping[str, float]], name: str, key: str) -> Picture:
    """AUC from "all positives carry it" to "all negatives do", with a band of intervals.

    Args:
        curve: step, auc, low and high.
        name: of the confounder.
        key: see :func:`srcmatters.reports.inline_svg.inline`.
    """
    steps, areas, low, high = (
        np.array([row[field] for row in curve], dtype=float) for field in ("step", "auc", "low", "high")
    )
    with matplotlib.rc_context(style()):
        figure = Figure(figsize=(2.9, 2.1), layout="constrained")
        axes = figure.subplots()
        axes.axhline(0.5, color="#888888", linewidth=0.8, linestyle=(0, (2, 2)))
        axes.fill_between(steps, low, high, color="#0072B2", alpha=0.18, linewidth=0)
        axes.plot(steps, areas, color="#0072B2", linewidth=1.8)
        axes.set(xlim=(0, 1), ylim=(min(0.4, float(np.nanmin(low)) - 0.02), 1.0), ylabel="AUC")
        axes.set_xticks([0, 0.5, 1], ["positives", "half of each", "negatives"])
        first, _, last = axes.get_xticklabels()
        first.set_horizontalalignment("left")
        last.set_horizontalalignment("right")
        axes.set_xlabel("who carries it")
        axes.yaxis.set_major_formatter(lambda value, _: number(value, 1))
        axes.spines[["top", "right"]].set_visible(False)
        alt = f"{name}: AUC from {number(areas[0])} (all positives) to {number(areas[-1])} (all negatives)."
        return Picture(inline(figure, alt, key), "AUC by who carries it")
