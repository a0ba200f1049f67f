"""Weights of a network for images in the same network for volumes."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from srcmatters.errors import InputError, did_you_mean

INFLATIONS = ("centre", "mean")


def inflate(
    weights: Mapping[str, torch.Tensor], shapes: Mapping[str, torch.Size], inflation: str = "centre"
) -> tuple[dict[str, torch.Tensor], tuple[str, ...]]:
    """Give two-dimensional kernels a depth; the new axis is the last one, as in (H, W, D).

    "centre" puts a kernel into the middle slice and zeros elsewhere. A volume whose slices are all the same
    image then gives, whatever its depth, exactly what the image gives in 2D: no kernel reaches the padding at
    the ends. Where slices differ, a convolution sees one slice at a time, and those of stride 2 skip every
    second one: EfficientNet-Lite0, whose five of them make a stride of 32 along the depth, sees the same few
    slices of each volume until it is fine-tuned. Pooling does mix neighbouring slices (max pooling in ResNet
    and DenseNet, average pooling between DenseNet's blocks), as does the average at the end.

    "mean" spreads a kernel evenly over its depth (Carreira and Zisserman 2017, "I3D"): every slice counts,
    but near the ends a part of each kernel falls on the zero padding, so that even a volume of equal slices
    gives another result than the image.

    Args:
        weights: of the network with ``spatial_dims=2``, in our naming.
        shapes: of the tensors of the same network with ``spatial_dims=3``.
        inflation: "centre" or "mean".

    Returns:
        All weights, and the names of those that were inflated. A tensor that is no kernel, or that does not
        fit, is handed back as it is.

    Raises:
        InputError: another inflation.
    """
    if inflation not in INFLATIONS:
        raise InputError(f"inflation: {inflation!r} is unknown{did_you_mean(inflation, INFLATIONS)}")
    result, inflated = dict(weights), []
    for name, kernel in weights.items():
        target = shapes.get(name)
        if target is None or kernel.ndim != 4 or len(target) != 5 or target[:4] != kernel.shape:
            continue
        result[name] = _deepen(kernel, target[4], inflation)
        inflated.append(name)
    return result, tuple(inflated)


def _deepen(kernel: torch.Tensor, depth: int, inflation: str) -> torch.Tensor:
    if inflation == "mean":
        return (kernel / depth).unsqueeze(-1).repeat(1, 1, 1, 1, depth)
    deep = kernel.new_zeros((*kernel.shape, depth))
    deep[..., depth // 2] = kernel
    return deep
