"""Disease or shortcut: what thumbnails, and the frame around the body, tell of the label."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import torch

from srcmatters.errors import InputError
from srcmatters.evaluation.ladder import Ladder, climb, quintiles
from srcmatters.evaluation.ladder_steps import THUMBNAIL, column_step, image_steps
from srcmatters.numbers import interval


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
        rungs: every step of the ladder, as :class:`srcmatters.evaluation.ladder.Rung`.
        plain_step: title of the step without anatomy that tells most; "" where none tells more than chance.
        quintiles: of its out-of-fold score by case_id; empty where no names were given.
    """

    auc: float
    low: float
    high: float
    cases: int
    patients: int
    frame_auc: float = float("nan")
    frame_low: float = float("nan")
    frame_high: float = float("nan")
    rungs: tuple[Mapping[str, Any], ...] = ()
    plain_step: str = ""
    quintiles: Mapping[str, int] = field(default_factory=dict)

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
    images: torch.Tensor | np.ndarray,
    labels: Sequence[int],
    patient_ids: Sequence[str],
    seed: int = 0,
    columns: pd.DataFrame | None = None,
    case_ids: Sequence[str] = (),
) -> NaturalShortcut:
    """Measure what 16 x 16 thumbnails, their frame alone, and every step of the ladder tell of the label.

    Positives and negatives of a target often come from other wards, machines or ages. What of that survives
    in a thumbnail is a confounder that nobody put in; a network may have read it as well, and neither i.i.d.
    nor o.o.d. AUC shows it. A thumbnail shows large findings as well, so what it tells is disease or
    shortcut; what corners and edges tell is no finding in a lung.

    Args:
        images: (N, C, H, W[, D]), clean, as the network would get them, in [0, 1]; channels and slices are
            averaged.
        labels: N labels, 0 or 1.
        patient_ids: N patients; none of them is in two folds.
        seed: seed of folds and resampling.
        columns: N rows that describe patients and acquisitions; None: the ladder starts at the images.
        case_ids: N names, to find the quintile of a case again; (): none are kept.

    Raises:
        InputError: shapes that differ or are not those above, images smaller than a thumbnail, or too few
            patients to cross-validate.
    """
    ladder = image_ladder(images, labels, patient_ids, seed, columns)
    rungs = {rung.step: rung for rung in ladder.rungs}
    thumbnail, edge = rungs["thumbnail"], rungs["edge"]
    best = ladder.without_anatomy
    strata = np.zeros(0) if best is None else quintiles(ladder.probes[best.step])
    kept = dict(zip(map(str, case_ids), map(int, strata), strict=True)) if best and case_ids else {}
    return NaturalShortcut(
        thumbnail.auc,
        thumbnail.low,
        thumbnail.high,
        ladder.cases,
        ladder.patients,
        edge.auc,
        edge.low,
        edge.high,
        tuple(asdict(rung) for rung in ladder.rungs),
        "" if best is None else best.title,
        kept,
    )


def image_ladder(
    images: torch.Tensor | np.ndarray,
    labels: Sequence[int],
    patient_ids: Sequence[str],
    seed: int = 0,
    columns: pd.DataFrame | None = None,
) -> Ladder:
    """The ladder of images in memory; arguments and errors as of :func:`natural_shortcut`."""
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
    features = image_steps(images)
    described = None if columns is None else column_step(columns)[0]
    if described is not None:
        features["columns"] = described
    return climb(features, np.asarray(labels), np.asarray([str(name) for name in patient_ids]), seed)
