"""Networks that torch runs: state dicts of known classes, TorchScript, torch.export."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from srcmatters.audit.contract import InputContract
from srcmatters.audit.doors.log_odds import head_of_log_odds
from srcmatters.audit.doors.model import Model, Raw


class TorchModel(Model):
    """A network in evaluation mode.

    Args:
        name: see :class:`Model`.
        contract: see :class:`Model`.
        network: anything that takes a batch.
        kind: which door.
        sha256: see :class:`Model`.
        classes: see :class:`Model`.
        device: where it runs.
        head: its classification head, whose input are the features; None: it cannot be told.

    Attributes:
        classification_head: the same.
    """

    def __init__(
        self,
        name: str,
        contract: InputContract,
        network: Callable[[torch.Tensor], Any],
        kind: str,
        sha256: str | None = None,
        classes: Sequence[str] = (),
        device: torch.device | str = "cpu",
        head: nn.Linear | None = None,
    ) -> None:
        super().__init__(name, contract, sha256, classes)
        self.kind = kind
        self.network = network
        self.device = torch.device(device)
        self.dtype = _floating(network)
        self.classification_head = head

    @torch.inference_mode()
    def forward(self, inputs: torch.Tensor) -> Raw:
        """See :class:`Model`; images of half precision networks are rounded to theirs."""
        batch = inputs.to(self.device, self.dtype)
        if batch.ndim == 4 and self.contract.layout == "channels_first":
            batch = batch.contiguous(memory_format=torch.channels_last)
        return self.network(batch)

    def features(self, inputs: torch.Tensor) -> np.ndarray | None:
        """(N, F) float32, the input of the classification head."""
        if self.classification_head is None:
            return None
        head, seen = self.classification_head, list[torch.Tensor]()

        def run(batch: torch.Tensor) -> np.ndarray:
            self.forward(batch)
            return seen.pop().float().cpu().numpy()

        hook = head.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
        try:
            return self._in_passes(inputs, run)
        finally:
            hook.remove()

    def keep_head_if_last(self, inputs: torch.Tensor) -> None:
        """See :class:`Model`."""
        if self.classification_head is None:
            return
        features, returned = self.features(inputs), self.returned(inputs)
        weight = self.classification_head.weight.detach().double().cpu().numpy()
        made = None if features is None or features.shape[1:] != weight.shape[1:] else features @ weight.T
        if made is not None and self.classification_head.bias is not None:
            made = made + self.classification_head.bias.detach().double().cpu().numpy()
        if (
            made is None
            or made.shape != returned.shape
            or not np.allclose(made, returned, atol=1e-3, rtol=1e-3)
        ):
            self.classification_head = None

    def head(self) -> tuple[np.ndarray, np.ndarray] | None:
        """The head as log-odds; None also where log-odds are no linear function of the features."""
        if self.classification_head is None:
            return None
        weight = self.classification_head.weight.detach().double().cpu().numpy()
        bias = (
            np.zeros(len(weight))
            if self.classification_head.bias is None
            else self.classification_head.bias.detach().double().cpu().numpy()
        )
        return head_of_log_odds(weight, bias, self.contract.output_kind, self.contract.output)


def _floating(network: object) -> torch.dtype:
    """Precision of the weights; float32 where there are none."""
    parameters = network.parameters() if isinstance(network, nn.Module) else ()
    return next((one.dtype for one in parameters if one.is_floating_point()), torch.float32)


def shape_by_weights(weights: dict[str, torch.Tensor]) -> dict[str, Any]:
    """What the first kernel of a network tells of its input: channels, and whether it takes volumes.

    Args:
        weights: in the order of the network.
    """
    kernels = [tensor for tensor in weights.values() if tensor.ndim in (4, 5) and min(tensor.shape[2:]) > 1]
    if not kernels or kernels[0].shape[1] not in (1, 3):
        return {}
    return {"channels": "grey" if kernels[0].shape[1] == 1 else "rgb"}
