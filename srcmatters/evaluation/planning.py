"""What a study of a given size can show, before it is run."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy import stats

from srcmatters.evaluation.estimates import image_freedom

#: What is assumed of results that nobody has yet; `study plan` prints it beside what follows from it.
CLEAN_AUC = 0.85
#: Standard error of a lean over that of an AUC of as many patients: .2 at a lean of .05 to .7 at one of .3
#: in the linear studies of scripts/benchmarks/inference.py with 440 images.
LEAN_TO_AUC = 0.5
#: Standard deviation of a lean from run to run, and from seed to seed: .025 was measured at p_art .5.
RUN_SPREAD, SEED_SPREAD = 0.03, 0.02
POWER = 0.8
_MOST_PATIENTS = 10_000_000


@dataclass(frozen=True)
class StudySize:
    """What decides how much a study can show.

    Args:
        positives: patients with a positive image, all folds together.
        negatives: patients with a negative one.
        folds: of the cross-validation.
        seeds: that repeat it.
    """

    positives: int
    negatives: int
    folds: int = 5
    seeds: int = 1


def lean_error(size: StudySize) -> tuple[float, float]:
    """Standard error of the difference of two sources' leans, and its degrees of freedom.

    The variance of an AUC is that of Newcombe 2006 (method 5) at :data:`CLEAN_AUC`. With one seed what seeds
    differ by is in the error of no study, and not in this one either.
    """
    a, count = CLEAN_AUC, (size.positives + size.negatives) / 2
    pairs = 1 + (count - 1) * ((1 - a) / (2 - a) + a / (1 + a))
    images = LEAN_TO_AUC**2 * a * (1 - a) * pairs / (size.positives * size.negatives)
    runs = RUN_SPREAD**2 / (size.folds * size.seeds)
    seeds = SEED_SPREAD**2 / size.seeds if size.seeds > 1 else 0.0
    variance = images + runs + seeds
    freedom = variance**2 / (
        images**2 / image_freedom(size.positives, size.negatives)
        + runs**2 / max(size.folds * size.seeds - 1, 1)
        + (seeds**2 / (size.seeds - 1) if size.seeds > 1 else 0.0)
    )
    return float(np.sqrt(2 * variance)), float(freedom)


def smallest_difference(size: StudySize, confidence: float = 0.95) -> float:
    """Smallest true difference of two leans that is told from 0 with a power of 80 %."""
    error, freedom = lean_error(size)
    return float((stats.t.ppf((1 + confidence) / 2, freedom) + stats.t.ppf(POWER, freedom)) * error)


def smallest_margin(size: StudySize, confidence: float = 0.95) -> float:
    """Smallest margin within which two sources that are alike are shown to be (TOST) with a power of 80 %."""
    error, freedom = lean_error(size)
    return float((stats.t.ppf(confidence, freedom) + stats.t.ppf((1 + POWER) / 2, freedom)) * error)


def patients_for(difference: float, size: StudySize, confidence: float = 0.95) -> int | None:
    """Patients, in the same shares, with which a difference is the smallest that is shown.

    Args:
        difference: of two leans, above 0.
        size: folds, seeds and the share of positives.

    Returns:
        How many of both classes; None if no number of patients is enough for so few folds and seeds.
    """
    total = size.positives + size.negatives

    def of(patients: int) -> StudySize:
        positives = max(2, round(patients * size.positives / total))
        return replace(size, positives=positives, negatives=max(2, patients - positives))

    if smallest_difference(of(_MOST_PATIENTS), confidence) > difference:
        return None
    low, high = 4, _MOST_PATIENTS
    while low < high:
        middle = (low + high) // 2
        if smallest_difference(of(middle), confidence) <= difference:
            high = middle
        else:
            low = middle + 1
    return low
