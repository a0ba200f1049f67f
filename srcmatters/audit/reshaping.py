"""How an image of any shape becomes one of the size that a model takes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn import functional

from srcmatters.preprocessing.resizing import resize

RESIZES = ("stretch", "pad", "crop")


def reshaped(image: torch.Tensor, size: Sequence[int] | None, how: str) -> torch.Tensor:
    """Resize one image, antialiased.

    Args:
        image: (C, H, W) floating point, black is 0.
        size: (rows, columns) of the result; None: the image as it is.
        how: "stretch": the aspect ratio is not kept; "pad": it is, and the rest is black on both sides;
            "crop": it is, and the middle is cut out.
    """
    if size is None:
        return image
    if how == "crop":
        image = _middle(image, size)
    if how != "pad":
        return resize(image.unsqueeze(0), size)[0]
    fraction = min(size[0] / image.shape[1], size[1] / image.shape[2])
    inner = [
        max(1, min(round(length * fraction), most))
        for length, most in zip(image.shape[1:], size, strict=True)
    ]
    rows, columns = (most - length for most, length in zip(size, inner, strict=True))
    edges = (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2)
    return functional.pad(resize(image.unsqueeze(0), inner)[0], edges)


def _middle(image: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
    """The largest part in the middle with the aspect ratio of ``size``."""
    rows, columns = image.shape[1:]
    fraction = min(rows / size[0], columns / size[1])
    height, width = (
        max(1, min(round(one * fraction), most)) for one, most in zip(size, (rows, columns), strict=True)
    )
    top, left = (rows - height) // 2, (columns - width) // 2
    return image[:, top : top + height, left : left + width]
