"""The networks that weight files are for, in plain torch and with the names of their authors.

Written from the publications and from the authors' naming, not from MONAI: He et al. 2016 (torchvision's
ResNet-50 with the stride on the 3x3 convolution, "v1.5"; Keras' with the stride on the first), Huang et al.
2017, Chen et al. 2019 (MedicalNet).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import h5py
import torch
from torch import nn
from torch.nn import functional


def _convolution(inputs: int, outputs: int, size: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, size, stride, padding=size // 2, bias=False)


class _Residual(nn.Module):
    """``relu(shortcut(x) + branch(x))``; subclasses say what the branch is."""

    expansion: int

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        outputs = width * self.expansion
        self.downsample: nn.Module | None = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(_convolution(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs))

    def branch(self, image: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        shortcut = image if self.downsample is None else self.downsample(image)
        return functional.relu(shortcut + self.branch(image))


class _BasicBlock(_Residual):
    expansion = 1

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__(inputs, width, stride)
        self.conv1, self.bn1 = _convolution(inputs, width, 3, stride), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = _convolution(width, width, 3), nn.BatchNorm2d(width)

    def branch(self, image: torch.Tensor) -> torch.Tensor:
        image = functional.relu(self.bn1(self.conv1(image)))
        return self.bn2(self.conv2(image))


class _Bottleneck(_Residual):
    expansion = 4

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__(inputs, width, stride)
        self.conv1, self.bn1 = _convolution(inputs, width, 1), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = _convolution(width, width, 3, stride), nn.BatchNorm2d(width)
        self.conv3, self.bn3 = _convolution(width, 4 * width, 1), nn.BatchNorm2d(4 * width)

    def branch(self, image: torch.Tensor) -> torch.Tensor:
        image = functional.relu(self.bn1(self.conv1(image)))
        image = functional.relu(self.bn2(self.conv2(image)))
        return self.bn3(self.conv3(image))


class ResNet(nn.Module):
    """torchvision's ``resnet18`` and ``resnet50``."""

    def __init__(self, block: type[_Residual], repeats: Sequence[int], num_classes: int = 1000) -> None:
        super().__init__()
        self.conv1, self.bn1 = _convolution(3, 64, 7, 2), nn.BatchNorm2d(64)
        inputs = 64
        for number, repeat in enumerate(repeats):
            width = 64 * 2**number
            blocks = []
            for place in range(repeat):
                blocks.append(block(inputs, width, 2 if number > 0 and place == 0 else 1))
                inputs = width * block.expansion
            setattr(self, f"layer{number + 1}", nn.Sequential(*blocks))
        self.fc = nn.Linear(inputs, num_classes)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        image = functional.relu(self.bn1(self.conv1(image)))
        image = functional.max_pool2d(image, 3, stride=2, padding=1)
        for number in range(4):
            image = getattr(self, f"layer{number + 1}")(image)
        return self.fc(image.mean((2, 3)))


