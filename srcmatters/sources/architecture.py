"""What names and shapes do not tell of a network: strides, dilation, epsilons, shortcuts.

Weights of another architecture load without complaint and compute something else. So a network that is not
built as usual carries a marker among its tensors: strict loading then refuses the weights of one architecture
in a network of another, in checkpoints and source files as well.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from monai.networks.nets.resnet import ResNetBlock, ResNetBottleneck
from torch import nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from srcmatters.errors import InputError, did_you_mean
from srcmatters.sources.network_facts import TRANSFORMERS, check_pooling

#: torchvision's ResNet and DenseNet, the EfficientNet port, DINOv2: what a name means unless said otherwise.
STANDARD = "standard"

#: Networks that exist in another architecture.
ARCHITECTURES = {
    "keras": ("resnet50", "densenet121"),
    "medicalnet": ("resnet10", "resnet18", "resnet34", "resnet50"),
    "mean_pooled": TRANSFORMERS,
}

_MARKER = "architecture_"
_KERAS_EPSILON = 1.001e-5
#: Dilation of MedicalNet's last two stages, whose stride is 1: made for segmentation, it keeps resolution.
_MEDICALNET_DILATION = {"layer3": 2, "layer4": 4}
#: The depths of MedicalNet that were trained with shortcuts without weights.
_MEDICALNET_ZERO_PADDED = ("resnet18", "resnet34")


def rebuild(network: nn.Module, name: str, architecture: str) -> None:
    """Turn a network as usual into the one that other weights were trained in.

    Args:
        network: is changed in place, marker included.
        name: of the network, such as resnet50.
        architecture: "standard" changes nothing. "keras": the stride of a bottleneck is on its first 1x1
            convolution, and BatchNorm has an epsilon of 1.001e-5. "medicalnet": the last two stages of a
            ResNet are dilated by 2 and 4 instead of strided; ResNet-18 and -34 pad their shortcuts with
            zeros. "mean_pooled": a transformer's head is given the mean of its patches.

    Raises:
        InputError: an unknown architecture, or one that this network does not have.

    Source: keras.applications; Chen et al. 2019, "Med3D" (arXiv 1904.00625).
    """
    if architecture == STANDARD:
        return
    if architecture not in ARCHITECTURES:
        near = did_you_mean(architecture, [STANDARD, *ARCHITECTURES])
        raise InputError(f"architecture: {architecture!r} is unknown{near}")
    if name not in ARCHITECTURES[architecture]:
        known = ", ".join(ARCHITECTURES[architecture])
        raise InputError(f"architecture: {architecture} has no {name}, expected one of: {known}")
    if architecture == "keras":
        _as_keras(network)
    elif architecture == "medicalnet":
        _as_medicalnet(network, name)
    else:
        network.pooling = "mean"  # type: ignore[assignment]
    network.register_buffer(_MARKER + architecture, torch.ones((), dtype=torch.uint8))


def architecture_of(weights: Mapping[str, torch.Tensor]) -> str:
    """The architecture that weights in our naming were made for, told by their marker.

    Args:
        weights: of a network, or of a classifier with its input normalisation.
    """
    for name in weights:
        last = name.rpartition(".")[2]
        if last.startswith(_MARKER):
            return last.removeprefix(_MARKER)
    return STANDARD


def pooled(
    weights: Mapping[str, torch.Tensor], network: str, pooling: str
) -> tuple[dict[str, torch.Tensor], str]:
    """Weights for another pooling of a transformer, which moves no tensor, and their architecture.

    Args:
        weights: in our naming; none of a random initialisation.
        network: its name.
        pooling: see :func:`srcmatters.sources.network_facts.check_pooling`.

    Raises:
        InputError: an unknown pooling, or a network without tokens.
    """
    check_pooling(network, pooling)
    architecture = "mean_pooled" if pooling == "mean" else STANDARD
    unmarked = {name: tensor for name, tensor in weights.items() if name not in marker("mean_pooled")}
    return {**unmarked, **marker(architecture)}, architecture


def marker(architecture: str) -> dict[str, torch.Tensor]:
    """The tensor that marks weights of this architecture; none of the standard one."""
    if architecture == STANDARD:
        return {}
    return {_MARKER + architecture: torch.ones((), dtype=torch.uint8)}


def _as_keras(network: nn.Module) -> None:
    for module in network.modules():
        if isinstance(module, ResNetBottleneck):
            module.conv1.stride, module.conv2.stride = module.conv2.stride, module.conv1.stride
        if isinstance(module, _BatchNorm):
            module.eps = _KERAS_EPSILON


def _as_medicalnet(network: nn.Module, name: str) -> None:
    for stage, dilation in _MEDICALNET_DILATION.items():
        for module in network.get_submodule(stage).modules():
            if isinstance(module, nn.Conv3d):
                _dilate(module, dilation)
    if name not in _MEDICALNET_ZERO_PADDED:
        return
    for block in network.modules():
        if isinstance(block, ResNetBlock) and isinstance(block.downsample, nn.Sequential):
            projection = block.downsample[0]
            assert isinstance(projection, nn.Conv3d)
            block.downsample = _ZeroPaddedShortcut(projection.stride[0], projection.out_channels)


def _dilate(convolution: nn.Conv3d, dilation: int) -> None:
    convolution.stride = (1, 1, 1)
    if convolution.kernel_size != (1, 1, 1):
        convolution.dilation = convolution.padding = (dilation,) * 3
        # What torch works out from the padding when it builds a layer.
        convolution._reversed_padding_repeated_twice = [dilation] * 6


class _ZeroPaddedShortcut(nn.Module):
    """A shortcut without weights: every ``stride``-th voxel, and zeros for the channels that are new.

    MedicalNet and MONAI also cut the gradient here; it flows in ours, the output is the same.

    Args:
        stride: of the block.
        channels: of the block's output.
    """

    def __init__(self, stride: int, channels: int) -> None:
        super().__init__()
        self.stride = stride
        self.channels = channels

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        stride = self.stride
        image = image[:, :, ::stride, ::stride, ::stride]
        return functional.pad(image, [0, 0, 0, 0, 0, 0, 0, self.channels - image.shape[1]])
