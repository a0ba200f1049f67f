"""Perturbations of equal energy: does the model react to this confounder more than to any such change?"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from srcmatters.audit.check import Check, Evidence, Finding
from srcmatters.audit.checks.sensitivity import in_words
from srcmatters.audit.state_scores import State
from srcmatters.evaluation.outcomes import Outcome
from srcmatters.numbers import counted, number, signed

PERTURBATIONS = 20
#: Cases that are perturbed: enough for a mean, few enough for minutes.
MOST_CASES = 60


class Perturbations(Check):
    """The confounder's change of an image, scrambled, against the change itself.

    Of a change d = confounded - clean, what is scrambled keeps its energy and its spectrum: a local change is
    shifted cyclically to another place, any other gets the phases of white noise. The mean change of the
    log-odds by the confounder is compared with those by 20 such perturbations. It explains and never acquits:
    a model may react to both.
    """

    code = "perturbations"
    title = "Perturbations of equal energy"
    question = "Is it this confounder, or would any change of its size do?"
    needs = ("images",)

    def findings(self, evidence: Evidence) -> list[Finding]:
        """One per confounder that can be put into the images again."""
        return [self._finding(evidence, name) for name in evidence.scores.confounders]

    def _finding(self, evidence: Evidence, confounder: str) -> Finding:
        assert evidence.score_images is not None
        change = evidence.changes.get(confounder)
        loss = evidence.states(confounder).loss_under_reversal().value
        if change is None or abs(loss) < evidence.plan.margin / 2:
            reason = (
                "its loss under reversal is below half of the margin" if change else "it cannot be applied"
            )
            text = f"{confounder}: not perturbed; {reason}."
            return Finding(self.code, confounder, Outcome.NOT_APPLICABLE, text, reason=reason)
        confounded = evidence.scores.confounded[State(confounder)]
        rows = _sample(np.isfinite(evidence.scores.clean) & np.isfinite(confounded), evidence.plan.seed)
        own = float(np.mean(confounded[rows] - evidence.scores.clean[rows]))
        scrambled = []
        for turn in range(PERTURBATIONS):
            stream = np.random.default_rng([evidence.plan.seed, turn])
            scores = evidence.score_images(rows, _scrambling(change.apply, change.local, stream))
            scrambled.append(float(np.nanmean(scores - evidence.scores.clean[rows])))
        larger = int(np.sum(np.abs(scrambled) >= abs(own)))
        p_value = (1 + larger) / (1 + PERTURBATIONS)
        text = (
            f"{in_words(confounder)} changes the log-odds of {counted(len(rows), 'case')} by {signed(own)}"
            f" on average; {PERTURBATIONS} scrambled changes of the same energy and spectrum by"
            f" {signed(np.median(scrambled))}"
            f" ({signed(min(scrambled))} to {signed(max(scrambled))}); {larger} of them as much"
            f" (p = {number(p_value)})."
        )
        return Finding(
            self.code,
            confounder,
            None,
            text,
            p_value,
            metric="permutation_p",
            details={"effect": own, "scrambled": scrambled, "cases": len(rows)},
        )


def _sample(scored: np.ndarray, seed: int) -> np.ndarray:
    """Positions of some of the scored cases, drawn at random."""
    rows = np.flatnonzero(scored)
    if len(rows) <= MOST_CASES:
        return rows
    return np.sort(np.random.default_rng(seed).choice(rows, MOST_CASES, replace=False))


def _scrambling(
    apply: Callable[[Tensor, int], Tensor], local: bool, stream: np.random.Generator
) -> Callable[[Tensor, int], Tensor]:
    def change(image: Tensor, position: int) -> Tensor:
        difference = (apply(image, position) - image).as_subclass(Tensor)
        moved = shifted(difference, stream) if local else with_random_phases(difference, stream)
        return image + moved

    return change


def shifted(difference: Tensor, stream: np.random.Generator) -> Tensor:
    """A change (1, H, W[, D]) at another place, cyclically: same energy, same spectrum, same form."""
    sizes = difference.shape[1:3]
    # At least a quarter of the image away, so that it does not touch where it was.
    steps = [int(stream.integers(size // 4, size - size // 4 + 1)) for size in sizes]
    return torch.roll(difference, steps, dims=(1, 2))


def with_random_phases(difference: Tensor, stream: np.random.Generator) -> Tensor:
    """A change (1, H, W[, D]) with the phases of white noise: same mean, energy and spectrum, other form."""
    noise = torch.from_numpy(stream.standard_normal(tuple(difference.shape), dtype=np.float32))
    dims = tuple(range(1, difference.ndim))
    spectrum, phases = (torch.fft.rfftn(values, dim=dims) for values in (difference, noise))
    unit = phases / phases.abs().clamp_min(torch.finfo(torch.float32).tiny)
    scrambled = spectrum.abs() * unit
    first = (slice(None), *[0] * len(dims))
    scrambled[first] = spectrum[first]  # the mean keeps its sign
    return torch.fft.irfftn(scrambled, s=difference.shape[1:], dim=dims)
