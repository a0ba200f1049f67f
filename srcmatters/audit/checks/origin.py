"""Origin: was the reaction learnt, or would any network of this kind react?"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from srcmatters.audit.check import Check, Evidence, Finding
from srcmatters.audit.checks.sensitivity import in_words
from srcmatters.evaluation.contrasts import adjusted_p_values
from srcmatters.evaluation.estimates import Estimate
from srcmatters.evaluation.outcomes import Outcome, outcome_of
from srcmatters.numbers import interval, number

#: Twins below which a spread means nothing.
LEAST_TWINS = 5
_WORDS = {
    Outcome.LEANS: "was learnt: its loss differs from what twins lose that never saw it",
    Outcome.WITHIN_MARGIN: "was not learnt beyond the margin: twins that never saw it lose as much",
}


class Origin(Check):
    """The model's loss under reversal against that of twins that never saw the confounder.

    With k twins of losses l_1 .. l_k the loss of one more model that learnt nothing of the confounder lies,
    on the same cases, within the prediction interval ``mean(l) +- t(k - 1) sd(l) sqrt(1 + 1 / k)``. A model
    outside of it learnt something (Holm over the confounders); one that is shown to be within the margin of
    the twins did not learn more than that.
    """

    code = "origin"
    title = "Origin"
    question = "Was the reaction learnt from these training data, or does any such network react?"
    needs = ("twins",)

    def run(self, evidence: Evidence) -> list[Finding]:
        """Findings; without twins one that says that the origin cannot be told."""
        if evidence.has("twins"):
            return self.findings(evidence)
        text = (
            "Origin cannot be told from the model alone: features of any source may react to a confounder"
            f" that they were never trained on. {LEAST_TWINS} or more twins are needed, fine-tuned on the"
            " same training data without the confounder (--twins STUDY)."
        )
        return [Finding(self.code, "", Outcome.SKIPPED, text, reason="no twins were given")]

    def findings(self, evidence: Evidence) -> list[Finding]:
        """One per confounder."""
        assert evidence.twins is not None
        rows = [
            self._finding(evidence, name, np.asarray(evidence.twins.get(name, ()), dtype=float))
            for name in evidence.scores.confounders
        ]
        adjusted = {
            name: adjusted_p_values(pd.Series([getattr(row, name) for row in rows], dtype=float), "holm")
            for name in ("p_beyond", "p_equivalence")
        }
        return [
            row if row.outcome is Outcome.SKIPPED else _judged(row, beyond, within, evidence.plan.confidence)
            for row, beyond, within in zip(rows, adjusted["p_beyond"], adjusted["p_equivalence"], strict=True)
        ]

    def _finding(self, evidence: Evidence, confounder: str, twins: np.ndarray) -> Finding:
        twins = twins[np.isfinite(twins)]
        if len(twins) < LEAST_TWINS:
            reason = f"{len(twins)} twins, expected {LEAST_TWINS} or more"
            text = f"{confounder}: origin cannot be told from the model alone ({reason})."
            return Finding(self.code, confounder, Outcome.SKIPPED, text, reason=reason)
        plan, loss = evidence.plan, evidence.states(confounder).loss_under_reversal().value
        error = float(twins.std(ddof=1)) * np.sqrt(1 + 1 / len(twins))
        learnt = Estimate(loss - float(twins.mean()), error, len(twins) - 1, len(twins))
        low, high = learnt.interval(plan.confidence, -2.0, 2.0)
        return Finding(
            self.code,
            confounder,
            Outcome.INCONCLUSIVE,
            "",
            learnt.value,
            low,
            high,
            "learned_loss",
            learnt.p_value(),
            learnt.p_equivalence(plan.margin),
            details={"twins": twins.tolist(), "loss": loss},
        )


def _judged(row: Finding, p_beyond: float, p_equivalence: float, confidence: float) -> Finding:
    """The finding with its outcome and its sentence."""
    outcome = outcome_of(p_beyond, p_equivalence, abs(row.value), confidence)
    words = _WORDS.get(outcome, "may or may not have been learnt: the twins differ too much to tell")
    twins, loss = np.array(row.details["twins"]), row.details["loss"]
    text = (
        f"{in_words(row.subject)} {words} (loss {number(loss)}, {len(twins)} twins"
        f" {number(twins.mean())} ± {number(twins.std(ddof=1))}, difference"
        f" {interval(row.value, row.low, row.high)})."
    )
    return replace(row, outcome=outcome, text=text)
