"""Keras layers as torch tensors: names, axes of kernels, and biases that BatchNorm takes in."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch

from srcmatters.errors import InputError
from srcmatters.sources.conversion_report import Draft

_HEAD = re.compile(r"(predictions|dense|fc)(_?\d+)?$")
_WEIGHTS = {
    "kernel": "weight",
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}
_DENSE_LAYER = {"0_bn": "norm1", "1_conv": "conv1", "1_bn": "norm2", "2_conv": "conv2"}


def take_keras(draft: Draft, weights: Mapping[str, torch.Tensor], network: str) -> None:
    """Take the tensors of a ``keras.applications`` network into a conversion.

    Kernels are transposed from (H, W, in, out) to (out, in, H, W). A convolution's bias b goes into the mean
    of the BatchNorm behind it: (x + b) - m = x - (m - b), to the rounding of one addition.

    Args:
        draft: is filled.
        weights: by "layer/weight:0"; ``layer/layer/weight`` and ``model_weights/`` in front are the same.
        network: resnet50 or densenet121.

    Raises:
        InputError: a convolution of ResNet-50 without the bias that it has in Keras.
    """
    biases: dict[str, tuple[str, torch.Tensor]] = {}
    for name, tensor in weights.items():
        layer, weight = _split(name)
        if _HEAD.match(layer):
            draft.ignored[name] = "head"
            continue
        ours = _module(layer, network)
        if ours is None:
            draft.leave_over(name, tensor)
        elif weight == "bias" and network == "resnet50":
            biases[ours] = (name, tensor)
        elif weight == "kernel" and tensor.ndim == 4:
            draft.take(f"{ours}.weight", tensor.permute(3, 2, 0, 1).contiguous(), name, "transposed")
        else:
            draft.take(f"{ours}.{_WEIGHTS.get(weight, weight)}", tensor, name)
    if network == "resnet50":
        _fold(draft, biases)


def _fold(draft: Draft, biases: dict[str, tuple[str, torch.Tensor]]) -> None:
    kernels = [
        name for name, tensor in draft.weights.items() if tensor.ndim == 4 and name.endswith(".weight")
    ]
    convolutions = [name.removesuffix(".weight") for name in kernels]
    for convolution in convolutions:
        if convolution not in biases:
            raise InputError(
                f"{draft.origins[f'{convolution}.weight']} has no bias,"
                " expected one for each convolution of a Keras ResNet"
            )
    for convolution, (name, bias) in biases.items():
        mean = f"{_norm_behind(convolution)}.running_mean"
        fits = mean in draft.weights and draft.weights[mean].shape == bias.shape
        if not fits or convolution not in convolutions:
            draft.take(f"{convolution}.bias", bias, name)  # which no network of ours has
            continue
        draft.change(mean, draft.weights[mean] - bias, "folded")
        draft.origins[mean] += f" - {name}"


def _norm_behind(convolution: str) -> str:
    if convolution.endswith("downsample.0"):
        return convolution.removesuffix("0") + "1"
    place, _, number = convolution.rpartition("conv")
    return f"{place}bn{number}"


def _split(name: str) -> tuple[str, str]:
    """``model_weights/conv1_conv/conv1_conv/kernel:0`` is the kernel of ``conv1_conv``."""
    layer, _, weight = name.removeprefix("model_weights/").rpartition("/")
    half = len(layer) // 2
    if layer[:half] == layer[half + 1 :] and layer[half : half + 1] == "/":
        layer = layer[:half]
    return layer, re.sub(r":\d+$", "", weight)


def _module(layer: str, network: str) -> str | None:
    return _resnet50(layer) if network == "resnet50" else _densenet121(layer)


def _resnet50(layer: str) -> str | None:
    if layer in ("conv1_conv", "conv1_bn"):
        return {"conv1_conv": "conv1", "conv1_bn": "bn1"}[layer]
    match = re.fullmatch(r"conv([2-5])_block([1-9]\d*)_([0-3])_(conv|bn)", layer)
    if match is None:
        return None
    block = f"layer{int(match[1]) - 1}.{int(match[2]) - 1}"
    if match[3] == "0":
        return f"{block}.downsample.{0 if match[4] == 'conv' else 1}"
    return f"{block}.{match[4]}{match[3]}"


def _densenet121(layer: str) -> str | None:
    if layer in ("conv1/conv", "conv1_conv"):
        return "features.conv0"
    if layer in ("conv1/bn", "conv1_bn"):
        return "features.norm0"
    if layer == "bn":
        return "features.norm5"
    match = re.fullmatch(r"pool([2-4])_(conv|bn)", layer)
    if match is not None:
        return f"features.transition{int(match[1]) - 1}.{'conv' if match[2] == 'conv' else 'norm'}"
    match = re.fullmatch(r"conv([2-5])_block([1-9]\d*)_(\d_(?:conv|bn))", layer)
    if match is None or match[3] not in _DENSE_LAYER:
        return None
    return f"features.denseblock{int(match[1]) - 1}.denselayer{match[2]}.layers.{_DENSE_LAYER[match[3]]}"
