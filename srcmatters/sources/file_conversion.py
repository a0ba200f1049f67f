"""Somebody's weight file made into a source file of ours."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from srcmatters.errors import InputError
from srcmatters.files import sha256_of
from srcmatters.sources.catalogue import read_catalogue
from srcmatters.sources.checkpoint_layouts import network_of_run, unwrapped
from srcmatters.sources.conversion import convert, guess_scheme, nearest_scheme
from srcmatters.sources.conversion_report import ConversionReport
from srcmatters.sources.declared_input import INPUTS
from srcmatters.sources.entry import Entry
from srcmatters.sources.loading import Weights
from srcmatters.sources.network_facts import check_network
from srcmatters.sources.normalisation import CHANNEL_ORDERS
from srcmatters.sources.schemes import ANY_TRAINING, STEMS, find_scheme
from srcmatters.sources.source_file import write_source
from srcmatters.sources.weight_files import read_weights


def convert_file(
    file: Path,
    network: str,
    scheme: str | None,
    out: Path,
    spatial_dims: int | None,
    words: Mapping[str, str],
    declared: Mapping[str, Any] | None = None,
) -> tuple[Entry, ConversionReport]:
    """Convert a weight file and write it as a source file.

    Args:
        file: weights in any known scheme, or the model.pt of a run of ours, which knows its input.
        network: that will take them.
        scheme: how the file names its tensors; None: the only one that fits.
        out: source file to write.
        spatial_dims: 2 or 3, of the network; None: as in the file.
        words: trained_on, licence and citation of the entry.
        declared: normalisation that the weights expect, see
            :func:`srcmatters.sources.declared_input.declared_input`; None: that of the scheme, where all
            files of it expect the same (RadImageNet, torchxrayvision, MedicalNet).

    Returns:
        The entry that was written, and what became of every tensor.

    Raises:
        InputError: the file does not fit, several schemes do, nobody says what input it expects, or ``out``
            cannot be written.
    """
    check_network(network)
    weights = unwrapped(read_weights(file))
    own = network_of_run(weights)
    if own is not None:
        weights, known = own
        if declared is not None:
            raise InputError(f"{file}: a run of ours knows the input that it was trained with, expected none")
        scheme = "monai"
    else:
        scheme = scheme or _only_scheme(weights, network, file)
        known = dict(declared or _known_normalisation(scheme, file))
    rules = find_scheme(scheme, network)
    dims = spatial_dims or rules.spatial_dims or _dims(weights, network)
    turn = declared is not None and known["channel_order"] == "BGR" and rules.orders != ("BGR",)
    if turn:
        weights = {**weights, **_turned_stem(weights, network, file)}
    converted, report = convert(weights, scheme, network, dims, origin=f"{file} into {network}")
    _check_order(known, report.channels, file)
    what = "the model of a run" if own else f"scheme {scheme}"
    notes = f"converted from {file.name} (SHA-256 {sha256_of(file)}), {what}"
    entry = _entry(out.stem, report, {**words, "normalisation": as_rgb(known), "notes": notes})
    write_source(out, entry, converted)
    return entry, report


def _check_order(known: Mapping[str, Any], channels: int, file: Path) -> None:
    order = known["channel_order"]
    if CHANNEL_ORDERS[order] != channels:
        fitting = [name for name, count in CHANNEL_ORDERS.items() if count == channels]
        plural = "s" if channels > 1 else ""
        raise InputError(
            f"{file}: order: got {order}, but the network in the file takes {channels} channel{plural},"
            f" expected {' or '.join(fitting) if fitting else 'a network for grey or RGB images'}"
        )


def _dims(weights: Weights, network: str) -> int:
    stem = weights.get(STEMS[network])
    return stem.ndim - 2 if stem is not None and stem.ndim in (4, 5) else 2


def _turned_stem(weights: Weights, network: str, file: Path) -> Weights:
    """The first kernel for RGB, of a file in a scheme whose files usually take RGB already."""
    names = [name for name in weights if name.removeprefix("module.") == STEMS[network]]
    if not names:
        raise InputError(f"{file}: order: BGR needs the first kernel {STEMS[network]}, which is not there")
    return {names[0]: weights[names[0]].flip(1)}


def _entry(name: str, report: ConversionReport, fields: Mapping[str, Any]) -> Entry:
    return Entry(
        name=name,
        source=name,
        network=report.network,
        spatial_dims=report.spatial_dims,
        channels=report.channels,
        scheme="monai",
        location=None,
        sha256=None,
        **fields,
    )


def _only_scheme(weights: Weights, network: str, file: Path) -> str:
    fitting = [scheme for _, scheme, _ in guess_scheme(weights, network)]
    # What a published scheme names like MONAI is that scheme's; what only MONAI's own names fit is MONAI's.
    schemes = [scheme for scheme in fitting if scheme != "monai"] or fitting
    if not schemes:
        # Nearly always it is one tensor or the wrong network: the conversion says which.
        nearest = nearest_scheme(weights, network)
        convert(weights, nearest, network, _dims(weights, network), origin=f"{file} into {network}")
    if len(schemes) != 1:
        result = f"fits {' and '.join(schemes)}" if schemes else "fits no naming scheme completely"
        raise InputError(f"{file}: {result} as {network}: say which with --scheme")
    return schemes[0]


def _known_normalisation(scheme: str, file: Path) -> Mapping[str, Any]:
    """What a file of the catalogue, or every file of a scheme, expects."""
    digest = sha256_of(file)
    for entry in read_catalogue():
        if entry.sha256 == digest:
            return entry.normalisation
    entries = [entry for entry in read_catalogue() if entry.scheme == scheme and entry.location]
    if scheme in ANY_TRAINING or not entries:
        why = "such files come from any training"
    elif any(entry.normalisation != entries[0].normalisation for entry in entries):
        why = f"those of {', '.join(entry.source for entry in entries)} differ"
    else:
        return entries[0].normalisation
    raise InputError(
        f"{file}: scheme {scheme} does not tell what input the weights expect ({why}): declare it with"
        f" --input ({', '.join(INPUTS)}) or --mean, --std and --range, and --order if it is not RGB"
    )


def as_rgb(normalisation: Mapping[str, Any]) -> dict[str, Any]:
    """The same for a network that takes RGB: the conversion has turned its first kernel around."""
    if normalisation["channel_order"] != "BGR":
        return dict(normalisation)
    turned = {name: list(normalisation[name])[::-1] for name in ("mean", "std")}
    return {**normalisation, **turned, "channel_order": "RGB"}
