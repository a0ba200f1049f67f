"""What a source expects as input: it is the first layer of the network, so it travels with the weights."""

from collections.abc import Sequence

import torch
from torch import nn

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class InputNormalisation(nn.Module):
    """``(image - mean) / std`` per channel; one grey channel becomes as many as the network has.

    A grey image is repeated for every channel and each copy is normalised as that channel is: what an RGB
    image of equal channels would give.

    Args:
        mean: one value per channel of the network.
        std: one value per channel of the network.
        spatial_dims: 2 or 3.

    Shape:
        image: (B, 1 or C, H, W[, D]) in [0, 1]; the result is (B, C, H, W[, D]).
    """

    # Real annotations, no strings of __future__: TorchScript reads them.
    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float], spatial_dims: int = 2) -> None:
        super().__init__()
        shape = (1, len(mean), *([1] * spatial_dims))
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).reshape(shape))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).reshape(shape))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Normalise a batch."""
        return (image - self.mean) / self.std
