"""Slices as the simulated scanner takes them: square, in air, of one spacing at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as functional

AIR_HU = -1000.0


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
