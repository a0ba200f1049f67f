"""Weights of every naming scheme as weights of our networks, exactly, or not at all."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from functools import lru_cache

import torch

from srcmatters.errors import InputError
from srcmatters.sources.architecture import STANDARD, architecture_of, marker
from srcmatters.sources.conversion_report import ConversionReport, Draft
from srcmatters.sources.inflation import inflate
from srcmatters.sources.keras_layers import take_keras
from srcmatters.sources.loading import Weights, misfits
from srcmatters.sources.network_facts import HEADS, check_network
from srcmatters.sources.networks import create_network
from srcmatters.sources.schemes import SCHEMES, STEMS, Scheme, find_scheme


def convert(
    weights: Mapping[str, torch.Tensor],
    scheme: str,
    network: str,
    spatial_dims: int = 2,
    inflation: str = "centre",
    origin: str | None = None,
) -> tuple[Weights, ConversionReport]:
    """Make the weights of a file into those of one of our networks.

    Every tensor but the head's must come out of the file, and every tensor of the file must go somewhere or
    be known to be of no use. Weights that expect BGR are turned around, so that our networks take RGB; those
    that need another architecture carry its marker (:mod:`srcmatters.sources.architecture`).

    Args:
        weights: as the file holds them; a prefix ``module.`` (DataParallel) is dropped.
        scheme: torchvision, efficientnet-pytorch, radimagenet, radimagenet-keras, torchxrayvision,
            medicalnet, transformers-dinov2, or monai (our own naming).
        network: name of the network that will take them.
        spatial_dims: 2 or 3, of that network; kernels of a 2D file are inflated for 3.
        inflation: see :func:`srcmatters.sources.inflation.inflate`.
        origin: what is loaded into what, for error messages.

    Returns:
        The network's tensors without its head, and what became of each tensor.

    Raises:
        InputError: the file does not hold this network; the message names the tensors.
    """
    check_network(network)
    rules = find_scheme(scheme, network)
    origin = origin or f"{scheme} weights into {network}"
    draft = _read(weights, rules, network, origin)
    dims, channels = _file_dims(draft, rules, network, spatial_dims), _file_channels(draft, rules, network)
    _check_dims(draft, network, dims, spatial_dims, origin)
    architecture = rules.architecture or architecture_of(draft.weights)
    shapes = _shapes(network, spatial_dims, channels, architecture)
    notes = _to_rgb(draft, rules, network)
    if dims < spatial_dims:
        deep, inflated = inflate(draft.weights, shapes, inflation)
        for name in inflated:
            draft.change(name, deep[name], "inflated")
        notes += (f"kernels of images inflated for volumes ({inflation})",)
    if rules.architecture is not None:
        draft.weights |= marker(architecture)
    differences = misfits(draft.weights, shapes, HEADS[network])
    if differences:
        raise InputError(f"{origin}: the weights are those of another network: {differences}")
    random = tuple(name for name in shapes if name.startswith(HEADS[network]))
    report = ConversionReport(
        scheme, network, spatial_dims, channels, architecture, draft.loaded(), draft.ignored, random, notes
    )
    return draft.weights, report


def guess_scheme(
    weights: Mapping[str, torch.Tensor], network: str | None = None
) -> list[tuple[str, str, ConversionReport]]:
    """Networks and naming schemes that a file fits completely, without inflation.

    Names and shapes are all there is to go by: ResNets are called the same by torchvision and by us (where
    both fit, "torchvision" comes first), and MedicalNet's files are told by their prefix ``module.``.

    Args:
        weights: as the file holds them.
        network: the only one to try; None: all.

    Returns:
        Of each (network, scheme, report); empty if nothing fits.
    """
    fitting = []
    for scheme, rules in SCHEMES.items():
        if not rules.published(weights):
            continue
        for name in rules.renaming if network is None else rules.renaming.keys() & {network}:
            attempt = _try(weights, scheme, name)
            if attempt is not None:
                fitting.append((name, scheme, attempt))
    return fitting


def nearest_scheme(weights: Mapping[str, torch.Tensor], network: str) -> str:
    """The naming scheme that gives most of the file's tensors a place in a network, for error messages."""
    names = _shapes(network, 2, 3, STANDARD).keys()

    def hits(scheme: str) -> int:
        draft = Draft()
        with suppress(InputError):  # two names for one tensor: what came before them counts
            _take_all(draft, weights, SCHEMES[scheme], network)
        return len(names & draft.weights.keys())

    return max((scheme for scheme, rules in SCHEMES.items() if network in rules.renaming), key=hits)


