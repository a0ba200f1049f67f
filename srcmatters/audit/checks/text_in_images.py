"""Text that is in the images already: who carries it, and what the model does without it."""

from __future__ import annotations

import numpy as np
from skimage.restoration import inpaint_biharmonic
from statsmodels.stats.proportion import confint_proportions_2indep
from torch import Tensor, from_numpy

from srcmatters.audit.check import Check, Evidence, Finding, outcome_within
from srcmatters.audit.two_states import TwoStates
from srcmatters.evaluation.environments import Mixture
from srcmatters.evaluation.outcomes import Outcome
from srcmatters.images.burnt_in_text import text_pixels
from srcmatters.numbers import interval, number, signed
from srcmatters.runs.prediction_table import prediction_table


class TextInImages(Check):
    """Lines of text burnt into the pixels, counted by label and removed by in-painting.

    A real confounder taken out instead of one put in: biharmonic in-painting fills the strokes from around
    them. The AUC with the text minus that without it is judged against the margin. Single letters and
    characters below .4 % of the rows are not seen.
    """

    code = "text_in_images"
    title = "Text in the images"
    question = "Do the images carry text already, and does the model use it?"
    needs = ("images",)

    def findings(self, evidence: Evidence) -> list[Finding]:
        """One finding for the whole."""
        assert evidence.score_images is not None
        scores, plan = evidence.scores, evidence.plan
        rows = np.flatnonzero(np.isfinite(scores.clean))
        carries = np.zeros(len(scores.clean), dtype=bool)
        removed = scores.clean.copy()
        if not evidence.planar:
            reason = "the slices of a CT are not searched"
            return [Finding(self.code, "", Outcome.NOT_APPLICABLE, f"Text: {reason}.", reason=reason)]

        def without(image: Tensor, position: int) -> Tensor:
            cleared = without_text(image)
            carries[position] = cleared is not image
            return cleared

        removed[rows] = evidence.score_images(rows, without)
        removed[~carries] = scores.clean[~carries]
        counts, sizes = _by_label(carries[rows], scores.labels[rows])
        share = _share_text(counts, sizes)
        if not carries.any():
            reason = f"no line of text was found in {len(rows)} images"
            return [Finding(self.code, "", Outcome.NOT_APPLICABLE, f"Text: {reason}.", reason=reason)]
        cases = scores.cases.iloc[rows]
        table = prediction_table(cases, 0, scores.labels[rows] == 1, removed[rows], scores.clean[rows])
        states = TwoStates(table, evidence.weights, plan.seed, plan.confidence)
        gain = states.difference_of_areas(Mixture(1, 1), Mixture(0, 0))
        effect = float(np.mean(scores.clean[carries] - removed[carries]))
        outcome = outcome_within(gain, plan)
        text = (
            f"{share} Removing it changes the log-odds of these images by {signed(-effect)} on average and"
            f" costs {interval(gain.value, gain.low, gain.high)} of AUC (margin {number(plan.margin)})."
        )
        details = {
            "positives_with_text": counts[1],
            "negatives_with_text": counts[0],
            "positives": sizes[1],
            "negatives": sizes[0],
            "effect": effect,
        }
        ends = (gain.value, gain.low, gain.high)
        return [Finding(self.code, "", outcome, text, *ends, "auc_difference", details=details)]


def without_text(image: Tensor) -> Tensor:
    """A radiograph (1, H, W) without its lines of text; the same object where there is none."""
    plane = image.as_subclass(Tensor)[0].numpy()
    mask = text_pixels(plane)
    if not mask.any():
        return image
    filled = inpaint_biharmonic(plane, mask, split_into_regions=True)
    result = image.clone()
    result[0] = from_numpy(np.clip(filled, plane.min(), plane.max()).astype(plane.dtype))
    return result


def _by_label(carries: np.ndarray, labels: np.ndarray) -> tuple[list[int], list[int]]:
    """Images with text and all images, of the negatives and of the positives."""
    return (
        [int(carries[labels == label].sum()) for label in (0, 1)],
        [int((labels == label).sum()) for label in (0, 1)],
    )


def _share_text(counts: list[int], sizes: list[int]) -> str:
    low, high = confint_proportions_2indep(
        counts[1], sizes[1], counts[0], sizes[0], method="newcomb", compare="diff"
    )
    apart = counts[1] / sizes[1] - counts[0] / sizes[0]
    return (
        f"Text is in {counts[1]} of {sizes[1]} positives and {counts[0]} of {sizes[0]} negatives (difference"
        f" {interval(apart, low, high)})."
    )
