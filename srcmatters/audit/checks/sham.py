"""Sham: what re-encoding and resampling do without any confounder."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from srcmatters.audit.check import Check, Evidence, Finding, outcome_within
from srcmatters.audit.two_states import TwoStates
from srcmatters.evaluation.outcomes import Outcome
from srcmatters.numbers import interval, number
from srcmatters.runs.prediction_table import prediction_table

_SHRUNK = 0.97


class Sham(Check):
    """Every image re-encoded in 8 bits and resampled, which no reader would notice.

    Scaled to 97 % and back, and rounded to 255 grey levels of its range. A model that loses by this reacts to
    the handling of images itself, and its reaction to a confounder says little about that confounder.
    """

    code = "sham"
    title = "Sham"
    question = "Does the handling of images alone, without a confounder, cost AUC?"
    needs = ("images",)

    def findings(self, evidence: Evidence) -> list[Finding]:
        """One finding for the whole."""
        assert evidence.score_images is not None
        scores, plan = evidence.scores, evidence.plan
        rows = np.flatnonzero(np.isfinite(scores.clean))
        again = evidence.score_images(rows, lambda image, _: handled(image))
        cases = scores.cases.iloc[rows]
        table = prediction_table(cases, 0, scores.labels[rows] == 1, scores.clean[rows], again)
        states = TwoStates(table, evidence.weights, plan.seed, plan.confidence)
        loss, effect = states.loss_under_reversal(), states.effect()
        outcome = outcome_within(loss, plan)
        text = (
            "Re-encoding and resampling alone: loss under reversal"
            f" {interval(loss.value, loss.low, loss.high)} (margin {number(plan.margin)}), log-odds"
            f" {interval(effect.value, effect.low, effect.high)}."
        )
        if outcome is Outcome.LEANS:
            text += " The model reacts to the handling of images itself."
        ends = (loss.value, loss.low, loss.high)
        return [Finding(self.code, "", outcome, text, *ends, "loss_under_reversal_auc")]


def handled(image: Tensor) -> Tensor:
    """An image (1, H, W[, D]) scaled to 97 % and back, in 255 levels of its own range."""
    plain = image.as_subclass(Tensor)
    low, high = torch.aminmax(plain)
    mode = "bilinear" if plain.ndim == 3 else "trilinear"
    small = [max(round(size * _SHRUNK), 1) for size in plain.shape[1:3]] + list(plain.shape[3:])
    scaled = torch.nn.functional.interpolate(plain[None], small, mode=mode, align_corners=False)
    back = torch.nn.functional.interpolate(scaled, list(plain.shape[1:]), mode=mode, align_corners=False)[0]
    if not high > low:
        return image
    levels = torch.round((back - low) / (high - low) * 255).clamp(0, 255) / 255 * (high - low) + low
    result = image.clone()
    result[...] = levels
    return result
