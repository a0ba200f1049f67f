"""The words of a verdict: for clinicians first, numbers beside them."""

from __future__ import annotations

from typing import Any

import numpy as np

from srcmatters.evaluation.analysis_plan import AnalysisPlan
from srcmatters.evaluation.estimates import LEAST_TRAININGS
from srcmatters.numbers import interval, number, p_text, share

METRICS = {
    "learned_lean": "learned lean",
    "clean_auc": "clean AUC",
    "iid_auc": "i.i.d. AUC",
    "ood_auc": "o.o.d. AUC",
    "iid_minus_ood_auc": "loss of AUC under reversal",
}
_CORRECTIONS = {"holm": "Holm", "bh": "Benjamini-Hochberg"}
#: What a confounder is to somebody who reads images.
_PLAIN = {
    "tag": "a letter in the corner",
    "noise": "more quantum noise",
    "denoise": "a smoothing filter",
    "kernel": "another reconstruction kernel",
    "pacemaker": "a pacemaker",
    "tube": "a chest tube",
}


def in_words(confounder: str) -> str:
    """A confounder as a reader of images would name it, whatever its arguments; others by their own name."""
    return _PLAIN.get(confounder.partition(" (")[0], confounder)


def subject(source: str, axes: dict[str, Any]) -> str:
    """Who the sentence is about: at the screen depth it is frozen features, not a trained network."""
    return f"frozen {source} features" if axes["depth"] == "screen" else source


def lean_sentence(
    axes: dict[str, Any], row: Any, areas: dict[str, Any], outcome: str, plan: AnalysisPlan
) -> str:
    """Whether one source leans on a confounder.

    Args:
        axes: of the group.
        row: of :attr:`Analysis.leans`.
        areas: row of :attr:`Analysis.environments` by environment, of the same cell.
        outcome: of :class:`srcmatters.evaluation.outcomes.Outcome`.
        plan: declared margin.
    """
    confounder, margin = axes["confounder"], number(plan.equivalence_margin)
    size = interval(row.lean, row.low, row.high)
    who = subject(row.source, axes)
    where = f"({confounder}, p_art {share(row.p_art)})"
    if outcome == "SKIPPED":
        return (
            f"{who}: how much is lost when the correlation with {confounder} is reversed is unknown {where}."
        )
    learned = "beyond what the same source loses at p_art 0"
    if row.metric != "learned_lean":
        learned = "of which an unknown part was not learnt, as there is no run at p_art 0"
    plain = in_words(confounder)
    if np.isfinite(row.not_excluded):
        further = f"a fall of up to {number(row.not_excluded)} is not excluded"
    else:
        further = f"how far other seeds may go beyond that, {row.seeds} seeds do not tell"
    texts = {
        "LEANS": f"leans on {plain}. Reversing the correlation costs {size} AUC, {learned} {where}.",
        "WITHIN MARGIN": (
            f"no lean on {plain} beyond the margin: {size} AUC lost, {learned}, within ±{margin} (equivalence"
            f" test, {p_text(row.p_equivalence_adjusted)}) {where}."
        ),
        "INCONCLUSIVE": (
            f"a lean on {plain} is neither shown nor excluded: {size} AUC lost, {learned} {where}; {further}."
        ),
    }
    text = f"{who}: {texts[outcome]}"
    levels = f" i.i.d. AUC {number(areas['iid'].auc)}, o.o.d. {number(areas['ood'].auc)}."
    return text + levels + scope(row)


def not_ranked_sentence(axes: dict[str, Any], row: Any, clean: Any) -> str:
    """Why it is no merit that a source loses little: it knows nothing to lose."""
    return (
        f"{subject(row.source, axes)}: not ranked, not shown to know the target (clean AUC at p_art"
        f" {share(clean.p_art)} {interval(clean.auc, clean.auc_low, clean.auc_high)}), so a loss of"
        f" {number(row.lean)} AUC under reversal is no evidence of robustness ({axes['confounder']}, p_art"
        f" {share(row.p_art)})."
    )


