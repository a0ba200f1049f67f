"""Sensitivity: what the model loses when who carries the confounder is reversed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from srcmatters.audit.check import Check, Evidence, Finding
from srcmatters.audit.checks.clean_performance import knows_the_target
from srcmatters.audit.state_scores import State
from srcmatters.audit.two_states import Measured
from srcmatters.confounders.summaries import confounder_summaries
from srcmatters.evaluation.contrasts import adjusted_p_values
from srcmatters.evaluation.environments import Mixture
from srcmatters.evaluation.outcomes import Outcome, outcome_of
from srcmatters.numbers import interval, number, signed


class Sensitivity(Check):
    """The loss under reversal against the declared margin.

    AUC where all positives carry the confounder minus AUC where all negatives do: 0 for a model that does not
    react, positive where the confounder raises the score, negative where it lowers it. Both directions cost
    AUC in one of the two worlds, so both are tested: p that the loss lies within the margin, and (TOST) that
    it lies outside, corrected by Holm over the confounders of the audit.
    """

    code = "sensitivity"
    title = "Sensitivity"
    question = "How much AUC is lost when the correlation of confounder and disease is reversed?"
    decides = True

    def findings(self, evidence: Evidence) -> list[Finding]:
        """One per confounder, at its default strength."""
        rows = [self._finding(evidence, name) for name in evidence.scores.confounders]
        tested = [row for row in rows if row.outcome is not Outcome.SKIPPED]
        if not tested:
            return rows
        adjusted = {
            name: adjusted_p_values(pd.Series([getattr(row, name) for row in tested]), "holm")
            for name in ("p_beyond", "p_equivalence")
        }
        judged = iter(zip(adjusted["p_beyond"], adjusted["p_equivalence"], strict=True))
        ignorant = not knows_the_target(evidence)
        return [
            row if row.outcome is Outcome.SKIPPED else _judged(row, *next(judged), evidence, ignorant)
            for row in rows
        ]

    def _finding(self, evidence: Evidence, confounder: str) -> Finding:
        states, plan = evidence.states(confounder), evidence.plan
        counts = states.table["label"].value_counts()
        fewest = min(int(counts.get(label, 0)) for label in (0, 1))
        if fewest < plan.least_cases:
            reason = (
                f"{fewest} cases of the rarer label have both scores, expected {plan.least_cases} or more"
            )
            text = f"{confounder}: not tested; {reason}."
            return Finding(self.code, confounder, Outcome.SKIPPED, text, reason=reason)
        if State(confounder) in evidence.scores.without_change:
            reason = "it changes nothing in the images that the model gets"
            text = f"{confounder}: not tested; {reason}."
            return Finding(self.code, confounder, Outcome.SKIPPED, text, reason=reason)
        loss = states.loss_under_reversal()
        areas = {
            "clean": states.auc(Mixture(0, 0)),
            "positives_carry": states.auc(Mixture(1, 0)),
            "negatives_carry": states.auc(Mixture(0, 1)),
        }
        details = {
            **{f"auc_{name}": _plain(area) for name, area in areas.items()},
            "mixture_curve": states.mixture_curve().to_dict("records"),
            "cases": len(states.table),
            "positives": int(states.table["label"].sum()),
            "patients": int(states.table["patient_id"].nunique()),
        }
        return Finding(
            self.code,
            confounder,
            Outcome.INCONCLUSIVE,
            "",
            loss.value,
            loss.low,
            loss.high,
            "loss_under_reversal_auc",
            loss.estimate.p_beyond(plan.margin),
            loss.estimate.p_equivalence(plan.margin),
            details=details,
        )


def _judged(
    row: Finding, p_beyond: float, p_equivalence: float, evidence: Evidence, ignorant: bool
) -> Finding:
    """The finding with its outcome and its sentence."""
    plan = evidence.plan
    # A loss in either direction is a lean.
    outcome = outcome_of(p_beyond, p_equivalence, abs(row.value), plan.confidence)
    reason = ""
    if ignorant and outcome is not Outcome.LEANS:
        outcome, reason = Outcome.NOT_RANKED, "its clean AUC does not exceed chance"
    details = {
        **row.details,
        "p_beyond_adjusted": float(p_beyond),
        "p_equivalence_adjusted": float(p_equivalence),
    }
    return replace(
        row,
        outcome=outcome,
        text=_sentence(row, outcome, plan.margin),
        advice=_advice(row.subject, outcome),
        reason=reason,
        details=details,
    )


def _sentence(row: Finding, outcome: Outcome, margin: float) -> str:
    """What it comes to, in words and numbers."""
    what = in_words(row.subject)
    aligned, reverse = (row.details[f"auc_{name}_carry"]["value"] for name in ("positives", "negatives"))
    areas = f"AUC {number(aligned)} where all positives carry it, {number(reverse)} where all negatives do"
    loss = f"loss {interval(row.value, row.low, row.high)}, margin {number(margin)}"
    if outcome is Outcome.LEANS:
        return f"{what} {'raises' if row.value > 0 else 'lowers'} the score: {areas} ({loss})."
    if outcome is Outcome.WITHIN_MARGIN:
        return f"{what} costs no more AUC than the margin: {areas} ({loss})."
    if outcome is Outcome.NOT_RANKED:
        return (
            f"{what}: not ranked. {areas[0].upper()}{areas[1:]} ({loss}), but the clean AUC does not exceed"
            " chance either, so the absence of a loss is not evidence of robustness."
        )
    if outcome is Outcome.SKIPPED:
        return f"{what}: no interval could be computed."
    furthest = row.high if abs(row.high) >= abs(row.low) else row.low
    return (
        f"{what}: not decided. {areas[0].upper()}{areas[1:]} ({loss}); a loss of"
        f" {signed(furthest)} is not excluded."
    )


def in_words(confounder: str) -> str:
    """The confounder as the subject of a sentence: "A letter in the corner (tag)"."""
    words = _WORDS.get(confounder.split()[0])
    if words is None or confounder.split()[0] not in confounder_summaries():
        return f"The confounder {confounder}"
    return f"{words} ({confounder})"


_WORDS = {
    "tag": "A letter in the corner",
    "lead_marker": "A lead marker",
    "calipers": "Caliper crosses",
    "picture": "A picture put on the image",
    "tube": "A chest drain or tube",
    "pacemaker": "A pacemaker",
    "central_line": "A central line",
    "sternotomy": "Sternal wires",
    "surgical_clips": "Surgical clips",
    "collimation": "A collimation border",
    "letterbox": "A black border",
    "noise": "Quantum noise",
    "grid_lines": "Grid lines",
    "dead_pixels": "Dead detector pixels",
    "low_dose_ct": "A lower dose",
    "contrast_agent": "Contrast agent",
    "metal": "A metal artefact",
    "rings": "Ring artefacts",
    "truncated_field": "A truncated field of view",
    "motion": "Motion blur",
    "exposure": "Another exposure",
    "site_look": "Another site's tone curve",
    "portable": "The look of a portable film",
    "denoise": "Smoothing",
    "nonlocal_means": "Edge-preserving denoising",
    "vendor_processing": "Another vendor's processing",
    "jpeg": "JPEG compression",
    "pixelation": "Coarse pixels",
    "kernel": "Another reconstruction kernel",
    "slice_thickness": "Thicker slices",
}


def _advice(confounder: str, outcome: Outcome) -> str:
    if outcome is Outcome.LEANS:
        return (
            f"Look for {confounder} in the training and the clinical images, by label; a study tells"
            f" whether it was learnt: srcmatters study run ... --confounder {confounder.split()[0]}. Where"
            " the last layer can be had, srcmatters audit refit fits it again on pairs and audits the result"
        )
    if outcome is Outcome.INCONCLUSIVE:
        return "More cases would decide it; the interval says what is not excluded."
    return ""


def _plain(measured: Measured) -> dict[str, float]:
    values = {"value": measured.value, "low": measured.low, "high": measured.high}
    return {name: float(value) if np.isfinite(value) else float("nan") for name, value in values.items()}
