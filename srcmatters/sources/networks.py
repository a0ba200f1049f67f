"""Networks by the name that a study uses: MONAI's, with 2D or 3D input and a classification head."""

from __future__ import annotations

from collections.abc import Callable

import torch
from monai.networks.nets import DenseNet121, EfficientNet, resnet10, resnet18, resnet34, resnet50
from monai.networks.nets.efficientnet import MBConvBlock
from torch import nn
from torch.nn import functional

from srcmatters.errors import InputError
from srcmatters.sources.architecture import STANDARD, rebuild
from srcmatters.sources.inflated_resnet import InflatedResNet152
from srcmatters.sources.network_facts import check_network
from srcmatters.sources.vision_transformer import VIT_B14, VisionTransformer

#: Kernel, stride and expansion of the stages of an EfficientNet.
_STAGE_KINDS = ("k3_s11_e1", "k3_s22_e6", "k5_s22_e6", "k3_s22_e6", "k5_s11_e6", "k5_s22_e6", "k3_s11_e6")


class EfficientNetLite0(EfficientNet):
    """EfficientNet-Lite0: EfficientNet-B0 without squeeze-and-excitation and with ReLU6 for swish.

    Lite1 and Lite2 have more of the same blocks, Lite2 wider ones; stem, head, first and last stage stay.

    Built from MONAI's blocks, so it exists in 3D as well. Padding is the one of a 224 pixel input, which is
    the same for every multiple of 32; that of Lite1 and Lite2 is of 240 and 260 pixels, as in the port whose
    weights are loaded. BatchNorm momentum is .1 instead of TensorFlow's .01, which leaves the running
    statistics far behind in the few hundred iterations of a fine-tuning.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the input.
        num_classes: size of the output.
        dropout: dropout rate before the classifier.

    Source: Tan and Le 2019 (arXiv 1905.11946); the Lite variants of the TensorFlow TPU models.
    """

    #: Blocks and channels of each of the seven stages.
    repeats: tuple[int, ...] = (1, 2, 2, 3, 3, 4, 1)
    widths: tuple[int, ...] = (16, 24, 40, 80, 112, 192, 320)
    #: Pixels of an image that the padding of each convolution is that of.
    side: int = 224

    def __init__(
        self, spatial_dims: int = 2, in_channels: int = 3, num_classes: int = 2, dropout: float = 0.2
    ) -> None:
        super().__init__(
            blocks_args_str=[
                f"r{repeat}_{kind}_i{before}_o{width}"
                for repeat, kind, before, width in zip(
                    self.repeats, _STAGE_KINDS, (32, *self.widths), self.widths, strict=False
                )
            ],
            spatial_dims=spatial_dims,
            in_channels=in_channels,
            num_classes=num_classes,
            dropout_rate=dropout,
            image_size=self.side,
            norm=("batch", {"eps": 1e-3, "momentum": 0.1}),
        )
        for module in self.modules():
            if hasattr(module, "_swish"):
                module._swish = nn.ReLU6(inplace=True)
            if isinstance(module, MBConvBlock) and not module.has_se:
                # TorchScript compiles the branch that is never taken and wants its layers to exist.
                for layer in ("_se_adaptpool", "_se_reduce", "_se_expand"):
                    setattr(module, layer, nn.Identity())
                    setattr(module, f"{layer}_padding", nn.Identity())
        # MONAI draws the classifier from +-1/sqrt(num_classes): with two classes and 1280 features training
        # would start at a cross-entropy of 5 instead of log 2.
        self._fc.reset_parameters()


class EfficientNetLite1(EfficientNetLite0):
    """EfficientNet-Lite1, see :class:`EfficientNetLite0`."""

    repeats = (1, 3, 3, 4, 4, 5, 1)
    side = 240


class EfficientNetLite2(EfficientNetLite1):
    """EfficientNet-Lite2, see :class:`EfficientNetLite0`."""

    widths = (16, 24, 48, 88, 120, 208, 352)
    side = 260


