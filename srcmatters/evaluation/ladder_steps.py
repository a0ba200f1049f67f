"""The steps of the ladder: what is left of an image when the disease can hardly be in it any more."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as functional
from torch import Tensor

from srcmatters.errors import InputError

THUMBNAIL = 16  # pixels a side: outline, exposure and view, and of the disease what is large
_GRID = 24  # pixels a side of what frame, corners and the masked centre are cut from
_BINS = 32
_MOST_VALUES = 20  # a column with more different texts is free text, or identifiers


@dataclass(frozen=True)
class Step:
    """What a classifier is given.

    Args:
        name: of the step.
        title: for tables.
        anatomy: whether the shape of organs can be seen in it.
    """

    name: str
    title: str
    anatomy: bool


#: From what needs no image to what shows almost all of it.
STEPS = (
    Step("columns", "columns of the case table", False),
    Step("header", "DICOM header fields", False),
    Step("mean_sd", "mean and SD of the grey values", False),
    Step("histogram", "grey-value histogram", False),
    Step("corners", "corners, a sixth a side", False),
    Step("edge", "edge, a sixteenth a side", False),
    Step("frame", "frame, a sixth a side", False),
    Step("low_pass_4", "low-pass 4 x 4", True),
    Step("low_pass_8", "low-pass 8 x 8", True),
    Step("thumbnail", "thumbnail 16 x 16", True),
    Step("low_pass_32", "low-pass 32 x 32", True),
    Step("centre_masked", "centre masked, half a side", True),
)
TITLES = {step.name: step.title for step in STEPS}


def image_steps(images: Iterable[Tensor]) -> dict[str, np.ndarray]:
    """Features of every image for each step that looks at images.

    Args:
        images: (C, H, W[, D]) each, grey values in [0, 1], 16 pixels a side or more; channels and slices are
            averaged, except for mean, SD and histogram. One after the other, so that large sets need no
            memory.

    Returns:
        By name of the step (n, features); steps finer than the smallest image are left out.

    Raises:
        InputError: an image of fewer than 16 pixels a side.
    """
    return stacked_steps([steps_of_image(torch.as_tensor(image)) for image in images])


def stacked_steps(rows: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """(n, features) by name of the step, of steps that every image has; see :func:`steps_of_image`."""
    common = set.intersection(*(set(row) for row in rows))
    return {
        step.name: np.stack([row[step.name] for row in rows]).astype(float)
        for step in STEPS
        if step.name in common
    }


def steps_of_image(image: Tensor) -> dict[str, np.ndarray]:
    """Features of one image by name of the step; see :func:`image_steps`."""
    image = image.as_subclass(Tensor).float()
    if min(image.shape[1:3]) < THUMBNAIL:
        raise InputError(
            f"ladder: images of {tuple(image.shape[1:3])} pixels, expected {THUMBNAIL} or more a side"
        )
    plane = image.mean(0)
    plane = plane if plane.ndim == 2 else plane.mean(-1)
    counts = torch.histc(image.clamp(0, 1), _BINS, 0, 1) / image.numel()
    grid, thumbnail = _smaller(plane, _GRID), _smaller(plane, THUMBNAIL)
    steps = {
        "mean_sd": torch.stack([image.mean(), image.std()]).numpy(),
        "histogram": counts.sqrt().numpy(),  # the root keeps rare grey values from drowning
        "corners": grid[_corners(_GRID, 4)],
        "edge": thumbnail[_outside(THUMBNAIL, 1)],
        "frame": grid[_outside(_GRID, 4)],
        "thumbnail": thumbnail.ravel(),
        "centre_masked": grid[_outside(_GRID, 6)],
    }
    sides = {"low_pass_4": 4, "low_pass_8": 8, "low_pass_32": 32}
    steps |= {name: _smaller(plane, side).ravel() for name, side in sides.items() if side <= min(plane.shape)}
    return steps


def _smaller(plane: Tensor, side: int) -> np.ndarray:
    return functional.adaptive_avg_pool2d(plane[None], side)[0].numpy()


def _outside(side: int, width: int) -> np.ndarray:
    mask = np.ones((side, side), dtype=bool)
    mask[width:-width, width:-width] = False
    return mask


def _corners(side: int, width: int) -> np.ndarray:
    end = np.zeros(side, dtype=bool)
    end[:width] = end[-width:] = True
    return end[:, None] & end[None]


def column_step(columns: pd.DataFrame) -> tuple[np.ndarray | None, list[str], list[str]]:
    """Columns of a table as features: numbers as they are, texts one-hot, and whether a value is missing.

    Args:
        columns: (cases,) of each; texts with more than 20 different values are free text.

    Returns:
        (cases, features), or None where there are none; columns that are used; columns that are not.
    """
    parts: list[np.ndarray] = []
    used, left_out = [], []
    for name in columns:
        entries = columns[name]
        numeric = pd.api.types.is_numeric_dtype(entries) and not pd.api.types.is_bool_dtype(entries)
        if entries.nunique(dropna=False) < 2 or (not numeric and entries.nunique() > _MOST_VALUES):
            left_out.append(str(name))
            continue
        used.append(str(name))
        missing = entries.isna().to_numpy()
        if numeric:
            parts.append(entries.fillna(entries.median()).to_numpy(dtype=float)[:, None])
        else:
            kinds = sorted(entries.dropna().astype(str).unique())
            parts.append((entries.astype(str).to_numpy()[:, None] == np.array(kinds)[None, :]).astype(float))
        if missing.any():
            parts.append(missing.astype(float)[:, None])
    return (np.column_stack(parts) if parts else None), used, left_out
