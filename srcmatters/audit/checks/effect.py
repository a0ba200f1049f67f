"""Effect: by how much the confounder moves the score of a case, at each dose."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy.special import expit

from srcmatters.audit.check import Check, Evidence, Finding
from srcmatters.audit.checks.sensitivity import in_words
from srcmatters.audit.state_scores import State
from srcmatters.audit.two_states import Measured
from srcmatters.evaluation.classification import fix_threshold
from srcmatters.evaluation.outcomes import Outcome
from srcmatters.numbers import interval, number


class Effect(Check):
    """The paired effect of a confounder at a third, once and three times its default strength.

    Each case is its own control: mean change of the log-odds and of the probability, P(a confounded case
    scores higher than another clean case of the same label), share of the cases that move the same way, and
    of the decisions that flip at the threshold. It describes; the verdict is that of ``sensitivity``.
    """

    code = "effect"
    title = "Effect on a case"
    question = "How far does the confounder move the score of a case, and does more of it move it further?"

    def findings(self, evidence: Evidence) -> list[Finding]:
        """One per confounder."""
        threshold, origin = decision_threshold(evidence)
        return [self._finding(evidence, name, threshold, origin) for name in evidence.scores.confounders]

    def _finding(self, evidence: Evidence, confounder: str, threshold: float, origin: str) -> Finding:
        if not len(evidence.states(confounder).table):
            reason = "no case has both scores"
            return Finding(self.code, confounder, Outcome.SKIPPED, f"{confounder}: {reason}.", reason=reason)
        doses = [
            {
                "dose": dose,
                "parameters": description_of(evidence, confounder, dose),
                **_dose_row(evidence, confounder, dose, threshold),
            }
            for dose in evidence.scores.doses(confounder)
        ]
        default = next(row for row in doses if np.isclose(row["dose"], 1.0))
        effect, superiority, flips = (default[name] for name in ("effect", "superiority", "flips"))
        slope, intercept = evidence.states(confounder).slope()
        text = (
            f"{in_words(confounder)} changes the log-odds of a case by {_interval(effect)} on average; a case"
            f" with it scores higher than another clean case of the same label in"
            f" {_interval(superiority)} of the pairs (.5: no effect), and {_interval(flips)} of the decisions"
            f" flip at the threshold {number(threshold)} ({origin})."
        )
        details = {
            "doses": doses,
            "missing_doses": {
                f"{dose:.3g}": why for dose, why in evidence.scores.missing.get(confounder, {}).items()
            },
            "threshold": threshold,
            "threshold_from": origin,
            "slope": slope,
            "intercept": intercept,
        }
        ends = (effect["value"], effect["low"], effect["high"])
        return Finding(
            self.code,
            confounder,
            None,
            text,
            *ends,
            "log_odds",
            details=details,
        )


def decision_threshold(evidence: Evidence) -> tuple[float, str]:
    """Threshold of the model's decisions, as a probability, and where it comes from."""
    if evidence.plan.threshold is not None:
        return evidence.plan.threshold, "given"
    clean, labels = evidence.scores.clean, evidence.scores.labels
    scored = np.isfinite(clean)
    return fix_threshold(labels[scored], expit(clean[scored])), "Youden's, on the clean scores of this audit"


def description_of(evidence: Evidence, confounder: str, dose: float) -> str:
    """The parameters of a dose in words; "" for the default."""
    return evidence.scores.descriptions.get(State(confounder, dose), "")


def _dose_row(evidence: Evidence, confounder: str, dose: float, threshold: float) -> dict[str, Any]:
    states = evidence.states(confounder, dose)
    row: dict[str, Measured] = {
        "effect": states.effect(),
        "probability_effect": states.probability_effect(),
        "superiority": states.superiority(),
        "same_direction": states.same_direction(),
        "loss_under_reversal": states.loss_under_reversal(),
    }
    if np.isfinite(threshold):
        row["flips"] = states.flips(threshold)
    plain: dict[str, Any] = {
        name: {"value": one.value, "low": one.low, "high": one.high} for name, one in row.items()
    }
    if "flips" not in plain:
        plain["flips"] = {"value": float("nan"), "low": float("nan"), "high": float("nan")}
    return plain


def _interval(row: Mapping[str, float]) -> str:
    return interval(row["value"], row["low"], row["high"])
