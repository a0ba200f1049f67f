"""What a study found, in sentences with numbers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pandas as pd

from srcmatters.evaluation.analysis import Analysis
from srcmatters.evaluation.analysis_plan import AnalysisPlan
from srcmatters.runs.finished_runs import AXES

_METRICS = {
    "clean_auc": "clean AUC",
    "iid_auc": "i.i.d. AUC",
    "ood_auc": "o.o.d. AUC",
    "iid_minus_ood_auc": "loss of AUC",
}


@dataclass(frozen=True)
class Verdict:
    """One sentence.

    Args:
        kind: "loss" of one source, "comparison" of two, or "control".
        axes: target, network, depth, protocol, control, confounder and confounder_args.
        sources: the one or two it is about.
        p_art: the share of carriers it is about.
        text: plain text.
        value: the figure of the sentence: i.i.d. - o.o.d. AUC of a loss, a - b of a comparison.
        low: lower end of its interval.
        high: upper end.
    """

    kind: Literal["loss", "comparison", "control"]
    axes: dict[str, Any]
    sources: tuple[str, ...]
    p_art: float
    text: str
    value: float = field(default=float("nan"))
    low: float = field(default=float("nan"))
    high: float = field(default=float("nan"))


def verdicts(analysis: Analysis) -> list[Verdict]:
    """Sentences for every source and pair of sources, at the p_art that the plan declared.

    Where a group of runs lacks that p_art its highest one is taken, and named. Controls come last.
    """
    found: list[Verdict] = []
    for axes, gaps in analysis.gaps.groupby(list(AXES), sort=False, dropna=False):
        group = dict(zip(AXES, axes, strict=True))
        p_art = _p_art(gaps, analysis.plan)
        gaps = gaps[gaps["p_art"] == p_art]
        control = group["control"] != "none"
        for _, gap in gaps.iterrows():
            say = _control if control else _loss
            found.append(say(group, gap, _areas(analysis.environments, gap), analysis.plan))
        if not control:
            found += _comparisons(group, analysis, p_art)
    return sorted(found, key=lambda verdict: verdict.kind == "control")


def number(value: float) -> str:
    """Two decimals without the zero in front, as AUCs are written."""
    if not np.isfinite(value):
        return "unknown"
    text = f"{abs(value):.2f}"
    shown = text[1:] if text.startswith("0.") else text
    return f"-{shown}" if value < 0 and shown != ".00" else shown


def p_text(p_value: float) -> str:
    """p with its relation: "p < .001", "p = .03"."""
    if not np.isfinite(p_value):
        return "p unknown"
    if p_value < 0.001:
        return "p < .001"
    text = f"{p_value:.3f}" if p_value < 0.01 else f"{p_value:.2f}"
    return f"p = {text[1:] if text.startswith('0.') else text}"


def _interval(value: float, low: float, high: float) -> str:
    return f"{number(value)} [{number(low)}, {number(high)}]"


def _p_art(gaps: pd.DataFrame, plan: AnalysisPlan) -> float:
    shares = gaps["p_art"].astype(float)
    declared = shares[np.isclose(shares, plan.p_art)]
    return float(declared.iloc[0] if len(declared) else shares.max())


def _areas(environments: pd.DataFrame, gap: pd.Series) -> dict[str, pd.Series]:
    """Rows of the clean, i.i.d. and o.o.d. environment of the cell of a gap."""
    same = np.logical_and.reduce([environments[name] == gap[name] for name in (*AXES, "source", "p_art")])
    return {row["environment"]: row for _, row in environments[same].iterrows()}


def _reversed(axes: dict[str, Any]) -> str:
    return f"when the correlation with {axes['confounder']} is reversed"


def _loss(axes: dict[str, Any], gap: pd.Series, areas: dict[str, pd.Series], plan: AnalysisPlan) -> Verdict:
    source, value, low, high = gap["source"], gap["iid_minus_ood"], gap["low"], gap["high"]
    amount = _interval(abs(value), *((low, high) if value >= 0 else (-high, -low)))
    levels = f"i.i.d. {number(areas['iid']['auc'])}, o.o.d. {number(areas['ood']['auc'])}"
    context = f"({levels}, p_art {gap['p_art']:g})"
    if not np.isfinite(low):
        text = f"{source}: what it loses {_reversed(axes)} is unknown {context}."
    elif low > 0:
        text = f"{source} loses {amount} AUC {_reversed(axes)} {context}."
    elif high < 0:
        text = f"{source} gains {amount} AUC {_reversed(axes)} {context}."
    else:
        shown = _interval(value, low, high)
        text = f"{source}: no loss shown {_reversed(axes)}: {shown} AUC {context}."
    clean = areas["clean"]
    if low <= 0 and clean["auc_low"] <= 0.5:
        text += (
            f" It has not shown to know the target either (clean AUC"
            f" {_interval(clean['auc'], clean['auc_low'], clean['auc_high'])}), so this is no merit."
        )
    return Verdict("loss", axes, (source,), float(gap["p_art"]), text, value, low, high)


def _control(
    axes: dict[str, Any], gap: pd.Series, areas: dict[str, pd.Series], plan: AnalysisPlan
) -> Verdict:
    source, value, low, high = gap["source"], gap["iid_minus_ood"], gap["low"], gap["high"]
    shown = _interval(value, low, high)
    judged = "null, as it should be" if low <= 0 <= high else "not null, although it should be"
    text = (
        f"control {axes['control']}, {axes['confounder']}, {source}: i.i.d. less o.o.d. AUC {shown}"
        f" (p_art {gap['p_art']:g}): {judged}."
    )
    clean = areas["clean"]
    if axes["control"] == "shuffled_labels":
        at_chance = clean["auc_low"] <= 0.5 <= clean["auc_high"]
        judged = "at chance, as it should be" if at_chance else "not at chance, although it should be"
        shown = _interval(clean["auc"], clean["auc_low"], clean["auc_high"])
        text += f" Clean AUC {shown}: {judged}."
    return Verdict("control", axes, (source,), float(gap["p_art"]), text, value, low, high)


def _comparisons(axes: dict[str, Any], analysis: Analysis, p_art: float) -> list[Verdict]:
    contrasts, plan = analysis.contrasts, analysis.plan
    chosen = np.logical_and.reduce([contrasts[name] == value for name, value in axes.items()])
    chosen &= (contrasts["metric"] == plan.metric) & (contrasts["p_art"] == p_art)
    family_sizes = contrasts.loc[contrasts["p_value"].notna(), "family"].value_counts()
    return [
        Verdict(
            "comparison",
            axes,
            (row["source_a"], row["source_b"]),
            p_art,
            _comparison(axes, row, plan, int(family_sizes.get(row["family"], 0))),
            row["difference"],
            row["low"],
            row["high"],
        )
        for _, row in contrasts[chosen].iterrows()
    ]


def _comparison(axes: dict[str, Any], row: pd.Series, plan: AnalysisPlan, family: int) -> str:
    first, second, value = row["source_a"], row["source_b"], row["difference"]
    metric, where = _METRICS[plan.metric], f"{axes['confounder']}, p_art {row['p_art']:g}"
    if not np.isfinite(row["p_value"]):
        return f"{first} and {second} could not be compared by {metric} ({where})."
    shown = _interval(value, row["low"], row["high"])
    margin = number(plan.equivalence_margin)
    correction = {"holm": "Holm", "bh": "Benjamini-Hochberg"}[row["correction"]]
    corrected = f"{p_text(row['p_adjusted'])} after {correction} over {family}"
    differs = row["p_adjusted"] < 1 - plan.confidence
    if differs:
        size = _interval(
            abs(value), *((row["low"], row["high"]) if value > 0 else (-row["high"], -row["low"]))
        )
        relation = "higher" if value > 0 else "lower"
        text = f"{metric} of {first} is {size} {relation} than that of {second} ({where}; {corrected})."
        return text + (f" The difference is within ±{margin}." if row["equivalent"] else "")
    if row["equivalent"]:
        return (
            f"{first} and {second} are comparable in {metric} ({where}): difference {shown}, within ±{margin}"
            f" (equivalence test, {p_text(row['p_equivalence'])})."
        )
    return (
        f"no difference in {metric} shown between {first} and {second} ({where}): {shown}, {corrected};"
        f" a difference of {number(row['detectable_difference'])} would have been seen with 80 % power."
    )
