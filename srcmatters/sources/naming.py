"""How weight files name their tensors, and what MONAI's networks call the same ones."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

import torch

Weights = dict[str, torch.Tensor]

# Stage of EfficientNet-B0 that each of its sixteen blocks belongs to.
_EFFICIENTNET_STAGE = (0, 1, 1, 2, 2, 3, 3, 3, 4, 4, 4, 5, 5, 5, 5, 6)


def _efficientnet(name: str) -> str:
    """``_blocks.7._bn0.bias`` is ``_blocks.3.7._bn0.bias`` in MONAI, which nests blocks by stage."""
    return re.sub(r"^_blocks\.(\d+)\.", lambda match: _nested(int(match[1])), name)


def _nested(block: int) -> str:
    if block >= len(_EFFICIENTNET_STAGE):
        return f"_blocks.{block}."
    return f"_blocks.{_EFFICIENTNET_STAGE[block]}.{block}."


def _densenet(name: str) -> str:
    """``denselayer1.norm1`` is ``denselayer1.layers.norm1`` in MONAI; old files write ``norm.1``."""
    name = re.sub(r"(denselayer\d+)\.(norm|relu|conv)\.?(\d)\.", r"\1.layers.\2\3.", name)
    return re.sub(r"^classifier\.", "class_layers.out.", name)


_RENAMING: dict[str, Callable[[str], str]] = {
    "efficientnet_lite0": _efficientnet,
    "densenet121": _densenet,
    "resnet18": str,
    "resnet50": str,
}


def to_monai(weights: Mapping[str, torch.Tensor], network: str) -> Weights:
    """Rename the tensors of a file in torchvision's naming (or the EfficientNet port's) to MONAI's.

    Args:
        weights: state dict as the file holds it; a prefix ``module.`` (DataParallel) is dropped.
        network: name of the network that will take them.
    """
    rename = _RENAMING[network]
    return {rename(name.removeprefix("module.")): tensor for name, tensor in weights.items()}
