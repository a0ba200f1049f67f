"""Which images are sent through a product, how many there are, and what they can show."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from scipy import stats

from srcmatters.errors import InputError, did_you_mean
from srcmatters.evaluation.planning import CLEAN_AUC, LEAN_TO_AUC, POWER
from srcmatters.numbers import counted, number

FORMATS = {"radiograph": ("dicom", "png"), "ct": ("dicom", "nifti")}
#: From (1, H, W[, D]) and the identifier of the case to the image with the confounder.
Change = Callable[[torch.Tensor, str], torch.Tensor]


@dataclass(frozen=True)
class PairState:
    """A confounder at a dose, as it is put into an image at native resolution.

    Args:
        confounder: its name in the manifest.
        dose: factor on its default strength.
        change: puts it into an image, for instance a :class:`~srcmatters.confounders.Confounder`.
    """

    confounder: str
    dose: float
    change: Change


@dataclass(frozen=True)
class PairsPlan:
    """What :func:`srcmatters.audit.pairs.write_pairs` writes.

    Args:
        cases: case table of those that are sent; ``image`` holds absolute paths.
        available: number of cases that there were.
        states: confounders at doses, beside the clean state.
        modality: "radiograph" or "ct".
        file_format: see :data:`FORMATS`.
        seed: of the sample, the order and the identifiers.
    """

    cases: pd.DataFrame
    available: int
    states: tuple[PairState, ...]
    modality: str
    file_format: str
    seed: int

    @property
    def images(self) -> int:
        """Number of images: every case clean and in every state."""
        return len(self.cases) * (1 + len(self.states))

    def sentences(self, bytes_per_image: float) -> list[str]:
        """What is said before anything is written."""
        size = self.images * bytes_per_image
        unit, factor = ("GB", 1e9) if size >= 1e9 else ("MB", 1e6)
        per_state = counted(len(self.cases), "case")
        lines = [
            f"{counted(self.images, 'image')}, about {size / factor:.3g} {unit}: {per_state}, each clean and"
            f" with {counted(len(self.states), 'confounder and dose', 'confounders and doses')}"
        ]
        if len(self.cases) < self.available:
            lines.append(
                f"a sample of {len(self.cases)} of {self.available} cases: a loss of AUC of"
                f" {number(self.smallest_loss())} or more differs significantly from 0 in four of five such"
                f" samples where the clean AUC is {number(CLEAN_AUC)}; smaller ones may be missed"
            )
        return lines

    def smallest_loss(self, confidence: float = 0.95) -> float:
        """Smallest true loss under reversal that is told from 0 with a power of 80 %.

        The standard error of a loss over that of an AUC is taken as in the planning of studies, the variance
        of an AUC as of Newcombe 2006 (method 5).
        """
        patients = self.cases.groupby("label")["patient_id"].nunique()
        negatives, positives = (int(patients.get(label, 0)) for label in (0, 1))
        return smallest_loss(positives, negatives, confidence)


def smallest_loss(positives: int, negatives: int, confidence: float = 0.95) -> float:
    """See :meth:`PairsPlan.smallest_loss`; 1 where there are too few patients for any."""
    if min(positives, negatives) < 2:
        return 1.0
    a, count = CLEAN_AUC, (positives + negatives) / 2
    pairs = 1 + (count - 1) * ((1 - a) / (2 - a) + a / (1 + a))
    error = LEAN_TO_AUC * np.sqrt(a * (1 - a) * pairs / (positives * negatives))
    return float(min((stats.norm.ppf((1 + confidence) / 2) + stats.norm.ppf(POWER)) * error, 1.0))


def plan_pairs(
    cases: pd.DataFrame,
    states: Sequence[PairState],
    *,
    modality: str = "radiograph",
    file_format: str = "dicom",
    max_images: int | None = None,
    seed: int = 0,
) -> PairsPlan:
    """Decide which cases are sent.

    Args:
        cases: case table.
        states: confounders at doses.
        modality: "radiograph" or "ct".
        file_format: "dicom"; "png" of radiographs; "nifti" of CT.
        max_images: draw as many cases as fit, the labels in their shares; None: all.
        seed: of everything that is random.

    Raises:
        InputError: nothing to send, an unknown format, or fewer images than a case of each label takes.
    """
    if modality not in FORMATS or file_format not in FORMATS[modality]:
        known = FORMATS.get(modality, ())
        raise InputError(
            f"format: {file_format!r} of a {modality} is unknown{did_you_mean(file_format, known)}"
        )
    if not len(cases) or not states:
        raise InputError(
            f"prepare: got {len(cases)} cases and {len(states)} confounders, expected one or more of both"
        )
    names = [(state.confounder, state.dose) for state in states]
    if len(set(names)) < len(names):
        raise InputError("prepare: a confounder and dose is there twice, expected each once")
    selected = cases.reset_index(drop=True)
    if max_images is not None and max_images < len(cases) * (1 + len(states)):
        selected = _sample(selected, max_images, 1 + len(states), seed)
    return PairsPlan(selected, len(cases), tuple(states), modality, file_format, seed)


def _sample(cases: pd.DataFrame, max_images: int, per_case: int, seed: int) -> pd.DataFrame:
    count = max_images // per_case
    labels = sorted(cases["label"].unique())
    if count < len(labels):
        raise InputError(
            f"max_images: got {max_images}, expected {len(labels) * per_case} or more: a case of each label,"
            f" {per_case} images each"
        )
    stream = np.random.default_rng([seed, len(cases)])
    rows: list[int] = []
    for position, label in enumerate(labels):
        of_label = np.flatnonzero(cases["label"] == label)
        share = (
            count - len(rows)
            if position == len(labels) - 1
            else max(1, round(count * len(of_label) / len(cases)))
        )
        rows += stream.choice(of_label, min(share, len(of_label)), replace=False).tolist()
    return cases.iloc[sorted(rows)].reset_index(drop=True)
