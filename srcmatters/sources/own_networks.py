"""Build a network of one's own, find its head, and say what its weights are."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from srcmatters.errors import InputError, did_you_mean
from srcmatters.sources.classifier import Classifier, Origin, weights_digest
from srcmatters.sources.constructor import Constructor, read_constructor
from srcmatters.sources.loading import Weights, load_strictly
from srcmatters.sources.networks import DropoutLinear
from srcmatters.sources.normalisation import IMAGENET, IMAGENET_MEAN, IMAGENET_STD, Normalisation

#: Sources of a network of one's own: random initialisation, or the weights that its constructor gives.
RANDOM, CONSTRUCTOR = "random", "constructor"
#: What constructors call the number of dimensions, of input channels and of classes.
_DIMENSIONS = ("spatial_dims", "dimensions")
_CHANNELS = ("in_channels", "n_input_channels", "in_chans")
_CLASSES = ("num_classes", "out_channels", "n_classes")
_SIDES = {2: (64, 224), 3: (32, 96)}


def own_classifier(
    network: str, source: str, spatial_dims: int, num_classes: int, dropout: float, seed: int
) -> Classifier:
    """A network of one's own with input normalisation, see :func:`srcmatters.sources.create_classifier`.

    A network with a random start is given images as ImageNet's are; one whose constructor gives the weights
    is given them in [0, 1] and normalises them itself.

    Raises:
        InputError: code that fails, no head, another source than "random" and "constructor", or one that says
            of the weights what is not so.
    """
    if source not in (RANDOM, CONSTRUCTOR):
        raise InputError(
            f"source: {source} has no weights for {network}, expected {RANDOM}, or {CONSTRUCTOR} for the"
            " weights that its constructor gives"
        )
    constructor = read_constructor(network)
    made = [_built(constructor, spatial_dims, 3, num_classes, seed + number) for number in range(2)]
    head = _head(made[0], constructor, spatial_dims)
    channels = _channels(made[0], spatial_dims)
    drawn = _drawn(made[0], made[1], head)
    if source == RANDOM and not drawn:
        raise InputError(
            f"source: {network} has the same weights for every seed, expected --source {CONSTRUCTOR}"
        )
    if source == CONSTRUCTOR and drawn:
        raise InputError(
            f"source: {network} draws {drawn[0]} at random ({len(drawn)} tensors), expected --source {RANDOM}"
        )
    normalisation = _normalisation(channels, plain=source == CONSTRUCTOR)
    classifier = _classifier(made[0], head, normalisation, spatial_dims, num_classes, dropout, seed)
    digest = weights_digest(classifier)
    name = replace(constructor, head=head).name
    shown = source if source == RANDOM else f"{source}-{_backbone_digest(classifier, head)[:8]}"
    classifier.origin = Origin(shown, name, dropout, digest, constructor.file)
    return classifier


def own_classifier_of(weights: Weights, network: str, dropout: float, origin: str) -> Classifier:
    """The classifier that a checkpoint of a network of one's own holds.

    Raises:
        InputError: code that fails, or the weights of another network.
    """
    constructor = read_constructor(network)
    spatial_dims = 3 if any(tensor.ndim == 5 for tensor in weights.values()) else 2
    mean = weights.get("0.mean")
    if mean is None:
        raise InputError(f"{origin}: 0.mean missing from the file, expected a classifier made by this tool")
    backbone = _built(constructor, spatial_dims, int(mean.shape[1]), 2, seed=0)
    head = _head(backbone, constructor, spatial_dims)
    rows = weights.get(f"1.{head}.weight")
    if rows is None:
        raise InputError(f"{origin}: no classifier with {network}: 1.{head}.weight missing from the file")
    normalisation = _normalisation(int(mean.shape[1]), plain=True)
    classifier = _classifier(backbone, head, normalisation, spatial_dims, rows.shape[0], dropout, seed=0)
    load_strictly(classifier, weights, head=None, origin=origin)
    return classifier


def _classifier(
    backbone: nn.Module,
    head: str,
    normalisation: Normalisation,
    spatial_dims: int,
    num_classes: int,
    dropout: float,
    seed: int,
) -> Classifier:
    if not 0 <= dropout < 1:
        raise InputError(f"dropout: got {dropout}, expected a rate in [0, 1)")
    above, _, last = head.rpartition(".")
    linear = backbone.get_submodule(head)
    assert isinstance(linear, nn.Linear)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        setattr(backbone.get_submodule(above), last, DropoutLinear(linear.in_features, num_classes, dropout))
    classifier = Classifier(normalisation.layer(spatial_dims), backbone)
    classifier.head_path = head
    return classifier


def _normalisation(channels: int, plain: bool) -> Normalisation:
    order = "RGB" if channels == 3 else "grey"
    if plain:
        return Normalisation("fixed", order, (0.0,) * channels, (1.0,) * channels)
    if channels == 3:
        return IMAGENET
    return Normalisation("fixed", order, (sum(IMAGENET_MEAN) / 3,), (sum(IMAGENET_STD) / 3,))


def _built(
    constructor: Constructor, spatial_dims: int, channels: int, num_classes: int, seed: int
) -> nn.Module:
    """Call the constructor with what it takes of dimensions, channels and classes."""
    build = _loaded(constructor)
    arguments = {**_standard(build, spatial_dims, channels, num_classes), **constructor.arguments}
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            made = build(**arguments)
    except Exception as error:  # somebody else's code may raise anything
        raise InputError(f"network: {constructor.name} fails ({_reason(error)})") from error
    if not isinstance(made, nn.Module):
        raise InputError(
            f"network: {constructor.name} returned a {type(made).__name__}, expected a torch.nn.Module"
        )
    return made


def _standard(
    build: Callable[..., Any], spatial_dims: int, channels: int, num_classes: int
) -> Mapping[str, int]:
    accepted = _accepted(build)
    values = ((_DIMENSIONS, spatial_dims), (_CHANNELS, channels), (_CLASSES, num_classes))
    return {name: value for names, value in values for name in names if name in accepted}


def _accepted(build: Callable[..., Any]) -> set[str]:
    """Names of the parameters; of a class that hands on what it does not know, of its parents as well."""
    chain = build.__mro__[:-1] if isinstance(build, type) else [build]
    accepted: set[str] = set()
    for one in chain:
        try:
            parameters = inspect.signature(one).parameters.values()
        except (TypeError, ValueError):
            break
        accepted |= {parameter.name for parameter in parameters}
        if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
            break
    return accepted


def _loaded(constructor: Constructor) -> Callable[..., Any]:
    if constructor.recorded is not None:
        raise InputError(
            f"network: {constructor.name} names the code of a run, expected the file itself as in"
            " file.py:function"
        )
    try:
        module = (
            importlib.import_module(constructor.module)
            if constructor.file is None
            else _from_file(constructor.file)
        )
    except Exception as error:  # somebody else's code may raise anything
        raise InputError(
            f"network: {constructor.module} fails as it is imported ({_reason(error)})"
        ) from error
    build = getattr(module, constructor.function, None)
    if not callable(build):
        hint = did_you_mean(
            constructor.function, [name for name, value in vars(module).items() if callable(value)]
        )
        raise InputError(f"network: {constructor.module} has no {constructor.function!r}{hint}")
    return build


def _from_file(path: Path) -> Any:
    name = f"srcmatters_network_{Constructor(str(path), '').origin.replace('-', '_')}"
    if name in sys.modules:
        return sys.modules[name]
    described = importlib.util.spec_from_file_location(name, path)
    assert described is not None and described.loader is not None
    loaded = importlib.util.module_from_spec(described)
    sys.modules[name] = loaded  # TorchScript and dataclasses look for it
    try:
        described.loader.exec_module(loaded)
    except BaseException:
        del sys.modules[name]
        raise
    return loaded


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"


def _head(network: nn.Module, constructor: Constructor, spatial_dims: int) -> str:
    """Name of the linear layer whose output the network returns."""
    linear = {name: part for name, part in network.named_modules() if isinstance(part, nn.Linear)}
    if constructor.head is not None:
        if constructor.head not in linear:
            hint = did_you_mean(constructor.head, linear)
            raise InputError(
                f"network: {constructor.name}: head {constructor.head!r} is no linear layer{hint}"
            )
        return constructor.head
    returned, last = _traced(network, linear, spatial_dims, constructor)
    if last is None:
        layers = ", ".join(list(linear)[-5:]) or "none, for it has no linear layer"
        raise InputError(
            f"network: {constructor.name}: no linear layer returns what the network returns ({returned}),"
            f" expected #head= with one of: {layers}"
        )
    return last


@torch.no_grad()
def _traced(
    network: nn.Module, linear: Mapping[str, nn.Module], spatial_dims: int, constructor: Constructor
) -> tuple[str, str | None]:
    """What the network returns, in words, and the linear layer that returns the same; by a pass on zeros."""
    seen: dict[str, torch.Tensor] = {}
    hooks = [
        part.register_forward_hook(lambda _, __, output, name=name: seen.__setitem__(name, output))
        for name, part in linear.items()
    ]
    training = network.training
    network.eval()
    try:
        output = _first_pass(network, _channels(network, spatial_dims), spatial_dims, constructor)
    finally:
        network.train(training)
        for hook in hooks:
            hook.remove()
    if not isinstance(output, torch.Tensor):
        return f"a {type(output).__name__}", None
    same = [
        name
        for name, returned in seen.items()
        if returned.shape == output.shape and torch.equal(returned, output)
    ]
    return f"shape {tuple(output.shape)}", same[-1] if same else None


def _first_pass(network: nn.Module, channels: int, spatial_dims: int, constructor: Constructor) -> Any:
    failure: Exception = RuntimeError("no size was tried")
    for side in _SIDES[spatial_dims]:
        try:
            return network(torch.zeros(2, channels, *[side] * spatial_dims))
        except Exception as error:  # somebody else's code may raise anything
            failure = error
    tried = f"{spatial_dims}D images of {channels} channels and {_SIDES[spatial_dims]} pixels a side"
    raise InputError(
        f"network: {constructor.name} fails on {tried} ({_reason(failure)}); #head=LAYER needs no such pass"
    ) from failure


def _channels(network: nn.Module, spatial_dims: int) -> int:
    """Channels that the first convolution takes, 1 or 3; 3 where there is none."""
    kind = nn.Conv2d if spatial_dims == 2 else nn.Conv3d
    first = next((part for part in network.modules() if isinstance(part, kind)), None)
    channels = 3 if first is None else int(first.in_channels)
    if channels not in (1, 3):
        raise InputError(f"network: its first convolution takes {channels} channels, expected 1 or 3")
    return channels


def _drawn(first: nn.Module, second: nn.Module, head: str) -> list[str]:
    """Tensors, the head's left out, that another seed makes other ones."""
    others = second.state_dict()
    return [
        name
        for name, tensor in first.state_dict().items()
        if not name.startswith(f"{head}.") and not torch.equal(tensor, others[name])
    ]


def _backbone_digest(classifier: Classifier, head: str) -> str:
    kept = {
        name: part for name, part in classifier[1].state_dict().items() if not name.startswith(f"{head}.")
    }
    holder = nn.Module()
    for number, part in enumerate(kept.values()):
        holder.register_buffer(f"t{number}", part)
    return weights_digest(holder)
