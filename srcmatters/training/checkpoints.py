"""Weights of a finished run, and a network spread over processes."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from srcmatters.errors import InputError
from srcmatters.sources import load_strictly, read_weights


def load_checkpoint(network: nn.Module, ckpt: str | Path) -> nn.Module:
    """Load the weights of a finished run into a network, every one of them.

    Args:
        network: as in the run; is changed in place and returned.
        ckpt: ``model.pt`` of the run.

    Raises:
        InputError: no such file, or the weights of another network.
    """
    path = Path(ckpt)
    if not path.is_file():
        raise InputError(f"ckpt: {path} does not exist, expected the model.pt of a finished run")
    load_strictly(network, read_weights(path), head=None, origin=f"ckpt {path}")
    return network


def distribute(network: nn.Module, device: torch.device) -> nn.Module:
    """Move a network to ``device`` and let the processes of the group share its gradients.

    On GPUs batch normalisation is computed over all processes.
    """
    network.to(device)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if device.type != "cuda":
        return DistributedDataParallel(network)
    network = nn.SyncBatchNorm.convert_sync_batchnorm(network)
    return DistributedDataParallel(network, device_ids=[device])
