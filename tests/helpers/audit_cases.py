"""Scores of simulated models, and a model that is a formula, for the tests of the audit."""

from __future__ import annotations

import numpy as np
import pandas as pd
from torch import Tensor
from torch.nn import functional

from srcmatters.audit.contract import InputContract
from srcmatters.audit.doors.model import Model
from srcmatters.audit.state_scores import State, StateScores


def simulated_cases(patients: int = 200, images: int = 1, positives: float = 0.5) -> pd.DataFrame:
    """A case table without files: ``images`` of each patient, who has one label."""
    labels = (np.arange(patients) < positives * patients).astype(int)
    rows = np.repeat(np.arange(patients), images)
    return pd.DataFrame(
        {
            "case_id": [f"c{place}" for place in range(len(rows))],
            "patient_id": [f"p{row}" for row in rows],
            "image": "none.png",
            "label": labels[rows],
        }
    )


def simulated_scores(
    reaction: dict[str, float],
    patients: int = 200,
    images: int = 1,
    separation: float = 1.5,
    spread: float = 0.3,
    seed: int = 0,
) -> StateScores:
    """Log-odds of a model that shifts by ``reaction`` under each confounder, doses in proportion."""
    stream = np.random.default_rng(seed)
    cases = simulated_cases(patients, images)
    own = stream.normal(size=patients).repeat(images)
    clean = separation * cases["label"].to_numpy() + own + 0.3 * stream.normal(size=len(cases))
    confounded = {
        State(name, dose): clean + dose * shift + spread * stream.normal(size=len(cases))
        for name, shift in reaction.items()
        for dose in (1 / 3, 1.0, 3.0)
    }
    return StateScores(cases, clean, confounded)


class BrightCorner(Model):
    """Log-odds: brightness of the middle, plus ``corner`` times the brightest pixel of the upper left."""

    kind = "formula"

    def __init__(self, corner: float = 0.0) -> None:
        super().__init__("bright corner", InputContract(size=(64, 64)))
        self.outputs = ("Mass",)
        self.corner = corner
        self.calls = 0

    def forward(self, inputs: Tensor) -> Tensor:
        """(N, 1)."""
        self.calls += 1
        smooth = functional.avg_pool2d(inputs, 9, 1, 4)
        middle = smooth[:, :, 12:52, 12:52].amax((1, 2, 3))
        corner = inputs[:, :, :20, :20].amax((1, 2, 3))
        return (8 * (middle - 0.6) + self.corner * corner)[:, None]

    def features(self, inputs: Tensor) -> np.ndarray:
        """(N, 256)."""
        return functional.adaptive_avg_pool2d(inputs, 16).flatten(1).numpy()
