"""What a check of the audit is, and what it says."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, get_args

import numpy as np
import pandas as pd
from torch import Tensor

from srcmatters.audit.state_scores import StateScores
from srcmatters.audit.two_states import REPLICATES, Measured, TwoStates
from srcmatters.evaluation.ladder import Ladder
from srcmatters.evaluation.outcomes import Outcome, outcome_of
from srcmatters.evaluation.resampling import PatientWeights, resample_patients
from srcmatters.reports.study_tables import Table

#: What a check may need besides the scores.
Need = Literal["images", "features", "twins", "training_table", "sent", "ladder", "region"]
NEEDS: dict[str, str] = {
    "images": "further images through the model, which scores of a product and --no-controls rule out",
    "features": "the features before the model's head of a confounder that leans, where the door gives them",
    "twins": "five or more twins: the same training data without the confounder (--twins STUDY)",
    "training_table": "the case table of the training data (--trained-on TABLE)",
    "ladder": "the images themselves, which scores of a product and --no-controls rule out, of 16 pixels a"
    " side or more, and four patients of either label",
    "region": "the images themselves",
    "sent": "images that were sent through a product (`srcmatters audit prepare`)",
}


@dataclass(frozen=True)
class Finding:
    """One row of an audit.

    Args:
        check: code of the check.
        subject: what it is about: a confounder, an attribute, or "" for the whole.
        outcome: in the one vocabulary of verdicts; None of what only describes.
        text: a sentence with its numbers, in a clinician's words first.
        value: the number that decides, NaN where there is none.
        low: lower end of its interval.
        high: upper end.
        metric: what the value is of.
        p_beyond: p that the value lies within the margin, not corrected; NaN where nothing is tested.
        p_equivalence: p that it lies outside, not corrected.
        reason: why, where the outcome is NOT RANKED, NOT APPLICABLE or SKIPPED.
        advice: what to do next, a sentence; "" where nothing follows.
        details: tables and numbers behind it, of plain Python types.
    """

    check: str
    subject: str
    outcome: Outcome | None
    text: str
    value: float = float("nan")
    low: float = float("nan")
    high: float = float("nan")
    metric: str = ""
    p_beyond: float = float("nan")
    p_equivalence: float = float("nan")
    reason: str = ""
    advice: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class AuditPlan:
    """What is declared before the scores are looked at.

    Args:
        margin: of AUC; a larger loss under reversal is a lean.
        confidence: of intervals and tests.
        threshold: probability at which the model decides; None: Youden's on the clean scores.
        seed: of every random draw.
        least_cases: cases of either label below which an AUC is not judged.
    """

    margin: float = 0.05
    confidence: float = 0.95
    threshold: float | None = None
    seed: int = 0
    least_cases: int = 10


@dataclass(frozen=True)
class Change:
    """A confounder as a function of an image.

    Args:
        apply: confounded native image of a clean one, given its case position.
        local: whether it changes a part of the image only.
    """

    apply: Callable[[Tensor, int], Tensor]
    local: bool


@dataclass
class Evidence:
    """What checks look at.

    Args:
        scores: of every case and state.
        plan: what was declared.
        score_images: log-odds (n,) of changed images: takes case positions and a function that changes a
            native image, given its position; None where the model cannot be run.
        features: (clean, confounded at dose 1 by confounder), (cases, F) each; None where there are none.
        clean_features: (cases, F) of the clean images, where the door gives them and the case table has
            attributes; None.
        head: weight (F,) and bias of the model's own head as log-odds; None.
        twins: loss under reversal of each twin by confounder; None.
        training_table: case table of the training data; None.
        sent: manifest and counts of what came back of a product; None.
        changes: each confounder at its default strength, where the images are here.
        digests: (cases,) SHA-256 of each image's file; None.
        look_alikes: (cases,) whether it looks like an image of the training data; None: not compared.
        ladder: of the images, and case positions of which it is; None where the images are not here.
        region: image (H, W[, D]) of a case position, and where the disease is in it or None; takes the native
            image if it is at hand, and a kind of region; None where the images are not here.
        disease: how the case table says where the disease is; None where it does not.
        planar: whether the images are single planes (radiographs), and not CT.
    """

    scores: StateScores
    plan: AuditPlan = field(default_factory=AuditPlan)
    score_images: Callable[[np.ndarray, Callable[[Tensor, int], Tensor]], np.ndarray] | None = None
    features: tuple[np.ndarray, Mapping[str, np.ndarray]] | None = None
    clean_features: np.ndarray | None = None
    head: tuple[np.ndarray, float] | None = None
    twins: Mapping[str, Sequence[float]] | None = None
    training_table: pd.DataFrame | None = None
    sent: Any = None
    changes: Mapping[str, Change] = field(default_factory=dict)
    digests: Sequence[str] | None = None
    look_alikes: np.ndarray | None = None
    ladder: tuple[Ladder, np.ndarray] | None = None
    region: Callable[..., tuple[np.ndarray, np.ndarray | None]] | None = None
    disease: str | None = None
    planar: bool = True
    _states: dict[Any, TwoStates] = field(default_factory=dict, repr=False)
    _weights: PatientWeights | None = field(default=None, repr=False)

    @property
    def weights(self) -> PatientWeights:
        """Resampled patients, the same for every statistic of the audit."""
        if self._weights is None:
            self._weights = resample_patients(self.scores.patients, REPLICATES, self.plan.seed)
        return self._weights

    def states(self, confounder: str, dose: float = 1.0) -> TwoStates:
        """The statistics of a confounder at a dose."""
        key = next(
            state
            for state in self.scores.confounded
            if state.confounder == confounder and np.isclose(state.dose, dose)
        )
        if key not in self._states:
            self._states[key] = TwoStates(
                self.scores.pairs(key), self.weights, self.plan.seed, self.plan.confidence
            )
        return self._states[key]

    def has(self, need: Need) -> bool:
        """Whether there is what a check needs."""
        present: dict[str, Any] = {
            "images": self.score_images,
            "features": self.features,
            "twins": self.twins,
            "training_table": self.training_table,
            "sent": self.sent,
            "ladder": self.ladder,
            "region": self.region,
        }
        return present[need] is not None


def outcome_within(measured: Measured, plan: AuditPlan) -> Outcome:
    """The outcome of one difference of AUCs against the margin; a family of one."""
    return outcome_of(
        measured.estimate.p_beyond(plan.margin),
        measured.estimate.p_equivalence(plan.margin),
        abs(measured.value),
        plan.confidence,
    )


class Check(ABC):
    """One question to a finished model.

    A subclass states its code, its title and what it needs, and makes findings out of the evidence. Where
    something that it needs is not there the audit says SKIPPED with the reason: silence is never a pass.
    """

    code: ClassVar[str]
    title: ClassVar[str]
    #: What it answers, in a sentence for the page and the docs.
    question: ClassVar[str]
    needs: ClassVar[tuple[Need, ...]] = ()
    #: Whether its findings make the headline, the mark and the exit status.
    decides: ClassVar[bool] = False

    def run(self, evidence: Evidence) -> list[Finding]:
        """Its findings, or one that says why it was skipped."""
        for need in self.needs:
            assert need in get_args(Need)
            if not evidence.has(need):
                return [
                    Finding(
                        self.code,
                        "",
                        Outcome.SKIPPED,
                        f"{self.title}: not tested; it needs {NEEDS[need]}.",
                        reason=f"needs {NEEDS[need]}",
                    )
                ]
        return self.findings(evidence)

    @classmethod
    def table(cls, findings: Sequence[Finding]) -> Table | None:  # noqa: ARG003
        """Its findings side by side, for console and page; None where a line each says all."""
        return None

    @abstractmethod
    def findings(self, evidence: Evidence) -> list[Finding]:
        """One finding per subject."""
