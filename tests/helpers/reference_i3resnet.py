"""The inflated 3D ResNet of Merlin and Astra in plain torch, written from its description and not from ours.

Volumes are (B, 3, Z, X, Y). Names of the tensors are those of the published file.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional


class Bottleneck(nn.Module):
    """1 x 1 x 1, 3 x 3 x 3 with the stride, 1 x 1 x 1 to four times the channels."""

    def __init__(self, before: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(before, width, 1, bias=False)
        self.bn1 = nn.BatchNorm3d(width)
        self.conv2 = nn.Conv3d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm3d(width)
        self.conv3 = nn.Conv3d(width, 4 * width, 1, bias=False)
        self.bn3 = nn.BatchNorm3d(4 * width)
        self.downsample = None
        if stride > 1 or before != 4 * width:
            shortcut = nn.Conv3d(before, 4 * width, 1, stride, bias=False)
            self.downsample = nn.Sequential(shortcut, nn.BatchNorm3d(4 * width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = functional.relu(self.bn1(self.conv1(x)))
        out = functional.relu(self.bn2(self.conv2(out)))
        return functional.relu(
            self.bn3(self.conv3(out)) + (x if self.downsample is None else self.downsample(x))
        )


class I3ResNet(nn.Module):
    """Features, (B, 4 * last width)."""

    def __init__(self, repeats: Sequence[int], widths: Sequence[int]) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(3, widths[0], (3, 7, 7), (1, 2, 2), (1, 3, 3), bias=False)
        self.bn1 = nn.BatchNorm3d(widths[0])
        before = widths[0]
        for number, (repeat, width) in enumerate(zip(repeats, widths, strict=True)):
            blocks = []
            for block in range(repeat):
                blocks.append(Bottleneck(before, width, 2 if number and not block else 1))
                before = 4 * width
            setattr(self, f"layer{number + 1}", nn.Sequential(*blocks))

    def forward(self, volume: torch.Tensor) -> torch.Tensor:
        x = functional.max_pool3d(functional.relu(self.bn1(self.conv1(volume))), 3, 2, 1)
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = stage(x)
        return x.mean((2, 3, 4))


def ras_zxy(image: torch.Tensor) -> torch.Tensor:
    """(B, 3, Z, X, Y) of (B, 1, H, W, D): rows go to posterior, columns to the left, slices to superior."""
    _, _, height, width, depth = image.shape
    volume = torch.empty(len(image), 3, depth, width, height)
    for y in range(height):
        for x in range(width):
            # x grows to the right, y to anterior
            volume[:, :, :, x, y] = image[:, :, height - 1 - y, width - 1 - x, :]
    return volume
