"""Origin: was the reaction learnt, or would any network of this kind react?"""

from __future__ import annotations

import numpy as np
from scipy import stats

from srcmatters.audit.check import Check, Evidence, Finding
from srcmatters.audit.checks.sensitivity import in_words
from srcmatters.evaluation.outcomes import Outcome, outcome_of
from srcmatters.numbers import interval, number

#: Twins below which a spread means nothing.
LEAST_TWINS = 5


class Origin(Check):
    """The model's loss under reversal against that of twins that never saw the confounder.

    With k twins of losses l_1 .. l_k a model that learnt nothing of the confounder has the loss
    ``mean(l) +- t(k - 1) sd(l) sqrt(1 + 1 / k)``, a prediction interval, on the same cases. What exceeds the
    margin beyond it was learnt.
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
            f" that nobody taught. It takes {LEAST_TWINS} or more twins, fine-tuned on the same training"
            " data without the confounder (--twins STUDY)."
        )
        return [Finding(self.code, "", Outcome.SKIPPED, text, reason="no twins were given")]

    def findings(self, evidence: Evidence) -> list[Finding]:
        """One per confounder."""
        assert evidence.twins is not None
        return [
            self._finding(evidence, name, np.asarray(evidence.twins.get(name, ()), dtype=float))
            for name in evidence.scores.confounders
        ]

    def _finding(self, evidence: Evidence, confounder: str, twins: np.ndarray) -> Finding:
        twins = twins[np.isfinite(twins)]
        if len(twins) < LEAST_TWINS:
            reason = f"{len(twins)} twins, expected {LEAST_TWINS} or more"
            text = f"{confounder}: origin cannot be told from the model alone ({reason})."
            return Finding(self.code, confounder, Outcome.SKIPPED, text, reason=reason)
        plan, loss = evidence.plan, evidence.states(confounder).loss_under_reversal().value
        learnt = loss - float(twins.mean())
        error = float(twins.std(ddof=1)) * np.sqrt(1 + 1 / len(twins))
        freedom = len(twins) - 1
        half = float(stats.t.ppf((1 + plan.confidence) / 2, freedom)) * error
        low, high = learnt - half, learnt + half
        beyond = 2 * stats.t.sf((abs(learnt)) / error, freedom) if error > 0 else float(learnt == 0)
        within = (
            stats.t.sf((plan.margin - abs(learnt)) / error, freedom)
            if error > 0
            else float(abs(learnt) >= plan.margin)
        )
        outcome = outcome_of(float(beyond), float(within), abs(learnt), plan.confidence)
        words = {
            Outcome.LEANS: "was learnt: its loss exceeds what twins lose that never saw it",
            Outcome.WITHIN_MARGIN: "was not learnt beyond the margin: twins that never saw it lose as much",
        }.get(outcome, "may or may not have been learnt: the twins differ too much to tell")
        text = (
            f"{in_words(confounder)} {words} (loss {number(loss)}, {len(twins)}"
            f" twins {number(twins.mean())} ± {number(twins.std(ddof=1))}, difference"
            f" {interval(learnt, low, high)})."
        )
        return Finding(
            self.code,
            confounder,
            outcome,
            text,
            learnt,
            low,
            high,
            "learned_loss",
            float(beyond),
            float(within),
            details={"twins": twins.tolist(), "loss": loss},
        )
