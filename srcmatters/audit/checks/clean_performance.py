"""Clean performance: does the model know the target at all?"""

from __future__ import annotations

import numpy as np

from srcmatters.audit.check import Check, Evidence, Finding
from srcmatters.audit.two_states import Measured, TwoStates
from srcmatters.evaluation.environments import Mixture
from srcmatters.evaluation.outcomes import Outcome
from srcmatters.numbers import counted, interval
from srcmatters.runs.prediction_table import prediction_table

CHANCE = 0.5


class CleanPerformance(Check):
    """AUC on the images as they are.

    A model that does not know the target loses nothing under reversal: what it does not lose is no evidence
    of robustness.
    """

    code = "clean_performance"
    title = "Clean performance"
    question = "Does the model know the target on these images?"

    def findings(self, evidence: Evidence) -> list[Finding]:
        """One finding for the whole."""
        area, cases, patients = clean_auc(evidence)
        size = f"{counted(cases, 'image')} of {counted(patients, 'patient')}"
        text = f"Clean AUC {interval(area.value, area.low, area.high)} on {size}."
        outcome, reason = None, ""
        if not area.low > CHANCE:
            outcome, reason = Outcome.NOT_RANKED, "its clean AUC does not exceed chance"
            text += " It does not exceed chance, so the absence of a loss is not evidence of robustness."
        return [
            Finding(
                self.code,
                "",
                outcome,
                text,
                area.value,
                area.low,
                area.high,
                "auc",
                reason=reason,
                details={"cases": cases, "patients": patients},
            )
        ]


def clean_auc(evidence: Evidence) -> tuple[Measured, int, int]:
    """AUC of the clean scores with its interval, number of images and of patients."""
    scores = evidence.scores
    rows = np.flatnonzero(np.isfinite(scores.clean))
    cases, clean = scores.cases.iloc[rows], scores.clean[rows]
    table = prediction_table(cases, 0, np.zeros(len(rows), bool), clean, clean)
    states = TwoStates(table, evidence.weights, evidence.plan.seed, evidence.plan.confidence)
    return states.auc(Mixture(0, 0)), len(rows), int(cases["patient_id"].nunique())


def knows_the_target(evidence: Evidence) -> bool:
    """Whether the clean AUC is shown to exceed chance."""
    return bool(clean_auc(evidence)[0].low > CHANCE)
