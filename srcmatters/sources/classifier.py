"""A network behind the input normalisation of its source, and what it was made of."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, cast

from torch import nn


@dataclass(frozen=True)
class Origin:
    """What a classifier was made of.

    Args:
        source: name or file of the source, as it was given.
        network: name of the network.
        dropout: dropout rate before the head.
        weights: :func:`weights_digest` of the classifier as it was made, its random head included.
        code: Python file that builds a network of one's own.
    """

    source: str
    network: str
    dropout: float
    weights: str
    code: Path | None = None


class Classifier(nn.Sequential):
    """The input normalisation of a source and the network behind it, which remember what they were made of.

    Args:
        layers: normalisation and network.

    Attributes:
        origin: None for one that was not made from a source here.
        head_path: name of the head in a network of one's own, None where the network's name tells it.
    """

    # TorchScript would want their types.
    __jit_ignored_attributes__: ClassVar[list[str]] = ["origin", "head_path"]

    def __init__(self, *layers: Any) -> None:
        super().__init__(*layers)
        self.origin = cast("Origin | None", None)
        self.head_path = cast("str | None", None)


def weights_digest(network: nn.Module) -> str:
    """Hash of every tensor of a network: the same on every device and in every memory layout."""
    content = hashlib.blake2b(digest_size=16)
    for name, tensor in network.state_dict().items():
        content.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        content.update(tensor.detach().cpu().contiguous().numpy())
    return content.hexdigest()
