"""What an audit asks and what it found: its questions, and its findings by output."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from srcmatters.audit.check import AuditPlan, Finding
from srcmatters.audit.checks.sensitivity import Sensitivity
from srcmatters.audit.state_scores import StateScores
from srcmatters.evaluation.outcomes import Outcome

#: The most alarming first.
_ORDER = (
    Outcome.LEANS,
    Outcome.INCONCLUSIVE,
    Outcome.NOT_RANKED,
    Outcome.SKIPPED,
    Outcome.NOT_APPLICABLE,
    Outcome.WITHIN_MARGIN,
)


@dataclass(frozen=True)
class Question:
    """A confounder that an audit asks about.

    Args:
        name: of :func:`srcmatters.confounders.known_confounders`.
        args: its arguments.
        label: what the audit calls it; "": its name.
    """

    name: str
    args: Mapping[str, Any] = field(default_factory=dict)
    label: str = ""

    @property
    def title(self) -> str:
        """What the audit calls it."""
        return self.label or self.name


@dataclass(frozen=True)
class OutputAudit:
    """What an audit says of one output of the model.

    Args:
        output: name of the finding.
        scores: of every state.
        findings: of every check, in the order of the checks.
    """

    output: str
    scores: StateScores
    findings: tuple[Finding, ...]

    @property
    def verdicts(self) -> list[Finding]:
        """The findings that decide, the worst first."""
        deciding = [one for one in self.findings if one.check == Sensitivity.code]
        return sorted(deciding, key=_severity)

    @property
    def outcome(self) -> Outcome:
        """The worst of the verdicts."""
        present = [one.outcome for one in self.verdicts if one.outcome is not None]
        return min(present, key=_ORDER.index, default=Outcome.SKIPPED)


@dataclass(frozen=True)
class Audit:
    """Everything that an audit found.

    Args:
        model: name, kind and SHA-256.
        outputs: one per audited output.
        plan: what was declared.
        contract: what the model was taken to expect.
        sweep: the usual input conventions compared; None where it was not done.
        data: numbers of cases, positives and patients, and their digest.
        excluded: case_id, state, reason and kind (without names of files and cases) of what has no score.
        seconds: model passes and everything.
    """

    model: Mapping[str, Any]
    outputs: tuple[OutputAudit, ...]
    plan: AuditPlan
    contract: Mapping[str, Any]
    sweep: pd.DataFrame | None
    data: Mapping[str, Any]
    excluded: pd.DataFrame
    seconds: Mapping[str, float]
    notes: tuple[str, ...] = ()

    @property
    def outcome(self) -> Outcome:
        """The worst over the outputs."""
        return min((one.outcome for one in self.outputs), key=_ORDER.index)

    def table(self) -> pd.DataFrame:
        """One row per verdict, the worst first: output, confounder, outcome, value, low, high, text."""
        rows = [
            {
                "output": one.output,
                "confounder": verdict.subject,
                "outcome": str(verdict.outcome),
                "value": verdict.value,
                "low": verdict.low,
                "high": verdict.high,
                "text": verdict.text,
            }
            for one in self.outputs
            for verdict in one.verdicts
        ]
        return pd.DataFrame(rows)

    @property
    def refusals(self) -> list[tuple[str, str, int]]:
        """(state, kind of reason, number of images) of what has no score; names nobody."""
        counts = self.excluded.value_counts(["state", "kind"]).reset_index()
        return [(str(row["state"]), str(row["kind"]), int(row["count"])) for row in counts.to_dict("records")]

    @property
    def largest_loss(self) -> float:
        """The largest loss under reversal that was measured, in either direction; NaN without one."""
        values = [abs(one.value) for output in self.outputs for one in output.verdicts]
        known = [value for value in values if np.isfinite(value)]
        return max(known) if known else float("nan")


def _severity(finding: Finding) -> tuple[int, float]:
    place = len(_ORDER) if finding.outcome is None else _ORDER.index(finding.outcome)
    size = abs(finding.value)
    return place, -size if np.isfinite(size) else 0.0
