"""The ladder: what is knowable of the label without the disease, and what the model knows beyond."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from srcmatters.audit.check import Check, Evidence, Finding
from srcmatters.audit.checks.clean_performance import clean_auc
from srcmatters.evaluation.ladder import CAUTION, Beyond, Rung, beyond_step
from srcmatters.numbers import interval, number
from srcmatters.reports.ladder import ladder_table
from srcmatters.reports.study_tables import Table


class LadderCheck(Check):
    """One logistic regression, fixed beforehand, on ever more of the image, and the model on top.

    Five folds by patient: columns of the case table, mean and SD, histogram, corners, frame, thumbnail,
    low-pass steps, the centre masked. Then the model's AUC within quintiles of the out-of-fold score of the
    best step in which no anatomy can be seen: among cases that this step cannot tell apart.
    """

    code = "ladder"
    title = "The ladder"
    question = "What is knowable of the label without the disease, and what does the model know beyond?"
    needs = ("ladder",)

    def findings(self, evidence: Evidence) -> list[Finding]:
        """One finding for the whole; it describes."""
        assert evidence.ladder is not None
        ladder, rows = evidence.ladder
        scores = evidence.scores
        labels, patients = scores.labels[rows], scores.patients[rows]
        area, _, _ = clean_auc(evidence)
        model = Rung("model", "the model", True, area.value, area.low, area.high, 0)
        best = ladder.without_anatomy
        details: dict[str, Any] = {"rungs": [asdict(rung) for rung in (*ladder.rungs, model)], "beyond": None}
        if best is None:
            text = f"The ladder: no step without anatomy tells the label better than chance. {CAUTION}"
            return [Finding(self.code, "", None, text, details=details)]
        beyond = beyond_step(
            scores.clean[rows], labels, patients, ladder.probes[best.step], best.step, evidence.plan.seed
        )
        details["beyond"] = asdict(beyond)
        text = (
            f"The ladder: without any anatomy ({best.title}) the label is known with AUC"
            f" {interval(best.auc, best.low, best.high)}, the model knows it with {number(beyond.whole)}."
            f" {beyond_text(beyond)} {CAUTION}"
        )
        ends = (beyond.auc, beyond.low, beyond.high)
        return [Finding(self.code, "", None, text, *ends, "auc_beyond", details=details)]

    @classmethod
    def table(cls, findings: Sequence[Finding]) -> Table | None:
        """A row per step, the model last."""
        for one in findings:
            if "rungs" in one.details:
                beyond = one.details["beyond"]
                words = beyond_text(Beyond(**beyond)) if beyond else ""
                return ladder_table([Rung(**rung) for rung in one.details["rungs"]], words)
        return None


def beyond_text(beyond: Beyond) -> str:
    """What the model knows among cases that the step cannot tell apart."""
    return (
        f"Among cases that this step cannot tell apart (quintiles of its score) the model's AUC is"
        f" {interval(beyond.auc, beyond.low, beyond.high)}, that of the step itself {number(beyond.left)}."
    )