class DropoutLinear(nn.Linear):
    """A classifier behind dropout whose tensors keep the names of a plain one."""

    def __init__(self, in_features: int, out_features: int, dropout: float) -> None:
        super().__init__(in_features, out_features)
        self.dropout = dropout

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """(B, classes) logits of (B, F) features."""
        # TorchScript knows no super().
        dropped = functional.dropout(features, self.dropout, self.training)
        return functional.linear(dropped, self.weight, self.bias)


def _features(head: object) -> int:
    assert isinstance(head, nn.Linear)
    return head.in_features


def _resnet(build: Callable[..., nn.Module]) -> Callable[..., nn.Module]:
    def create(spatial_dims: int, in_channels: int, num_classes: int, dropout: float) -> nn.Module:
        # conv1_t_stride=2 and bias_downsample=False are torchvision's network; MONAI's defaults load the
        # same weights and compute something else.
        network = build(
            spatial_dims=spatial_dims,
            n_input_channels=in_channels,
            num_classes=num_classes,
            conv1_t_stride=2,
            bias_downsample=False,
        )
        network.fc = DropoutLinear(_features(network.fc), num_classes, dropout)
        return network

    return create


def _densenet121(spatial_dims: int, in_channels: int, num_classes: int, dropout: float) -> nn.Module:
    network = DenseNet121(spatial_dims=spatial_dims, in_channels=in_channels, out_channels=num_classes)
    network.class_layers.out = DropoutLinear(_features(network.class_layers.out), num_classes, dropout)
    return network


def _vit_b14(spatial_dims: int, in_channels: int, num_classes: int, dropout: float) -> nn.Module:
    if spatial_dims != 2:
        raise InputError(f"spatial_dims: got {spatial_dims}, expected 2: vit_b14 takes images, not volumes")
    return VisionTransformer(in_channels, num_classes, dropout, VIT_B14)


def _i3resnet152(spatial_dims: int, in_channels: int, num_classes: int, dropout: float) -> nn.Module:
    network = InflatedResNet152(spatial_dims, in_channels, num_classes)
    network.fc = DropoutLinear(_features(network.fc), num_classes, dropout)
    return network


_BUILDERS: dict[str, Callable[..., nn.Module]] = {
    "efficientnet_lite0": EfficientNetLite0,
    "efficientnet_lite1": EfficientNetLite1,
    "efficientnet_lite2": EfficientNetLite2,
    "resnet10": _resnet(resnet10),
    "resnet18": _resnet(resnet18),
    "resnet34": _resnet(resnet34),
    "resnet50": _resnet(resnet50),
    "densenet121": _densenet121,
    "i3resnet152": _i3resnet152,
    "vit_b14": _vit_b14,
}


def create_network(
    name: str,
    spatial_dims: int = 2,
    in_channels: int = 3,
    num_classes: int = 2,
    dropout: float = 0.2,
    architecture: str = STANDARD,
) -> nn.Module:
    """A randomly initialised network.

    Args:
        name: efficientnet_lite0, _lite1, _lite2, resnet10, 18, 34, 50, densenet121, i3resnet152 or vit_b14.
        spatial_dims: 2 or 3; vit_b14 has 2, i3resnet152 has 3.
        in_channels: channels of the input.
        num_classes: size of the output; logits, shape (B, num_classes).
        dropout: dropout rate before the classifier, 0..1.
        architecture: "standard"; "keras" or "medicalnet" builds the network that those weights were trained
            in, see :func:`srcmatters.sources.architecture.rebuild`. MedicalNet's is 3D.

    Raises:
        InputError: unknown name, a dropout rate outside [0, 1), or a network that does not exist in this
            architecture or number of dimensions.
    """
    check_network(name)
    if spatial_dims not in (2, 3):
        raise InputError(f"spatial_dims: got {spatial_dims!r}, expected 2 or 3")
    if not 0 <= dropout < 1:
        raise InputError(f"dropout: got {dropout}, expected a rate in [0, 1)")
    if architecture == "medicalnet" and spatial_dims != 3:
        raise InputError(f"spatial_dims: got {spatial_dims}, expected 3: MedicalNet's networks take volumes")
    network = _BUILDERS[name](
        spatial_dims=spatial_dims, in_channels=in_channels, num_classes=num_classes, dropout=dropout
    )
    rebuild(network, name, architecture)
    return network
