"""ResNet-18/50 and DenseNet-121 in plain torch, with torchvision's tensor names: what weight files are for.

Written from the publications and from torchvision's naming, not from MONAI: He et al. 2016 (ResNet-50 with
the stride on the 3x3 convolution, "v1.5") and Huang et al. 2017.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

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
    """torchvision's ``densenet121``."""

    def __init__(self, num_classes: int = 1000) -> None:
        super().__init__()
        parts: OrderedDict[str, nn.Module] = OrderedDict()
        parts["conv0"], parts["norm0"] = _convolution(3, 64, 7, 2), nn.BatchNorm2d(64)
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


def reference_network(name: str, seed: int = 0) -> nn.Module:
    """A network in evaluation mode with random weights and random BatchNorm statistics.

    The statistics are those of noise, each off by a random factor: with any others the image is lost on its
    way through a hundred layers, and an error in the first ones would not show in the output.

    Args:
        name: resnet18, resnet50, densenet121, or efficientnet_lite0 (of the pip package
            efficientnet-lite-pytorch).
        seed: seed of everything random.
    """
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        network = _build(name).train()
        norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
        for norm in norms:
            nn.init.uniform_(norm.weight, 0.5, 1.5)
            nn.init.normal_(norm.bias, std=0.3)
            norm.momentum = 1.0
        network(torch.randn(8, 3, 64, 64))
        for norm in norms:
            norm.running_mean += 0.1 * norm.running_var.sqrt() * torch.randn_like(norm.running_mean)
            norm.running_var *= 0.5 + torch.rand_like(norm.running_var)
    return network.eval()


def _build(name: str) -> nn.Module:
    if name == "resnet18":
        return ResNet(_BasicBlock, (2, 2, 2, 2))
    if name == "resnet50":
        return ResNet(_Bottleneck, (3, 4, 6, 3))
    if name == "densenet121":
        return DenseNet121()
    from efficientnet_lite_pytorch import EfficientNet

    return EfficientNet.from_name("efficientnet-lite0")