class _DenseLayer(nn.Module):
    def __init__(self, inputs: int, growth: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = nn.BatchNorm2d(inputs), _convolution(inputs, 4 * growth, 1)
        self.norm2, self.conv2 = nn.BatchNorm2d(4 * growth), _convolution(4 * growth, growth, 3)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        new = self.conv1(functional.relu(self.norm1(image)))
        new = self.conv2(functional.relu(self.norm2(new)))
        return torch.cat([image, new], dim=1)


class _Transition(nn.Module):
    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.norm, self.conv = nn.BatchNorm2d(inputs), _convolution(inputs, inputs // 2, 1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return functional.avg_pool2d(self.conv(functional.relu(self.norm(image))), 2)


class DenseNet121(nn.Module):
    """torchvision's ``densenet121``; torchxrayvision's has one channel."""

    def __init__(self, num_classes: int = 1000, channels: int = 3) -> None:
        super().__init__()
        parts: OrderedDict[str, nn.Module] = OrderedDict()
        parts["conv0"], parts["norm0"] = _convolution(channels, 64, 7, 2), nn.BatchNorm2d(64)
        parts["relu0"], parts["pool0"] = nn.ReLU(), nn.MaxPool2d(3, stride=2, padding=1)
        channels, growth = 64, 32
        for number, repeat in enumerate((6, 12, 24, 16), start=1):
            layers: OrderedDict[str, nn.Module] = OrderedDict()
            for place in range(1, repeat + 1):
                layers[f"denselayer{place}"] = _DenseLayer(channels, growth)
                channels += growth
            parts[f"denseblock{number}"] = nn.Sequential(layers)
            if number < 4:
                parts[f"transition{number}"] = _Transition(channels)
                channels //= 2
        parts["norm5"] = nn.BatchNorm2d(channels)
        self.features = nn.Sequential(parts)
        self.classifier = nn.Linear(channels, num_classes)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.classifier(functional.relu(self.features(image)).mean((2, 3)))


class _KerasBlock(nn.Module):
    """A bottleneck of ``keras.applications``: biases, and the stride on the first convolution."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        widths = {1: (inputs, width, 1), 2: (width, width, 3), 3: (width, 4 * width, 1)}
        if stride != 1 or inputs != 4 * width:
            widths = {0: (inputs, 4 * width, 1), **widths}
        for number, (before, after, size) in widths.items():
            step = stride if number < 2 else 1
            self.add_module(f"{number}_conv", nn.Conv2d(before, after, size, step, padding=size // 2))
            self.add_module(f"{number}_bn", nn.BatchNorm2d(after, eps=1.001e-5))

    def apply_layer(self, number: int, image: torch.Tensor) -> torch.Tensor:
        return self.get_submodule(f"{number}_bn")(self.get_submodule(f"{number}_conv")(image))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        shortcut = self.apply_layer(0, image) if hasattr(self, "0_conv") else image
        for number in (1, 2):
            image = functional.relu(self.apply_layer(number, image))
        return functional.relu(shortcut + self.apply_layer(3, image))


class KerasResNet50(nn.Module):
    """``keras.applications.ResNet50(include_top=False)``, pooled."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1_conv = nn.Conv2d(3, 64, 7, 2, padding=3)
        self.conv1_bn = nn.BatchNorm2d(64, eps=1.001e-5)
        inputs = 64
        for stage, repeat in zip((2, 3, 4, 5), (3, 4, 6, 3), strict=True):
            for place in range(1, repeat + 1):
                stride, width = (2 if stage > 2 and place == 1 else 1), 16 * 2**stage
                self.add_module(f"conv{stage}_block{place}", _KerasBlock(inputs, width, stride))
                inputs = 4 * width

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        image = functional.relu(self.conv1_bn(self.conv1_conv(image)))
        image = functional.max_pool2d(functional.pad(image, [1, 1, 1, 1]), 3, stride=2)
        for block in list(self.children())[2:]:
            image = block(image)
        return image.mean((2, 3))


class _MedicalBlock(nn.Module):
    """A block of MedicalNet: a dilated kernel, and a shortcut with weights or padded with zeros."""

    def __init__(self, inputs: int, width: int, stride: int, dilation: int, deep: bool, padded: bool) -> None:
        super().__init__()
        sizes = [(1, 1), (3, stride), (1, 1)] if deep else [(3, stride), (3, 1)]
        self.outputs, self.stride, self.layers = (4 if deep else 1) * width, stride, len(sizes)
        before = inputs
        for number, (size, step) in enumerate(sizes, start=1):
            after = self.outputs if number == len(sizes) else width
            far = dilation if size == 3 else 1
            padding = far * (size // 2)
            kernel = nn.Conv3d(before, after, size, step, padding=padding, dilation=far, bias=False)
            self.add_module(f"conv{number}", kernel)
            self.add_module(f"bn{number}", nn.BatchNorm3d(after))
            before = after
        self.padded = padded
        if not padded and (stride != 1 or inputs != self.outputs):
            self.downsample = nn.Sequential(
                nn.Conv3d(inputs, self.outputs, 1, stride, bias=False), nn.BatchNorm3d(self.outputs)
            )

    def shortcut(self, volume: torch.Tensor) -> torch.Tensor:
        if not self.padded:
            return self.downsample(volume) if hasattr(self, "downsample") else volume
        volume = functional.avg_pool3d(volume, kernel_size=1, stride=self.stride)
        batch, channels, *size = volume.shape
        return torch.cat([volume, volume.new_zeros(batch, self.outputs - channels, *size)], dim=1)

    def forward(self, volume: torch.Tensor) -> torch.Tensor:
        result = volume
        for number in range(1, self.layers + 1):
            result = self.get_submodule(f"bn{number}")(self.get_submodule(f"conv{number}")(result))
            result = functional.relu(result) if number < self.layers else result
        return functional.relu(result + self.shortcut(volume))


class MedicalNet(nn.Module):
    """MedicalNet's ResNet without its decoder, pooled."""

    def __init__(self, repeats: Sequence[int], deep: bool, padded: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(1, 64, 7, 2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm3d(64)
        inputs = 64
        for number, repeat in enumerate(repeats):
            blocks = []
            for place in range(repeat):
                stride, dilation = (2 if number == 1 and place == 0 else 1), (1, 1, 2, 4)[number]
                blocks.append(_MedicalBlock(inputs, 64 * 2**number, stride, dilation, deep, padded))
                inputs = blocks[-1].outputs
            self.add_module(f"layer{number + 1}", nn.Sequential(*blocks))

    def forward(self, volume: torch.Tensor) -> torch.Tensor:
        volume = functional.relu(self.bn1(self.conv1(volume)))
        volume = functional.max_pool3d(volume, 3, stride=2, padding=1)
        for number in (1, 2, 3, 4):
            volume = self.get_submodule(f"layer{number}")(volume)
        return volume.mean((2, 3, 4))


def reference_network(name: str, seed: int = 0) -> nn.Module:
    """A network in evaluation mode with random weights and random BatchNorm statistics.

    The statistics are those of noise, each off by a random factor: with any others the image is lost on its
    way through a hundred layers, and an error in the first ones would not show in the output.

    Args:
        name: of :data:`REFERENCES`, or efficientnet_lite0 (of the pip package efficientnet-lite-pytorch).
        seed: seed of everything random.
    """
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        network = _build(name).train()
        norms = [m for m in network.modules() if isinstance(m, (nn.BatchNorm2d, nn.BatchNorm3d))]
        for norm in norms:
            nn.init.uniform_(norm.weight, 0.5, 1.5)
            nn.init.normal_(norm.bias, std=0.3)
            norm.momentum = 1.0
        kernel = next(parameter for parameter in network.parameters() if parameter.ndim > 3)
        size = (8, kernel.shape[1], 64, 64) if kernel.ndim == 4 else (2, kernel.shape[1], 40, 40, 40)
        network(torch.randn(size))
        for norm in norms:
            norm.running_mean += 0.1 * norm.running_var.sqrt() * torch.randn_like(norm.running_mean)
            norm.running_var *= 0.5 + torch.rand_like(norm.running_var)
    return network.eval()


REFERENCES: dict[str, Callable[[], nn.Module]] = {
    "resnet10": lambda: ResNet(_BasicBlock, (1, 1, 1, 1)),
    "resnet18": lambda: ResNet(_BasicBlock, (2, 2, 2, 2)),
    "resnet34": lambda: ResNet(_BasicBlock, (3, 4, 6, 3)),
    "resnet50": lambda: ResNet(_Bottleneck, (3, 4, 6, 3)),
    "densenet121": DenseNet121,
    "torchxrayvision": lambda: DenseNet121(18, channels=1),
    "keras-resnet50": KerasResNet50,
    "medicalnet-resnet10": lambda: MedicalNet((1, 1, 1, 1), deep=False, padded=False),
    "medicalnet-resnet18": lambda: MedicalNet((2, 2, 2, 2), deep=False, padded=True),
    "medicalnet-resnet34": lambda: MedicalNet((3, 4, 6, 3), deep=False, padded=True),
    "medicalnet-resnet50": lambda: MedicalNet((3, 4, 6, 3), deep=True, padded=False),
}


def _build(name: str) -> nn.Module:
    if name in REFERENCES:
        return REFERENCES[name]()
    from efficientnet_lite_pytorch import EfficientNet

    return EfficientNet.from_name("efficientnet-lite0")


def save_keras(layers: Mapping[str, nn.Module], path: Path) -> None:
    """Write layers as Keras 2 writes them: a group per layer, in it weights called ``layer/weight:0``."""
    with h5py.File(path, "w") as file:
        for layer, module in layers.items():
            if isinstance(module, nn.Conv2d):
                stored = {"kernel:0": module.weight.permute(2, 3, 1, 0), "bias:0": module.bias}
            else:
                assert isinstance(module, nn.BatchNorm2d)
                stored = {
                    "gamma:0": module.weight,
                    "beta:0": module.bias,
                    "moving_mean:0": module.running_mean,
                    "moving_variance:0": module.running_var,
                }
            for weight, tensor in stored.items():
                if tensor is not None:
                    file[f"{layer}/{layer}/{weight}"] = tensor.detach().numpy()
