"""Does a model return the same values for the same images? One in training mode does not."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from srcmatters.audit.doors.model import Model

_ALIKE = 1e-3  # of the larger of 1 and the values: half precision and the order of sums stay below


def steadiness_notes(model: Model, images: torch.Tensor, values: np.ndarray) -> Iterator[str]:
    """What a reader has to know of a model whose values are not those of the image alone.

    Args:
        model: that runs.
        images: (N, ...) in the form of its contract, three or more.
        values: (N, K) that it returned for them.
    """
    again = _largest_change(values, model.returned(images))
    if again > _ALIKE:
        yield (
            f"the model returns other values for the same images when it runs again (by up to {again:.2g}):"
            " is dropout on? every score, effect and verdict contains this noise"
        )
        return
    others = _largest_change(values[:-1], model.returned(images[:-1]))
    if others > _ALIKE:
        yield (
            f"the value of an image changes with the images beside it in a pass (by up to {others:.2g}): is"
            " batch normalisation in training mode? scores and verdicts depend on the order of the cases"
        )


def _largest_change(before: np.ndarray, after: np.ndarray) -> float:
    change = np.abs(after - before)
    largest = float(change.max())
    return largest if (change > _ALIKE * np.maximum(1, np.abs(before))).any() else 0.0
