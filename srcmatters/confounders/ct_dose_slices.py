"""Slices as the simulated scanner takes them: square, in air, of one spacing at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import scipy.ndimage
import torch
import torch.nn.functional as functional

AIR_HU = -1000.0
FLOOR_HU = -1024.0  # the lowest value of a CT that is stored in 12 bit; the loader clips there
PADDING_BELOW_HU = -1500.0  # not tissue but a scanner's filling outside its field of view


def runs_of_one_spacing(spacings: Sequence[float], at_once: int) -> Iterator[slice]:
    """Consecutive slices of one spacing, at most ``at_once``."""
    start = 0
    for end in range(1, len(spacings) + 1):
        if end == len(spacings) or spacings[end] != spacings[start] or end - start == at_once:
            yield slice(start, end)
            start = end


def completed_with_air(hu: torch.Tensor) -> torch.Tensor:
    """(n, H, W) to (n, size, size) with the slice in the middle."""
    rows, columns = hu.shape[1:]
    size = max(rows, columns)
    top, left = (size - rows) // 2, (size - columns) // 2
    edges = (left, size - columns - left, top, size - rows - top)
    return functional.pad(hu, edges, value=AIR_HU) if rows != columns else hu


def cropped(square: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
    """Undo :func:`completed_with_air`."""
    rows, columns = shape[1:]
    top, left = (square.shape[1] - rows) // 2, (square.shape[2] - columns) // 2
    return square[:, top : top + rows, left : left + columns]


def padding(hu: torch.Tensor) -> torch.Tensor:
    """What a scanner wrote where it reconstructed nothing.

    Values below -1500 HU, and the pixels of the lowest value that hang together with the border, if that
    value is -1024 HU or less: air is not, a fill is.

    Args:
        hu: (n, H, W).

    Returns:
        (n, H, W) bool.
    """
    result = hu < PADDING_BELOW_HU
    for number, one in enumerate(hu):
        lowest = float(one.min())
        if lowest > FLOOR_HU:
            continue
        same = (one == lowest).cpu().numpy()
        edges = np.concatenate([same[0], same[-1], same[:, 0], same[:, -1]])
        if edges.any():
            labels, _ = scipy.ndimage.label(same)
            border = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
            filled = np.isin(labels, np.unique(border[border > 0]))
            result[number] |= torch.from_numpy(filled).to(result.device)
    return result


def stored_like(noisy: torch.Tensor, hu: torch.Tensor) -> torch.Tensor:
    """Noisy slices as their file would store them.

    Not below -1024 HU, or the lowest value of the slice where that is lower; whole numbers, if the slice
    holds nothing else; padding as it is.

    Args:
        noisy: (n, H, W) HU.
        hu: the same slices without the noise.
    """
    floor = hu.flatten(1).amin(1).clamp(max=FLOOR_HU)[:, None, None]
    stored = torch.maximum(noisy, floor)
    if torch.equal(hu, hu.round()):
        stored = stored.round()
    return torch.where(padding(hu), hu, stored)
