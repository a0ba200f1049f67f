"""What a network has computed after each of its stages."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn
from torch.nn import functional

from srcmatters.errors import InputError, did_you_mean
from srcmatters.sources.constructor import is_own, read_constructor
from srcmatters.sources.network_facts import HEADS

#: What goes into the classification head: the features of a frozen network.
FEATURES = "features"


@dataclass(frozen=True)
class Stage:
    """A place in a network.

    Args:
        name: what tables and figures call it.
        module: name of a module in the network.
        side: what the module is given, or what it returns.
    """

    name: str
    module: str
    side: Literal["input", "output"] = "output"


_LITE = (
    Stage("stem", "_blocks", "input"),
    *(Stage(f"blocks{number + 1}", f"_blocks.{number}") for number in range(7)),
)
_RESNET = (Stage("conv1", "act"), *(Stage(f"layer{number}", f"layer{number}") for number in range(1, 5)))
_STAGES = {
    "efficientnet_lite0": _LITE,
    "efficientnet_lite1": _LITE,
    "efficientnet_lite2": _LITE,
    "resnet10": _RESNET,
    "resnet18": _RESNET,
    "resnet34": _RESNET,
    "resnet50": _RESNET,
    "i3resnet152": _RESNET,
    "densenet121": (
        Stage("conv0", "features.relu0"),
        *(Stage(f"denseblock{number}", f"features.denseblock{number}") for number in range(1, 5)),
    ),
    "vit_b14": tuple(
        Stage(f"block{number}", f"backbone.encoder.layer.{number - 1}") for number in (1, 3, 6, 9, 12)
    ),
}


def own_stages(backbone: nn.Module, head: str) -> tuple[Stage, ...]:
    """The parts of a network of one's own in the order in which they were written, and its features."""
    above = head.partition(".")[0]
    parts = (Stage(name, name) for name, _ in backbone.named_children() if name != above)
    return (*parts, Stage(FEATURES, head, "input"))


def stages(network: str) -> tuple[Stage, ...]:
    """The stages of a network from input to output, the last being :data:`FEATURES`.

    Raises:
        InputError: a network whose stages are not known.
    """
    if network not in _STAGES:
        raise InputError(f"network: the stages of {network!r} are unknown{did_you_mean(network, _STAGES)}")
    head = HEADS[network].removesuffix(".")
    return (*_STAGES[network], Stage(FEATURES, head, "input"))


@contextmanager
def recorded_stages(backbone: nn.Module, network: str, grid: int) -> Iterator[dict[str, torch.Tensor]]:
    """A mapping that each forward pass of the network fills with the activations of its stages.

    Args:
        backbone: as :func:`srcmatters.sources.create_network` builds it, without the input normalisation.
        network: its name; of a network of one's own as a run records it, with its head.
        grid: activations are averaged over as many parts of the image a side.

    Yields:
        by name of the stage: (B, C, grid, grid[, grid]) or smaller where the stage itself is, on the CPU;
        (B, F) for the features.
    """
    activations: dict[str, torch.Tensor] = {}
    with ExitStack() as stack:
        head = read_constructor(network).head if is_own(network) else None
        for stage in stages(network) if head is None else own_stages(backbone, head):
            watched = _Watched(stage, grid, head is not None, getattr(backbone, "in_image_axes", None))
            stack.callback(_watch(backbone.get_submodule(stage.module), watched, activations).remove)
        yield activations


def _is_map(tensor: torch.Tensor) -> bool:
    """Whether activations still have a place in the image."""
    return tensor.ndim in (4, 5) and any(side > 1 for side in tensor.shape[2:])


@dataclass(frozen=True)
class _Watched:
    """A stage that is recorded.

    Args:
        stage: where.
        grid: parts a side.
        own: of a network of one's own, whose parts may hold no map.
        in_image_axes: of a network that turns volumes: turns activations back; else None.
    """

    stage: Stage
    grid: int
    own: bool
    in_image_axes: Callable[[torch.Tensor], torch.Tensor] | None


def _watch(module: nn.Module, watched: _Watched, activations: dict[str, torch.Tensor]) -> Any:
    stage = watched.stage

    def record(returned: Any) -> None:
        # Some versions of transformers return a tuple. Averaged at once: what follows may change the tensor.
        first = returned[0] if isinstance(returned, tuple) else returned
        if not isinstance(first, torch.Tensor) or (
            watched.own and stage.name != FEATURES and not _is_map(first)
        ):
            return  # of a network of one's own: a part that pools, or that returns something else
        if watched.in_image_axes is not None and first.ndim == 5:
            first = watched.in_image_axes(first)
        activations[stage.name] = on_grid(first, watched.grid).float().cpu()

    if stage.side == "input":
        # A part of a torch.export program may be handed the size of the batch as well.
        return module.register_forward_pre_hook(
            lambda _, inputs: record(tuple(one for one in inputs if isinstance(one, torch.Tensor)))
        )
    return module.register_forward_hook(lambda _, inputs, output: record(output))


def on_grid(activations: torch.Tensor, grid: int) -> torch.Tensor:
    """Average activations over ``grid`` parts of the image a side, no more than there are pixels.

    Args:
        activations: (B, C, H, W[, D]); (B, 1 + side * side, C) tokens, of which the first is the class token
            and left out; or (B, F), which stay as they are.
        grid: parts a side.
    """
    if activations.ndim == 2:
        return activations.clone()
    if activations.ndim == 3:
        side = math.isqrt(activations.shape[1] - 1)
        activations = activations[:, 1:].transpose(1, 2).unflatten(2, (side, side))
    size = [min(grid, length) for length in activations.shape[2:]]
    if len(size) == 2:
        return functional.adaptive_avg_pool2d(activations, (size[0], size[1]))
    return functional.adaptive_avg_pool3d(activations, (size[0], size[1], size[2]))