def comparison_sentence(
    axes: dict[str, Any], row: Any, outcome: str, reason: str, plan: AnalysisPlan, family: int
) -> str:
    """How two sources compare by the metric of the plan.

    Args:
        axes: of the group.
        row: of :attr:`Analysis.contrasts`.
        outcome: of :class:`srcmatters.evaluation.outcomes.Outcome`.
        reason: of an outcome that is no result.
        plan: declared metric and margin.
        family: number of comparisons in the family that was corrected for.
    """
    first, second = (subject(source, axes) for source in (row.source_a, row.source_b))
    metric, where = METRICS[plan.metric], f"{axes['confounder']}, p_art {share(row.p_art)}"
    if outcome == "SKIPPED":
        return f"{first} and {second} could not be compared by {metric} ({where})."
    if outcome == "NOT RANKED":
        return f"{first} and {second} are not ranked by {metric} ({where}): {reason}."
    size = interval(row.difference, row.low, row.high)
    margin, cohort = number(plan.equivalence_margin), scope(row)
    where += f"; {p_text(row.p_adjusted)} after {_CORRECTIONS[row.correction]} over {family}"
    if outcome == "LEANS":
        return _ordered(axes, row, (first, second), where, plan) + cohort
    if outcome == "WITHIN MARGIN":
        return (
            f"{first} and {second} are comparable in {metric} ({where}): difference {size}, within ±{margin}"
            f" (equivalence test, {p_text(row.p_equivalence_adjusted)} after Holm).{cohort}"
        )
    largest = number(max(abs(row.low), abs(row.high)))
    return (
        f"no difference in {metric} shown between {first} and {second} ({where}): {size}; one of up to"
        f" {largest}"
        f" is not excluded, and {number(row.detectable_difference)} would have been seen with 80 %"
        f" power.{cohort}"
    )


def _ordered(axes: dict[str, Any], row: Any, names: tuple[str, str], where: str, plan: AnalysisPlan) -> str:
    """Which of two sources leans more, or is higher by another metric, and by how much."""
    higher = row.difference > 0
    ends = (row.low, row.high) if higher else (-row.high, -row.low)
    size = interval(abs(row.difference), *ends)
    within = f" The difference is within ±{number(plan.equivalence_margin)}." if row.equivalent else ""
    if plan.metric != "learned_lean":
        relation = "higher" if higher else "lower"
        metric = METRICS[plan.metric]
        return f"{metric} of {names[0]} is {size} {relation} than that of {names[1]} ({where}).{within}"
    more, less = names if higher else names[::-1]
    return (
        f"{more}: leans on {in_words(axes['confounder'])} more than {less}, by {size} AUC ({where}).{within}"
    )


def scope(row: Any) -> str:
    """What an interval covers.

    At the finetune depth no other training patients, and no other training runs where one or two do not tell
    how runs differ.
    """
    if getattr(row, "training_cohort", False):
        return ""
    if row.trainings >= LEAST_TRAININGS:
        return " For this training cohort."
    these = "this one training" if row.trainings == 1 else "these two trainings"
    return f" For {these} alone; how others would differ is not known."


def control_sentence(axes: dict[str, Any], row: Any, outcome: str, plan: AnalysisPlan) -> str:
    """Whether a null control came out as nothing.

    Args:
        axes: of the group.
        row: of :attr:`Analysis.controls`.
        outcome: of :class:`srcmatters.evaluation.outcomes.Outcome`; LEANS is a control that fails.
        plan: declared margin.
    """
    what = "clean AUC" if row.metric == "clean_auc" else "i.i.d. − o.o.d. AUC"
    margin = number(plan.equivalence_margin)
    judged = {
        "LEANS": f"fails: beyond ±{margin} ({p_text(row.p_beyond_adjusted)} after Holm over all controls)",
        "WITHIN MARGIN": f"holds: within ±{margin} ({p_text(row.p_equivalence_adjusted)} after Holm)",
        "SKIPPED": "cannot be judged, as its null or its error is missing",
    }
    up_to = number(max(abs(row.low), abs(row.high)))
    verdict = judged.get(outcome, f"neither holds nor fails: a deviation of up to {up_to} is not excluded")
    baseline = ""
    if np.isfinite(row.permutation_mean):
        baseline = (
            f"; permuted labels give {number(row.permutation_mean)} on average, {p_text(row.p_permutation)}"
        )
    return (
        f"control {axes['control']}, {axes['confounder']}, {subject(row.source, axes)}: {what} deviates from"
        f" {row.null} by {interval(row.value, row.low, row.high)} (p_art {share(row.p_art)}{baseline}):"
        f" {verdict}."
    )
