"""The numbers by which probes and monitors know an image: where it is bright, how rough, how sharp."""

from __future__ import annotations

import torch
import torch.nn.functional as functional

BLOCKS = 8  # per side
BANDS = 24  # of the radial power spectrum
SPECTRUM_SIZE = 128
QUANTILES = (0.0, 0.1, 0.5, 0.9, 1.0)  # of a statistic over the blocks: wherever in the image it happens


def describe(image: torch.Tensor) -> torch.Tensor:
    """The numbers by which the probe knows an image.

    Channels are averaged; a volume is described by its slices, averaged. On an 8 x 8 grid of blocks: mean,
    maximum, minimum, and logarithms of the energy of the first differences and of the median absolute
    diagonal difference (noise: a median ignores edges). Of each over the grid: minimum, 10 %, median, 90 %,
    maximum, for what is local but not always in one place. Then the logarithm of the power in 24 radial
    bands, after the image was cropped to its middle 128 pixels or taken whole if it is smaller.

    Args:
        image: (C, H, W) or (C, H, W, D).

    Returns:
        (369,) float32.
    """
    slices = image.float().mean(0)
    slices = slices.unsqueeze(0) if slices.ndim == 2 else slices.movedim(-1, 0)
    return torch.stack([_describe_slice(one) for one in slices]).mean(0)


def _describe_slice(image: torch.Tensor) -> torch.Tensor:
    down, right = image.diff(dim=0)[:, :-1], image.diff(dim=1)[:-1]
    diagonal = (image[1:, 1:] - image[1:, :-1] - image[:-1, 1:] + image[:-1, :-1]).abs()
    scale = 1e-6 * float(image.abs().max()) + 1e-12
    grids = [
        functional.adaptive_avg_pool2d(image[None], BLOCKS),
        functional.adaptive_max_pool2d(image[None], BLOCKS),
        -functional.adaptive_max_pool2d(-image[None], BLOCKS),
        (functional.adaptive_avg_pool2d((down**2 + right**2)[None], BLOCKS) + scale**2).log(),
        (_block_medians(diagonal) + scale).log()[None],
    ]
    flat = torch.stack([grid.flatten() for grid in grids])
    ordered = torch.quantile(flat, torch.tensor(QUANTILES), dim=1)
    return torch.cat([flat.flatten(), ordered.flatten(), _radial_spectrum(image, scale)])


def _block_medians(values: torch.Tensor) -> torch.Tensor:
    """Median of each block of an 8 x 8 grid, leaving the last rows and columns that do not fill one."""
    height, width = values.shape[0] // BLOCKS, values.shape[1] // BLOCKS
    whole = values[: height * BLOCKS, : width * BLOCKS]
    blocks = whole.unflatten(0, (BLOCKS, height)).unflatten(2, (BLOCKS, width)).movedim(2, 1)
    return blocks.flatten(2).median(dim=2).values


def _radial_spectrum(image: torch.Tensor, scale: float) -> torch.Tensor:
    rows, columns = (min(length, SPECTRUM_SIZE) for length in image.shape)
    top, left = (image.shape[0] - rows) // 2, (image.shape[1] - columns) // 2
    middle = image[top : top + rows, left : left + columns]
    window = torch.hann_window(rows)[:, None] * torch.hann_window(columns)
    power = torch.fft.rfft2((middle - middle.mean()) * window).abs().square()
    down, right = torch.fft.fftfreq(rows)[:, None], torch.fft.rfftfreq(columns)
    band = ((down**2 + right**2).sqrt() * 2 * BANDS).long().clamp(max=BANDS - 1).flatten()
    total = torch.zeros(BANDS).index_add(0, band, power.flatten())
    count = torch.zeros(BANDS).index_add(0, band, torch.ones(len(band)))
    return (total / count.clamp(min=1) + scale**2).log()
