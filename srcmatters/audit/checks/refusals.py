"""Refusals: does a product answer or refuse by the confounder?"""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.stats import binomtest

from srcmatters.audit.check import Check, Evidence, Finding
from srcmatters.audit.checks.sensitivity import in_words
from srcmatters.audit.state_scores import State
from srcmatters.evaluation.contrasts import adjusted_p_values
from srcmatters.evaluation.outcomes import Outcome
from srcmatters.numbers import p_text


class Refusals(Check):
    """Images that came back without a score, clean against confounded, case by case.

    McNemar's exact test on the cases of which one state was refused and the other was not; Holm over the
    confounders. Who refuses by the confounder reads it, and the scores that came back are a selection.
    """

    code = "refusals"
    title = "Refusals"
    question = "Are images refused because of the confounder?"
    needs = ("sent",)

    def findings(self, evidence: Evidence) -> list[Finding]:
        """One per confounder, at its default strength."""
        scores = evidence.scores
        refused = np.isnan(scores.clean)
        rows = []
        for name in scores.confounders:
            other = np.isnan(scores.confounded[State(name, 1.0)])
            rows.append(
                (name, int((other & ~refused).sum()), int((refused & ~other).sum()), int(other.sum()))
            )
        p_values = [
            binomtest(more, more + fewer).pvalue if more + fewer else 1.0 for _, more, fewer, _ in rows
        ]
        adjusted = adjusted_p_values(pd.Series(p_values), "holm")
        return [
            self._finding(name, more, fewer, count, int(refused.sum()), len(refused), p_value, evidence)
            for (name, more, fewer, count), p_value in zip(rows, adjusted, strict=True)
        ]

    def _finding(
        self,
        name: str,
        more: int,
        fewer: int,
        count: int,
        clean: int,
        cases: int,
        p_value: float,
        evidence: Evidence,
    ) -> Finding:
        differs = p_value < 1 - evidence.plan.confidence
        outcome = (
            Outcome.LEANS if differs else Outcome.INCONCLUSIVE if more + fewer else Outcome.WITHIN_MARGIN
        )
        text = (
            f"{in_words(name)}: {count} of {cases} images came back without a score, {clean} of the clean"
            f" ones; {more} only with the confounder, {fewer} only without it ({p_text(p_value)})."
        )
        details = {"refused": count, "refused_clean": clean, "only_confounded": more, "only_clean": fewer}
        return Finding(
            self.code, name, outcome, text, float(more - fewer), metric="refusals", details=details
        )
