"""What training frameworks put around the tensors of a network, and the classifiers that our runs leave."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from srcmatters.sources.loading import Weights

#: Where frameworks nest a state dict: Lightning and MoCo, Ignite and fastai, RadiologyNET, DINO, scripts.
_NESTED = (
    "state_dict",
    "model_state_dict",
    "model_state",
    "model",
    "net",
    "network",
    "student",
    "teacher",
    "weights",
)
#: Encoders of contrastive learning, beside which the file holds copies and projections: MoCo v1 and v2, v3.
_ENCODERS = ("encoder_q.", "base_encoder.")
_COMPANIONS = ("encoder_k.", "momentum_encoder.", "predictor.", "queue")
#: What a module is called that holds nothing but the network (LightningModule, nn.Module of a script).
_HOLDERS = ("model.", "net.", "network.", "module.")


def nested_state(content: Any) -> Any:
    """The state dict in a checkpoint, or the content as it is."""
    if not isinstance(content, Mapping):
        return content
    for name in _NESTED:
        inner = content.get(name)
        if isinstance(inner, Mapping) and inner and isinstance(next(iter(inner.values())), torch.Tensor):
            return inner
    return content


def unwrapped(weights: Mapping[str, torch.Tensor]) -> Weights:
    """The tensors of the network alone, without the names of the modules around it.

    The names of published schemes stay: DataParallel's ``module.`` alone, which MedicalNet's files are told
    by and every conversion drops, and ``backbone.``.

    Args:
        weights: state dict as it was in the file.

    Returns:
        MoCo's query encoder (``encoder_q``, ``base_encoder``) without the momentum encoder and the queue;
        what is below ``model.``, ``net.`` or ``network.`` where all but a few values are, or all others are
        the same tensors once more; or the same.
    """
    plain = {name.removeprefix("module."): tensor for name, tensor in weights.items()}
    for encoder in _ENCODERS:
        inside = {name[len(encoder) :]: tensor for name, tensor in plain.items() if name.startswith(encoder)}
        rest = [name for name in plain if not name.startswith((encoder, *_COMPANIONS))]
        if inside and not rest:
            return inside
    for holder in _HOLDERS[:-1]:
        inside = {name[len(holder) :]: tensor for name, tensor in plain.items() if name.startswith(holder)}
        # Losses and metrics that a LightningModule keeps are small; a second network is not.
        others = {name: tensor for name, tensor in plain.items() if not name.startswith(holder)}
        if inside and (_values(inside) > 0.999 * _values(plain) or _are_copies(others, inside)):
            return unwrapped(inside)
    return dict(weights)


def _are_copies(rest: Mapping[str, torch.Tensor], inside: Mapping[str, torch.Tensor]) -> bool:
    """A module that keeps parts of its network by a second name saves them twice."""
    return all(name in inside and torch.equal(tensor, inside[name]) for name, tensor in rest.items())


def _values(weights: Mapping[str, torch.Tensor]) -> int:
    return sum(tensor.numel() for tensor in weights.values())


def network_of_run(weights: Mapping[str, torch.Tensor]) -> tuple[Weights, dict[str, Any]] | None:
    """The network in a checkpoint of a run of ours, and the input that it was trained with.

    Args:
        weights: state dict; ours is ``0.`` (mean and std of the input) and ``1.`` (the network).

    Returns:
        The network's tensors in our naming, and the fields of its normalisation; None: not ours.
    """
    if not weights or not all(name.startswith(("0.", "1.")) for name in weights):
        return None
    network = {name[2:]: tensor for name, tensor in weights.items() if name.startswith("1.")}
    rest = {name for name in weights if name.startswith("0.")}
    if not network or rest not in ({"0.mean", "0.std"}, set()):
        return None
    if not rest:
        return network, {"kind": "zscore_positive", "channel_order": "grey"}
    mean, std = (weights[name].flatten().tolist() for name in ("0.mean", "0.std"))
    order = "RGB" if len(mean) == 3 else "grey"
    return network, {"kind": "fixed", "channel_order": order, "mean": mean, "std": std}