def _try(weights: Mapping[str, torch.Tensor], scheme: str, network: str) -> ConversionReport | None:
    for spatial_dims in (2, 3):
        if SCHEMES[scheme].spatial_dims not in (None, spatial_dims):
            continue
        try:
            report = convert(weights, scheme, network, spatial_dims)[1]
        except InputError:
            continue
        if not any("inflated" in tensor.how for tensor in report.loaded):
            return report
    return None


def _read(weights: Mapping[str, torch.Tensor], rules: Scheme, network: str, origin: str) -> Draft:
    draft = Draft()
    try:
        _take_all(draft, weights, rules, network)
    except InputError as error:
        raise InputError(f"{origin}: the weights are those of another network: {error}") from error
    return draft


def _take_all(draft: Draft, weights: Mapping[str, torch.Tensor], rules: Scheme, network: str) -> None:
    if rules.keras:
        take_keras(draft, weights, network)
        return
    rename = rules.renaming[network]
    for name, tensor in weights.items():
        ours = rename(name.removeprefix("module."))
        if ours is None:
            draft.leave_over(name, tensor)
            continue
        why = next((why for pattern, why in rules.ignored.items() if re.match(pattern, ours)), None)
        if why is None and ours.startswith(HEADS[network]):
            why = "head"
        if why is None:
            draft.take(ours, tensor, name)
        else:
            draft.ignored[name] = why


def _file_dims(draft: Draft, rules: Scheme, network: str, requested: int) -> int:
    """2 or 3: of the network in the file, which has to be one for images where the scheme knows no other."""
    stem = draft.weights.get(STEMS[network])
    if rules.spatial_dims is not None:
        return rules.spatial_dims
    return stem.ndim - 2 if stem is not None and stem.ndim in (4, 5) else requested


def _file_channels(draft: Draft, rules: Scheme, network: str) -> int:
    stem = draft.weights.get(STEMS[network])
    if rules.channels is not None:
        return rules.channels
    return int(stem.shape[1]) if stem is not None and stem.ndim > 1 else 3


def _check_dims(draft: Draft, network: str, dims: int, requested: int, origin: str) -> None:
    if dims > requested:
        raise InputError(
            f"{origin}: spatial_dims: got {requested}, expected 3: these are weights for volumes"
        )
    stem = draft.weights.get(STEMS[network])
    # Inflation would take kernels that have a depth already for its own.
    if stem is not None and stem.ndim != dims + 2:
        raise InputError(
            f"{origin}: the weights are those of another network: {STEMS[network]} of another shape,"
            f" expected the kernel of a network for {'images' if dims == 2 else 'volumes'}"
        )


def _to_rgb(draft: Draft, rules: Scheme, network: str) -> tuple[str, ...]:
    """Turn the first kernel around where the file expects BGR."""
    stem = STEMS[network]
    if rules.orders != ("BGR",) or stem not in draft.weights:
        return ()
    draft.change(stem, draft.weights[stem].flip(1), "flipped")
    return ("the file expects BGR; its first kernel is flipped, so that the network takes RGB",)


@lru_cache(maxsize=32)
def _shapes(network: str, spatial_dims: int, channels: int, architecture: str) -> dict[str, torch.Size]:
    """Shapes of all tensors of a network, without making it: nothing is allocated, no number drawn."""
    with torch.device("meta"):
        made = create_network(network, spatial_dims, channels, architecture=architecture)
    return {name: tensor.shape for name, tensor in made.state_dict().items()}
