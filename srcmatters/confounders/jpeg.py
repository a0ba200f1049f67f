"""JPEG: an image that was sent, uploaded or screenshot on its way."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch
from PIL import Image

from srcmatters.confounders.base import Confounder, Parameters
from srcmatters.confounders.taxonomy import Miccat
from srcmatters.errors import InputError


class JpegCompression(Confounder):
    r"""Compress the image as a grey JPEG, and read it again.

    MICCAT: environment / imaging / reconstruction / global. Baseline JPEG of libjpeg: 8 bit, blocks of 8 x 8
    pixels of the image at hand, so its grain follows the native size of the image and not its millimetres: a
    film of 3000 pixels that is compressed before it is resized keeps less of it than one of 512.

    Args:
        quality: of libjpeg, 1 .. 95; mobile messengers use 60 to 80.
        seed: seed of the per-case streams; this confounder draws nothing.

    Shape:
        image: (C, H, W) or (C, H, W, D), floating point in [0, 1]; the result has the same shape and dtype,
        8-bit values / 255. Slices of a volume are compressed one by one.

    Raises:
        InputError: a quality outside its range.

    Example:
        >>> import torch
        >>> (JpegCompression(10)(torch.rand(1, 64, 64)) * 255 % 1).abs().max() < 1e-4
        tensor(True)

    Source: ITU-T T.81 (JPEG), by Pillow's libjpeg.
    """

    name = "jpeg"
    miccat = Miccat("environment", "imaging", "reconstruction", "global")
    source = "ITU-T T.81 (JPEG), libjpeg"
    also_changes = frozenset({"rounding"})
    strength_spread = None  # the blocks and patches are pixels of the image at hand
    presets: ClassVar[dict[str, Parameters]] = {"plausible": {"quality": 75}, "stress": {"quality": 10}}

    def __init__(self, quality: int = 30, seed: int = 0) -> None:
        super().__init__(seed)
        if not 1 <= quality <= 95 or int(quality) != quality:
            raise InputError(f"jpeg: quality {quality}, expected a whole number from 1 to 95")
        self.quality = int(quality)

    def apply(self, images: torch.Tensor, parameters: Sequence[Parameters]) -> torch.Tensor:
        """Compress (B, C, H, W[, D])."""
        planes = images[:, 0].unsqueeze(-1) if images.ndim == 4 else images[:, 0]
        coded = torch.stack(
            [torch.stack([self._coded(plane) for plane in case.unbind(-1)], dim=-1) for case in planes]
        )
        coded = coded.squeeze(-1) if images.ndim == 4 else coded
        return coded.unsqueeze(1).to(images).repeat_interleave(images.shape[1], dim=1)

    def _coded(self, plane: torch.Tensor) -> torch.Tensor:
        grey = plane.detach().float().mul(255).round().clamp(0, 255).to(torch.uint8).cpu().numpy()
        file = io.BytesIO()
        Image.fromarray(grey).save(file, "JPEG", quality=self.quality)
        return torch.from_numpy(np.asarray(Image.open(file), dtype=np.float32) / 255)
