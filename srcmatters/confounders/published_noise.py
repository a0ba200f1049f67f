"""The published model of X-ray quantum noise, quirks included, for ``protocol: paper``.

A pixel is taken for a path of 1 cm through a CT lung window:

1. resize to 512 x 512 (bilinear, 8 bit);
2. add U(0, 1) against the quantisation;
3. grey value to [-1200, 800] "HU", to attenuation with mu_water = 0.1837 and mu_air = 0.1662 per cm;
4. count photons, ``n ~ Poisson(e^{-mu} N)``, and take ``-ln max(n / N, 1e-8)``;
5. back to HU, clip to the window, truncate to 8 bit.

N is 2e7 photons per pixel for every image and 1.5e7 for a confounded one. 0.1662 is the *mass* attenuation
coefficient of air, a thousand times its attenuation: the window shrinks to 0.035 /cm, the noise is about ten
times too large and almost the same in air and in bone. The published code draws from two streams that run
through the whole folder (numpy's RandomState); here each case has its own two.

Source: Juodelyte et al. 2024, arXiv 2403.04484, and its code (include_noise.py).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch.nn import functional

SIZE = 512
PHOTONS = 2e7
MU_WATER, MU_AIR = 0.1837, 0.1662
WINDOW = (-1200.0, 800.0)


def published_noise(
    images: torch.Tensor, seeds: Sequence[tuple[int, int]], dose_factor: float
) -> torch.Tensor:
    """The published noise on a batch of grey images.

    Args:
        images: (B, C, H, W[, D]) in [0, 1]; all channels become the noisy first one.
        seeds: per image, those of the quantisation noise and of the photon counts; one higher for each slice
            of a volume.
        dose_factor: photons as a share of 2e7.

    Returns:
        (B, C, 512, 512[, D]), 8-bit values / 255, on the device and in the dtype of ``images``.
    """
    if images.ndim == 5:
        moved = ([(first + at, second + at) for first, second in seeds] for at in range(images.shape[-1]))
        slices = zip(images.unbind(-1), moved, strict=True)
        return torch.stack([published_noise(plane, own, dose_factor) for plane, own in slices], dim=-1)
    grey = to_eight_bit(images[:, :1]).double().cpu()
    if grey.shape[2:] != (SIZE, SIZE):
        resized = functional.interpolate(grey, size=(SIZE, SIZE), mode="bilinear", align_corners=False)
        grey = torch.floor(resized + 0.5)
    noisy = [
        _noise(image.numpy(), seed, PHOTONS * dose_factor)
        for image, seed in zip(grey[:, 0], seeds, strict=True)
    ]
    result = torch.from_numpy(np.stack(noisy)).to(images.device, images.dtype).div_(255)
    return result.unsqueeze(1).expand(-1, images.shape[1], -1, -1).contiguous()


def to_eight_bit(images: torch.Tensor) -> torch.Tensor:
    """Display values in [0, 1] as whole numbers 0..255, still floating point."""
    half = torch.tensor(0.5, dtype=images.dtype, device=images.device)
    return torch.add(half, images, alpha=255).floor_().clamp_(0, 255)


def _noise(grey: np.ndarray, seeds: tuple[int, int], photons: float) -> np.ndarray:
    quantisation, counting = (np.random.RandomState(seed) for seed in seeds)
    low, high = WINDOW
    dithered = grey + quantisation.uniform(0.0, 1.0, size=grey.shape)
    mu = (dithered / 255.0 * (high - low) + low) * (MU_WATER - MU_AIR) / 1000 + MU_WATER
    counts = counting.poisson(np.exp(-mu) * photons)
    measured = -np.log(np.maximum(counts / photons, 1e-8))
    hu = np.clip(1000 * (measured - MU_WATER) / (MU_WATER - MU_AIR), low, high)
    return ((hu - low) / (high - low) * 255.0).astype(np.uint8)
