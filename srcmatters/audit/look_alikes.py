"""Audited images that look like training images, whatever their files and patients are called."""

from __future__ import annotations

import numpy as np
import pandas as pd

from srcmatters.audit.case_images import CaseImages
from srcmatters.cohorts.duplicates import near_pairs
from srcmatters.errors import InputError
from srcmatters.images.perceptual_hash import perceptual_hash


def look_alikes(audited: CaseImages, training_table: pd.DataFrame) -> np.ndarray | None:
    """Which audited images look like one of the training data: re-encoded, resized or brightened copies.

    Args:
        audited: images of the audit.
        training_table: case table of the training data.

    Returns:
        (audited cases,) bool; False of images that cannot be read. None where no training image can be.
    """
    seen = _hashes(audited.like(training_table))
    if not seen.any():
        return None
    own = _hashes(audited)
    first, second = near_pairs(np.concatenate([own, seen])).T
    across = (first < len(own)) & (second >= len(own))
    alike = np.zeros(len(own), dtype=bool)
    alike[first[across]] = True
    return alike


def _hashes(images: CaseImages) -> np.ndarray:
    """(cases, 4) uint64; zeros, which are like nothing, of images that cannot be read."""
    blank = perceptual_hash(np.zeros((1, 1, 1)))
    hashes = []
    for row in range(len(images)):
        try:
            hashes.append(perceptual_hash(images.grey(row).numpy()))
        except (InputError, OSError):
            hashes.append(blank)
    return np.stack(hashes)
