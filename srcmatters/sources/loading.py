"""Loading that is strict: every tensor of a network comes from the weights, or the weights are refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import nn

from srcmatters.errors import InputError

Weights = dict[str, torch.Tensor]


def load_strictly(
    network: nn.Module, weights: Mapping[str, torch.Tensor], head: str | None, origin: str
) -> None:
    """Load every tensor but the head's; anything missing, left over or of another shape is refused.

    Args:
        network: is changed in place.
        weights: tensors in the network's naming.
        head: prefix of the tensors of the classification head, which stay as they are; None: none does.
        origin: what is loaded into what, for error messages.

    Raises:
        InputError: naming the first tensors that do not fit.
    """
    state = network.state_dict()
    differences = misfits(weights, {name: tensor.shape for name, tensor in state.items()}, head)
    if differences:
        raise InputError(f"{origin}: the weights are those of another network: {differences}")
    backbone = {name: tensor for name, tensor in weights.items() if not _is_head(name, head)}
    network.load_state_dict({**state, **backbone}, strict=True)


def misfits(weights: Mapping[str, torch.Tensor], shapes: Mapping[str, torch.Size], head: str | None) -> str:
    """What keeps weights from being those of a network, in words; nothing if they fit.

    Args:
        weights: tensors in the network's naming.
        shapes: of the network's tensors.
        head: prefix of the tensors that do not matter; None: all do.
    """
    expected = {name: shape for name, shape in shapes.items() if not _is_head(name, head)}
    backbone = {name: tensor for name, tensor in weights.items() if not _is_head(name, head)}
    # Files written before PyTorch 0.4 have no batch counters; they play no part in the output.
    missing = [name for name in expected if name not in backbone and not is_counter(name)]
    problems = [
        ("missing from the file", missing),
        ("not in the network", [name for name in backbone if name not in expected]),
        ("of another shape", [n for n in expected if n in backbone and backbone[n].shape != expected[n]]),
    ]
    return "; ".join(f"{_some(names)} {what}" for what, names in problems if names)


def is_counter(name: str) -> bool:
    """Whether a tensor counts batches, which plays no part in what a network computes."""
    return name.endswith("num_batches_tracked")


def _is_head(name: str, head: str | None) -> bool:
    return head is not None and name.startswith(head)


def _some(names: Sequence[str]) -> str:
    first = ", ".join(names[:2])
    return first if len(names) <= 2 else f"{first} and {len(names) - 2} more"
