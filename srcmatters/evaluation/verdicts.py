"""What a study shows, in sentences with numbers, and in one vocabulary."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pandas as pd

from srcmatters.evaluation.analysis import Analysis
from srcmatters.evaluation.analysis_plan import AnalysisPlan
from srcmatters.evaluation.leans import (
    IGNORANT,
    LEAST_CLEAN_AUC,
    NO_REFERENCE,
    ignorance,
    spoken_p_art,
)
from srcmatters.evaluation.outcomes import Outcome, outcome_of, outcome_of_interval
from srcmatters.evaluation.sentences import (
    comparison_sentence,
    control_sentence,
    lean_sentence,
    not_ranked_sentence,
)
from srcmatters.runs.finished_runs import AXES

__all__ = [
    "Outcome",
    "Verdict",
    "control_verdicts",
    "lean_verdicts",
    "outcome_of",
    "outcome_of_interval",
    "verdict_table",
    "verdicts",
]

Kind = Literal["lean", "comparison", "control"]


@dataclass(frozen=True)
class Verdict:
    """One sentence.

    Args:
        kind: "lean" of one source, "comparison" of two, or "control".
        outcome: see :class:`Outcome`.
        axes: target, network, depth, protocol, control, confounder and confounder_args.
        sources: the one or two it is about; of a comparison that leans, the one that leans more first.
        p_art: the share of carriers it is about.
        text: plain text.
        value: the size: learned lean of a source, difference of a comparison (first - second), deviation of
            a control from its null.
        low: lower end of its interval.
        high: upper end.
        reason: why, where the outcome is NOT RANKED, NOT APPLICABLE or SKIPPED; else "".
        metric: what the value is of: "learned_lean", "iid_minus_ood_auc", "ood_auc", ...
        not_excluded: of a lean, the largest loss of AUC that the study does not exclude, at least 0,
            corrected for all leans that it judges; NaN otherwise.
    """

    kind: Kind
    outcome: Outcome
    axes: dict[str, Any]
    sources: tuple[str, ...]
    p_art: float
    text: str
    value: float = field(default=float("nan"))
    low: float = field(default=float("nan"))
    high: float = field(default=float("nan"))
    reason: str = ""
    metric: str = "learned_lean"
    not_excluded: float = field(default=float("nan"))


def verdicts(analysis: Analysis) -> list[Verdict]:
    """Sentences for every source and pair of sources, at the p_art that the plan declared.

    Where a group of runs lacks that p_art its highest one is taken, and named. Controls come last.
    """
    all_verdicts: list[Verdict] = []
    for axes, environments in analysis.environments.groupby(list(AXES), sort=False, dropna=False):
        group = dict(zip(AXES, axes, strict=True))
        if group["control"] == "none":
            p_art = spoken_p_art(environments["p_art"], analysis.plan)
            all_verdicts += _leans(group, analysis, environments, [p_art])
            all_verdicts += _comparisons(group, analysis, environments, p_art)
    return all_verdicts + control_verdicts(analysis)


def lean_verdicts(analysis: Analysis) -> list[Verdict]:
    """Sentences for every source and every p_art above 0, not only the declared one."""
    return [
        one
        for axes, environments in analysis.environments.groupby(list(AXES), sort=False, dropna=False)
        for one in _leans(dict(zip(AXES, axes, strict=True)), analysis, environments, None)
    ]


def _of(table: pd.DataFrame, axes: dict[str, Any]) -> pd.DataFrame:
    """The rows of a group."""
    if table.empty:
        return table
    return table[np.logical_and.reduce([table[name] == value for name, value in axes.items()])]


def _rows(table: pd.DataFrame) -> list[Any]:
    """Rows as named tuples, whose types pandas cannot know."""
    return list(table.itertuples())


def _leans(
    axes: dict[str, Any], analysis: Analysis, environments: pd.DataFrame, shares: list[float] | None
) -> list[Verdict]:
    """Of the runs at some p_art; None: at all."""
    rows, judged = _of(analysis.leans, axes), []
    if shares is not None and len(rows):
        rows = rows[rows["p_art"].isin(shares)]
    reasons = ignorance(environments, analysis.plan.equivalence_margin)
    for row in _rows(rows):
        outcome = outcome_of(
            row.p_beyond_adjusted, row.p_equivalence_adjusted, row.lean, analysis.plan.confidence
        )
        here = environments[(environments["source"] == row.source) & (environments["p_art"] == row.p_art)]
        areas = {one.environment: one for one in _rows(here)}
        text = lean_sentence(axes, row, areas, outcome.value, analysis.plan)
        reason = "no interval could be computed" if outcome is Outcome.SKIPPED else ""
        clean = _clean_where_known(environments, row, areas, reasons.get(row.source, ""))
        if outcome is not Outcome.LEANS and clean is not None:
            text = not_ranked_sentence(axes, row, clean)
            outcome, reason = Outcome.NOT_RANKED, IGNORANT
        ends = (row.lean, row.low, row.high)
        judged.append(
            Verdict(
                "lean",
                outcome,
                axes,
                (row.source,),
                row.p_art,
                text,
                *ends,
                reason,
                row.metric,
                row.not_excluded,
            )
        )
    return judged


def _clean_where_known(environments: pd.DataFrame, row: Any, areas: dict[str, Any], reason: str) -> Any:
    """The clean AUC of a source that does not know the target; None of one that does.

    Without runs at p_art 0 that of the same runs stands for it: a network at chance loses nothing, taught or
    not.
    """
    if reason == IGNORANT:
        return _clean_at_0(environments, row.source)
    here = areas.get("clean")
    if reason == NO_REFERENCE and here is not None and not here.auc_low > LEAST_CLEAN_AUC:
        return here
    return None


def _clean_at_0(environments: pd.DataFrame, source: str) -> Any:
    rows = environments[(environments["source"] == source) & (environments["environment"] == "clean")]
    return _rows(rows[rows["p_art"].astype(float) == 0])[0]


def _comparisons(
    axes: dict[str, Any], analysis: Analysis, environments: pd.DataFrame, p_art: float
) -> list[Verdict]:
    contrasts, plan = _of(analysis.contrasts, axes), analysis.plan
    if contrasts.empty:
        return []
    compared = contrasts[(contrasts["metric"] == plan.metric) & (contrasts["p_art"] == p_art)]
    reasons = ignorance(environments, plan.equivalence_margin) if plan.metric == "learned_lean" else {}
    sizes = analysis.contrasts.loc[analysis.contrasts["p_value"].notna(), "family"].value_counts()
    judged = []
    for row in _rows(compared):
        outcome, reason = _compared(row, reasons, plan)
        text = comparison_sentence(axes, row, outcome.value, reason, plan, int(sizes.get(row.family, 0)))
        pair, ends = (row.source_a, row.source_b), (row.difference, row.low, row.high)
        if outcome is Outcome.LEANS and row.difference < 0:
            pair, ends = pair[::-1], (-row.difference, -row.high, -row.low)
        judged.append(Verdict("comparison", outcome, axes, pair, p_art, text, *ends, reason, plan.metric))
    return judged


def _compared(row: Any, reasons: dict[str, str], plan: AnalysisPlan) -> tuple[Outcome, str]:
    if not np.isfinite(row.p_value):
        return Outcome.SKIPPED, "the difference or its error could not be computed"
    named = [f"{source} {reasons[source]}" for source in (row.source_a, row.source_b) if source in reasons]
    if named:
        return Outcome.NOT_RANKED, "; ".join(named)
    if row.p_adjusted < 1 - plan.confidence:
        other = getattr(row, "superiority_difference", np.nan)
        if plan.metric == "learned_lean" and np.isfinite(other) and other * row.difference < 0:
            return Outcome.NOT_RANKED, "AUC and the effect on a case point to different sources"
        return Outcome.LEANS, ""
    return (Outcome.WITHIN_MARGIN if row.equivalent else Outcome.INCONCLUSIVE), ""


def control_verdicts(analysis: Analysis) -> list[Verdict]:
    """Sentences for every null control."""
    judged = []
    for row in _rows(analysis.controls):
        axes = {name: getattr(row, name) for name in AXES}
        # A control fails in either direction.
        outcome = outcome_of(
            row.p_beyond_adjusted, row.p_equivalence_adjusted, abs(row.value), analysis.plan.confidence
        )
        text = control_sentence(axes, row, outcome.value, analysis.plan)
        reason = "no interval could be computed" if outcome is Outcome.SKIPPED else ""
        ends = (row.value, row.low, row.high)
        judged.append(
            Verdict("control", outcome, axes, (row.source,), row.p_art, text, *ends, reason, row.metric)
        )
    return judged


def verdict_table(sentences: list[Verdict]) -> pd.DataFrame:
    """Verdicts as a table: axes, kind, outcome, sources, p_art, metric, value, low, high, reason, text."""
    names = ("kind", "outcome", "p_art", "metric", "value", "low", "high", "reason", "text")
    rows = [
        {**one.axes, "sources": " | ".join(one.sources), **{name: getattr(one, name) for name in names}}
        for one in sentences
    ]
    return pd.DataFrame(rows, columns=[*AXES, "sources", *names])
