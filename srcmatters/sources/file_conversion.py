"""Somebody's weight file made into a source file of ours."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from srcmatters.errors import InputError
from srcmatters.files import sha256_of
from srcmatters.sources.catalogue import read_catalogue
from srcmatters.sources.conversion import convert, guess_scheme
from srcmatters.sources.conversion_report import ConversionReport
from srcmatters.sources.entry import Entry
from srcmatters.sources.loading import Weights
from srcmatters.sources.network_facts import check_network
from srcmatters.sources.schemes import find_scheme
from srcmatters.sources.source_file import write_source
from srcmatters.sources.weight_files import read_weights


def convert_file(
    file: Path,
    network: str,
    scheme: str | None,
    out: Path,
    spatial_dims: int | None,
    words: Mapping[str, str],
) -> tuple[Entry, ConversionReport]:
    """Convert a weight file and write it as a source file.

    The input that the weights expect is the one of the catalogue's entries in the same naming scheme: a file
    does not say it.

    Args:
        file: weights in any known scheme, but for our own: those are a source already, or belong to a run.
        network: that will take them.
        scheme: how the file names its tensors; None: the only one that fits.
        out: source file to write.
        spatial_dims: 2 or 3, of the network; None: as in the file.
        words: trained_on, licence and citation of the entry.

    Returns:
        The entry that was written, and what became of every tensor.

    Raises:
        InputError: the file does not fit, several schemes do, or ``out`` cannot be written.
    """
    check_network(network)
    weights = read_weights(file)
    scheme = scheme or _only_scheme(weights, network, file)
    rules = find_scheme(scheme, network)
    known = _normalisation(scheme, file)
    dims = spatial_dims or rules.spatial_dims or 2
    converted, report = convert(weights, scheme, network, dims, origin=f"{file} into {network}")
    notes = f"converted from {file.name} (SHA-256 {sha256_of(file)}), scheme {scheme}"
    entry = _entry(out.stem, report, {**words, "normalisation": as_rgb(known), "notes": notes})
    write_source(out, entry, converted)
    return entry, report


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
    fitting = [scheme for _, scheme, _ in guess_scheme(weights, network) if scheme != "monai"]
    if len(fitting) != 1:
        found = f"fits {' and '.join(fitting)}" if fitting else "fits no naming scheme completely"
        raise InputError(f"{file}: {found} as {network}: say which with --scheme")
    return fitting[0]


def _normalisation(scheme: str, file: Path) -> Mapping[str, Any]:
    entries = [entry for entry in read_catalogue() if entry.scheme == scheme and entry.location]
    if not entries or any(entry.normalisation != entries[0].normalisation for entry in entries):
        several = ", ".join(entry.source for entry in entries)
        why = f"those of {several} differ" if entries else "no source of the catalogue has it"
        raise InputError(f"{file}: scheme {scheme} does not tell what input the weights expect: {why}")
    return entries[0].normalisation


def as_rgb(normalisation: Mapping[str, Any]) -> dict[str, Any]:
    """The same for a network that takes RGB: the conversion has turned its first kernel around."""
    if normalisation["channel_order"] != "BGR":
        return dict(normalisation)
    turned = {name: list(normalisation[name])[::-1] for name in ("mean", "std")}
    return {**normalisation, **turned, "channel_order": "RGB"}
