"""Files that hold a pickled network instead of a state dict, read without running any of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch


class Inert:
    """Stands for a class of the file: keeps what was stored and does nothing.

    PyTorch's restricted unpickler calls it in place of the class and hands it the attributes.
    """

    def __init__(self, *arguments: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        if isinstance(state, dict):
            self.__dict__.update(state)


#: The network that torchxrayvision publishes; the only one whose file is taken apart.
_NETWORK = "torchxrayvision.models.DenseNet"

_CLASSES = (
    _NETWORK,
    "torchxrayvision.models._DenseBlock",
    "torchxrayvision.models._DenseLayer",
    "torchxrayvision.models._Transition",
    "torch.nn.backends.thnn._get_thnn_function_backend",  # an attribute of every module before PyTorch 1.3
    "torch.nn.modules.activation.ReLU",
    "torch.nn.modules.batchnorm.BatchNorm2d",
    "torch.nn.modules.container.Sequential",
    "torch.nn.modules.conv.Conv2d",
    "torch.nn.modules.linear.Linear",
    "torch.nn.modules.pooling.AvgPool2d",
    "torch.nn.modules.pooling.MaxPool2d",
)

#: Class of the file -> what is made instead: for ``torch.serialization.safe_globals``.
STAND_INS: list[tuple[type[Inert], str]] = [
    (type(name.rpartition(".")[2], (Inert,), {}), name) for name in _CLASSES
]
_PUBLISHED = next(cls for cls, name in STAND_INS if name == _NETWORK)


def is_published_network(content: object) -> bool:
    """Whether what a file held is the network of torchxrayvision."""
    return type(content) is _PUBLISHED


def state_of(network: Inert) -> dict[str, torch.Tensor]:
    """The tensors of a network by the names that its state dict would have."""
    return dict(_tensors(network, ""))


def _tensors(module: object, prefix: str, depth: int = 0) -> Iterator[tuple[str, torch.Tensor]]:
    if not isinstance(module, Inert) or depth > 16:
        return
    for kind in ("_parameters", "_buffers"):
        stored: Any = getattr(module, kind, None)
        for name, tensor in (stored if isinstance(stored, dict) else {}).items():
            if isinstance(tensor, torch.Tensor):
                yield f"{prefix}{name}", tensor.detach()
    children: Any = getattr(module, "_modules", None)
    for name, child in (children if isinstance(children, dict) else {}).items():
        yield from _tensors(child, f"{prefix}{name}.", depth + 1)
