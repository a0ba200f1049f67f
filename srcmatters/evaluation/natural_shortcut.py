"""Disease or shortcut: what thumbnails, and the frame around the body, tell of the label."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as functional

from srcmatters.errors import InputError
from srcmatters.evaluation.linear_probe import linear_probe
from srcmatters.numbers import interval

THUMBNAIL = 16  # pixels a side: outline, exposure and view, and of the disease what is large
FRAME = 1  # pixels of a thumbnail that are frame on each side: corners and edges, where there is no lung


@dataclass(frozen=True)
class NaturalShortcut:
    """How well a linear probe on thumbnails separates the labels.

    Args:
        auc: area under the ROC curve on patients whom the probe has not seen; .5 is chance.
        low: lower end of the 95 % interval, patients resampled.
        high: upper end.
        cases: images.
        patients: of whom they are.
        frame_auc: of the same probe on the frame of the thumbnails alone; NaN where it was not measured.
        frame_low: lower end of its interval.
        frame_high: upper end.
    """

    auc: float
    low: float
    high: float
    cases: int
    patients: int
    frame_auc: float = float("nan")
    frame_low: float = float("nan")
    frame_high: float = float("nan")

    @property
    def present(self) -> bool:
        """Whether the interval lies above chance."""
        return self.low > 0.5

    def mark(self, target: str) -> str:
        """One line for what leaves the house; "" where thumbnails tell nothing of the label.

        Args:
            target: whose images were measured.
        """
        if not self.present:
            return ""
        frame = ""
        if np.isfinite(self.frame_auc):
            frame = f", their outer frame {interval(self.frame_auc, self.frame_low, self.frame_high)}"
        return (
            f"DISEASE OR SHORTCUT: thumbnails of {THUMBNAIL} x {THUMBNAIL} pixels alone separate the labels"
            f" of {target}, AUC {interval(self.auc, self.low, self.high)}{frame}"
        )


def natural_shortcut(
    images: torch.Tensor | np.ndarray, labels: Sequence[int], patient_ids: Sequence[str], seed: int = 0
) -> NaturalShortcut:
    """Measure what 16 x 16 thumbnails, and their frame alone, tell of the label.

    Positives and negatives of a target often come from other wards, machines or ages. What of that survives
    in a thumbnail is a confounder that nobody put in; a network may have read it as well, and neither i.i.d.
    nor o.o.d. AUC shows it. A thumbnail shows large findings as well, so what it tells is disease or
    shortcut; what corners and edges tell is no finding in a lung.

    Args:
        images: (N, C, H, W[, D]), clean, as the network would get them; channels and slices are averaged.
        labels: N labels, 0 or 1.
        patient_ids: N patients; none of them is in two folds.
        seed: seed of folds and resampling.

    Raises:
        InputError: shapes that differ or are not those above, images smaller than a thumbnail, or too few
            patients to cross-validate.
    """
    images = torch.as_tensor(images)
    if images.ndim not in (4, 5) or len(images) != len(labels):
        raise InputError(
            f"natural shortcut: images of shape {tuple(images.shape)} for {len(labels)} labels, expected"
            " (N, C, H, W) or (N, C, H, W, D)"
        )
    if min(images.shape[2:4]) < THUMBNAIL:
        raise InputError(
            f"natural shortcut: images of {tuple(images.shape[2:4])}, expected {THUMBNAIL} pixels or more"
        )
    patients = [str(name) for name in patient_ids]
    thumbnails = _thumbnails(images)
    inner = slice(FRAME, -FRAME)
    outside = np.ones((THUMBNAIL, THUMBNAIL), dtype=bool)
    outside[inner, inner] = False
    probe = linear_probe(thumbnails, labels, patients, seed)
    frame = linear_probe(thumbnails[:, outside.ravel()], labels, patients, seed)
    counts = (len(labels), len(set(patients)))
    return NaturalShortcut(probe.auc, probe.low, probe.high, *counts, frame.auc, frame.low, frame.high)


def _thumbnails(images: torch.Tensor) -> np.ndarray:
    """(N, 256); one image after the other, because a large array is only mapped into memory."""
    planes = (image.float().mean(0) for image in images)
    flat = (plane if plane.ndim == 2 else plane.mean(-1) for plane in planes)
    small = [functional.adaptive_avg_pool2d(plane[None], THUMBNAIL).flatten() for plane in flat]
    return torch.stack(small).numpy()
