"""Non-local means: denoising that keeps edges, as scanners offer it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch

from srcmatters.confounders.base import LINEAR, Confounder, Parameters
from srcmatters.confounders.taxonomy import Miccat
from srcmatters.errors import InputError


class NonLocalMeans(Confounder):
    r"""Denoise and keep the edges.

    MICCAT: environment / imaging / reconstruction / global. Every pixel becomes a mean of those in its
    neighbourhood whose surroundings look like its own (scikit-image's ``denoise_nl_means``). The strength is
    relative to the noise of the image, which is estimated from its finest wavelet coefficients: an image
    without noise stays nearly as it is.

    Args:
        strength: filter parameter ``h`` in standard deviations of the noise, (0, 10]; the library advises 0.6
            to 1.
        patch: side of what is compared, in pixels, odd, 3 .. 15.
        distance: how far a pixel looks, in pixels, 1 .. 31.
        seed: seed of the per-case streams; this confounder draws nothing.

    Shape:
        image: (C, H, W) or (C, H, W, D; each slice), floating point, any linear unit; the result has the same
        shape and dtype. Computed on the CPU.

    Raises:
        InputError: an argument outside its range.

    Example:
        >>> import torch
        >>> noise = torch.randn(1, 64, 64, generator=torch.Generator().manual_seed(0)) * 0.05 + 0.5
        >>> bool(NonLocalMeans()(noise, "case 7").std() < noise.std() / 1.5)
        True

    Source: Buades et al. 2005 (CVPR), as in scikit-image; noise: Donoho and Johnstone 1994.
    """

    name = "nonlocal_means"
    miccat = Miccat("environment", "imaging", "reconstruction", "global")
    source = "Buades et al. 2005 (CVPR), scikit-image"
    strength_spread = None  # the blocks and patches are pixels of the image at hand
    unit = LINEAR
    presets: ClassVar[dict[str, Parameters]] = {"plausible": {"strength": 0.6}, "stress": {"strength": 2.0}}

    def __init__(self, strength: float = 1.0, patch: int = 5, distance: int = 6, seed: int = 0) -> None:
        super().__init__(seed)
        if not 0 < strength <= 10:
            raise InputError(f"nonlocal_means: strength {strength}, expected (0, 10]")
        if patch not in range(3, 16, 2):
            raise InputError(f"nonlocal_means: patch {patch}, expected an odd number from 3 to 15")
        if not 1 <= distance <= 31:
            raise InputError(f"nonlocal_means: distance {distance}, expected 1..31")
        self.strength = strength
        self.patch = patch
        self.distance = distance

    def apply(self, images: torch.Tensor, parameters: Sequence[Parameters]) -> torch.Tensor:
        """Denoise (B, C, H, W[, D])."""
        planes = images[:, 0].unsqueeze(-1) if images.ndim == 4 else images[:, 0]
        smooth = torch.stack(
            [torch.stack([self._smooth(plane) for plane in case.unbind(-1)], dim=-1) for case in planes]
        )
        smooth = smooth.squeeze(-1) if images.ndim == 4 else smooth
        return smooth.unsqueeze(1).to(images).repeat_interleave(images.shape[1], dim=1)

    def _smooth(self, plane: torch.Tensor) -> torch.Tensor:
        from skimage.restoration import denoise_nl_means

        values = plane.detach().float().cpu().numpy()
        low, high = float(values.min()), float(values.max())
        sigma = _noise(values)
        if high == low or sigma == 0:
            return torch.from_numpy(values)
        scaled = (values - low) / (high - low)
        sigma /= high - low
        smooth = denoise_nl_means(
            scaled, self.patch, self.distance, h=self.strength * sigma, sigma=sigma, fast_mode=True
        )
        return torch.from_numpy(np.asarray(smooth, dtype=np.float32) * (high - low) + low)


def _noise(values: np.ndarray) -> float:
    """Robust standard deviation of the finest diagonal Haar coefficients, without those that are 0."""
    even = values[: values.shape[0] // 2 * 2, : values.shape[1] // 2 * 2]
    detail = (even[::2, ::2] - even[1::2, ::2] - even[::2, 1::2] + even[1::2, 1::2]) / 2
    detail = detail[detail != 0]
    return float(np.median(np.abs(detail)) / 0.6745) if detail.size else 0.0
