"""Resizing that removes what the new grid cannot hold, at the speed of torch's own."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform
from torch.nn import functional


class AntialiasedResized(MapTransform):
    """Resize 2D images with a triangle filter as wide as the reduction.

    MONAI's ``Resized(anti_aliasing=True)`` blurs with a Gaussian first and takes 60 times as long on a
    2048 x 2048 radiograph; without it bilinear resizing aliases.

    Args:
        keys: which items are images.
        size: (rows, columns) of the result; the aspect ratio is not kept.

    Shape:
        image: (C, H, W) floating point; the result is a plain tensor (C, rows, columns).
    """

    def __init__(self, keys: KeysCollection, size: Sequence[int], allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)
        self.size = [int(length) for length in size]

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return a copy of ``data`` with the images resized."""
        result = dict(data)
        for key in self.key_iterator(result):
            image = result[key]
            plain = image.as_tensor() if isinstance(image, MetaTensor) else image
            result[key] = resize(plain.unsqueeze(0), self.size)[0]
        return result


def resize(images: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
    """Antialiased bilinear resize of (B, C, H, W) to (B, C, *size)."""
    if list(images.shape[2:]) == list(size):
        return images
    return functional.interpolate(images, size=list(size), mode="bilinear", antialias=True)
