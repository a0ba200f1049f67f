"""What p_art does: curves of the AUC over it, their slopes, and whether these differ between sources."""

from __future__ import annotations

from typing import Any

import numpy as np

from srcmatters.evaluation.analysis_plan import AnalysisPlan
from srcmatters.evaluation.contrasts import source_pairs
from srcmatters.evaluation.resampled_runs import ResampledRuns
from srcmatters.evaluation.resampled_statistics import ResampledStatistic, combine, difference
from srcmatters.evaluation.run_groups import Repetition


def trapezoid_weights(positions: np.ndarray) -> np.ndarray:
    """Weights with which values at these positions average to the mean height of the curve through them."""
    widths = np.diff(positions)
    weights = np.zeros(len(positions))
    weights[:-1] += widths / 2
    weights[1:] += widths / 2
    return weights / widths.sum()


def slope_weights(positions: np.ndarray) -> np.ndarray:
    """Weights with which values at these positions add up to the slope of their least-squares line."""
    centred = positions - positions.mean()
    return centred / (centred**2).sum()


def crossing(positions: np.ndarray, areas: np.ndarray, level: float = 0.5) -> float:
    """Where a curve first falls through ``level``, read off its straight segments.

    Args:
        positions: (points,) p_art, ascending.
        areas: (points,) AUC.
        level: chance.

    Returns:
        p_art; the first one if the curve begins below, NaN if it never gets there.
    """
    below = np.flatnonzero(areas < level)
    if not len(below):
        return float("nan")
    end = int(below[0])
    if end == 0:
        return float(positions[0])
    fall = areas[end - 1] - areas[end]
    return float(positions[end - 1] + (areas[end - 1] - level) / fall * (positions[end] - positions[end - 1]))


def _over_p_art(
    runs: ResampledRuns, source: str, name: str, weights: Any, shares: list[float]
) -> dict[Repetition, ResampledStatistic]:
    """A weighted sum over p_art in every fold and seed that has all of them."""
    columns = [runs.of(source, p_art, name) for p_art in shares]
    coefficients = weights(np.array(shares, dtype=float))
    places = [place for place in columns[0] if all(place in column for column in columns)]
    return {place: combine(coefficients, [column[place] for column in columns]) for place in places}


def _leans(
    runs: ResampledRuns, source: str, weights: Any, shares: list[float]
) -> dict[Repetition, ResampledStatistic]:
    """The learned lean weighted over p_art; at p_art 0, the first of ``shares``, it is 0 by definition."""
    coefficients = weights(np.array(shares, dtype=float))[1:]
    columns = [runs.of(source, p_art, "learned_lean") for p_art in shares[1:]]
    places = [place for place in columns[0] if all(place in column for column in columns)]
    return {place: combine(coefficients, [column[place] for column in columns]) for place in places}


def curve_rows(runs: ResampledRuns, plan: AnalysisPlan, notes: list[str]) -> list[dict[str, Any]]:
    """One row per source that was run at two p_art at least; folds that lack one go into ``notes``."""
    group, rows = runs.group, []
    for source in group.sources:
        shares = group.shares(source)
        if len(shares) < 2:
            continue
        complete = _over_p_art(runs, source, "iid_minus_ood_auc", trapezoid_weights, shares)
        most = max(len(group.runs(source, p_art)) for p_art in shares)
        if len(complete) < most:
            notes.append(
                f"{group.label}: {len(complete)} of {most} folds and seeds of {source} have every p_art; its"
                " slope and the areas under its curves are theirs"
            )
        curves = {
            "area_under_degradation": (group.over(complete), 1.0),
            "slope": (group.over(_over_p_art(runs, source, "ood_auc", slope_weights, shares)), np.inf),
        }
        if shares[0] == 0:
            curves["area_under_lean"] = (group.over(_leans(runs, source, trapezoid_weights, shares)), 2.0)
        areas = [runs.mean(source, p_art, "ood_auc").value for p_art in shares]
        row: dict[str, Any] = {"source": source}
        for name, (estimated, limit) in curves.items():
            low, high = estimated.interval(plan.confidence, -limit, limit)
            row |= {name: estimated.value, f"{name}_low": low, f"{name}_high": high}
        rows.append({**group.axes, **row, "crossing": crossing(np.array(shares), np.array(areas))})
    return rows


def interaction_rows(runs: ResampledRuns, plan: AnalysisPlan, notes: list[str]) -> list[dict[str, Any]]:
    """One row per pair of sources: whether the lean of one grows faster with p_art than that of the other."""
    group, rows = runs.group, []
    for first, second in source_pairs(group.sources, plan):
        shares = sorted(set(group.shares(first)) & set(group.shares(second)))
        if len(shares) < 2 or shares[0] > 0:
            notes.append(
                f"{group.label}: {first} and {second} have {len(shares)} p_art in common; an interaction"
                " needs"
                " two, and 0 among them"
            )
            continue
        slopes = [_leans(runs, source, slope_weights, shares) for source in (first, second)]
        places = [place for place in slopes[0] if place in slopes[1]]
        estimated = group.over({place: difference(slopes[0][place], slopes[1][place]) for place in places})
        low, high = estimated.interval(plan.confidence, -np.inf, np.inf)
        row = {"source_a": first, "source_b": second, "difference": estimated.value, "low": low, "high": high}
        rows.append({**group.axes, **row, "p_value": estimated.p_value()})
    return rows
