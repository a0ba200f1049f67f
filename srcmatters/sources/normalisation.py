"""What a source expects as input: it is the first layer of the network, so it travels with the weights."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from srcmatters.errors import InputError, did_you_mean

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

#: Orders of channels that weights expect, and how many channels those are.
CHANNEL_ORDERS = {"RGB": 3, "BGR": 3, "grey": 1}
_KINDS = ("fixed", "zscore_positive")


class InputNormalisation(nn.Module):
    """``(image - mean) / std`` per channel; one grey channel becomes as many as the network has.

    A grey image is repeated for every channel and each copy is normalised as that channel is: what an RGB
    image of equal channels would give. A network of one channel takes grey images alone: which mixture of
    colours it should see is the user's decision.

    Args:
        mean: one value per channel of the network.
        std: one value per channel of the network.
        spatial_dims: 2 or 3.

    Shape:
        image: (B, 1 or C, H, W[, D]) in [0, 1]; the result is (B, C, H, W[, D]).

    Raises:
        ValueError: an image with another number of channels (when it is called).
    """

    # Real annotations, no strings of __future__: TorchScript reads them.
    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float], spatial_dims: int = 2) -> None:
        super().__init__()
        shape = (1, len(mean), *([1] * spatial_dims))
        self.channels = len(mean)
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).reshape(shape))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).reshape(shape))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Normalise a batch."""
        if image.shape[1] != 1 and image.shape[1] != self.channels:
            raise ValueError(f"image: got {image.shape[1]} channels, expected 1 or {self.channels}")
        return (image - self.mean) / self.std


class PositiveZScore(nn.Module):
    """``(image - mean) / std``, with mean and standard deviation of each image's own voxels above zero.

    MedicalNet's normalisation, but for one thing: MedicalNet draws voxels that are zero from a standard
    normal distribution, anew each time; here they are normalised like the others, so that a prediction can
    be repeated. An image of one value has no deviation and is only centred; one without a positive voxel
    stays as it is.

    Shape:
        image: (B, 1, H, W[, D]); the result has the same shape.

    Raises:
        ValueError: an image with more channels than one (when it is called).

    Source: Chen et al. 2019, "Med3D" (arXiv 1904.00625).
    """

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Normalise a batch."""
        if image.shape[1] != 1:
            raise ValueError(f"image: got {image.shape[1]} channels, expected 1")
        # Sums over a volume overflow half precision.
        values = image.flatten(1).to(torch.promote_types(image.dtype, torch.float32))
        positive = (values > 0).to(values.dtype)
        count = positive.sum(1, keepdim=True).clamp(min=1.0)
        mean = (values * positive).sum(1, keepdim=True) / count
        centred = values - mean
        std = ((centred * positive).square().sum(1, keepdim=True) / count).sqrt()
        # Below a millionth of the mean there is only rounding.
        std = torch.where(std > 1e-6 * mean, std, torch.ones_like(std))
        return (centred / std).reshape(image.shape).to(image.dtype)


@dataclass(frozen=True)
class Normalisation:
    """What a source expects, checked.

    Args:
        kind: "fixed" (mean and std per channel) or "zscore_positive" (of each image's voxels above zero).
        channel_order: "RGB", "BGR" or "grey", of the weights as they are in the file.
        mean: per channel in that order, of images in [0, 1]; empty unless ``kind`` is "fixed".
        std: likewise.
    """

    kind: str
    channel_order: str
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    @property
    def channels(self) -> int:
        """Channels of the network."""
        return CHANNEL_ORDERS[self.channel_order]

    def layer(self, spatial_dims: int) -> nn.Module:
        """The network's first layer; its input is RGB, whatever the order of the file was.

        Args:
            spatial_dims: 2 or 3.
        """
        if self.kind == "zscore_positive":
            return PositiveZScore()
        backwards = self.channel_order == "BGR"
        mean, std = (values[::-1] if backwards else values for values in (self.mean, self.std))
        return InputNormalisation(mean, std, spatial_dims)


IMAGENET = Normalisation("fixed", "RGB", IMAGENET_MEAN, IMAGENET_STD)


def read_normalisation(fields: Mapping[str, Any], origin: str) -> Normalisation:
    """The normalisation of a catalogue entry.

    Args:
        fields: kind, channel_order, mean, std, as in :class:`Normalisation`.
        origin: the entry, for error messages.

    Raises:
        InputError: naming the entry, the field, what was got and what was expected.
    """
    kind = _word(fields, "kind", _KINDS, origin)
    order = _word(fields, "channel_order", CHANNEL_ORDERS, origin)
    if kind == "zscore_positive":
        if order != "grey":
            raise InputError(f"{origin}: normalisation.channel_order: got {order}, expected grey with {kind}")
        superfluous = [name for name in ("mean", "std") if fields.get(name)]
        if superfluous:
            raise InputError(f"{origin}: normalisation.{superfluous[0]}: expected none with {kind}")
        return Normalisation(kind, order)
    channels = CHANNEL_ORDERS[order]
    mean, std = (_numbers(fields, name, channels, origin) for name in ("mean", "std"))
    if min(std) <= 0:
        raise InputError(f"{origin}: normalisation.std: got {min(std)}, expected numbers above 0")
    return Normalisation(kind, order, mean, std)


def _word(fields: Mapping[str, Any], name: str, known: Sequence[str] | Mapping[str, int], origin: str) -> str:
    word = fields.get(name)
    if word not in known:
        raise InputError(
            f"{origin}: normalisation.{name}: {word!r} is unknown{did_you_mean(str(word), list(known))}"
        )
    return str(word)


def _numbers(fields: Mapping[str, Any], name: str, channels: int, origin: str) -> tuple[float, ...]:
    values = fields.get(name)
    if not isinstance(values, Sequence) or isinstance(values, str) or len(values) != channels:
        count = len(values) if isinstance(values, Sequence) else values
        raise InputError(f"{origin}: normalisation.{name}: got {count} values, expected {channels}")
    numbers = tuple(float(value) for value in values)
    if not all(math.isfinite(number) for number in numbers):
        raise InputError(f"{origin}: normalisation.{name}: got {values!r}, expected finite numbers")
    return numbers
