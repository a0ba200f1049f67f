"""`srcmatters sources`: what there is, fetch it, look into weight files, convert and check them."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from srcmatters.errors import InputError


@click.group()
def sources() -> None:
    """Sources: list them, fetch and check them, look into weight files, compare and rank them."""


@sources.command(name="list")
@click.option("--network", help="Only sources that have weights for this network.")
def list_(network: str | None) -> None:
    """A table of all sources: of the catalogue, and those made here."""
    from rich.console import Console
    from rich.table import Table

    from srcmatters.sources.catalogue import ANY_NETWORK, own_sources, read_catalogue
    from srcmatters.sources.fetching import whereabouts
    from srcmatters.sources.network_facts import check_network

    if network is not None:
        check_network(network)
    table = Table(title="Sources (`--source`, with its `--network`)", show_lines=True)
    for heading in ("name", "--source", "--network", "dims", "trained on", "licence", "where"):
        table.add_column(heading, no_wrap=heading in ("--network", "dims", "where"), overflow="fold")
    packaged = read_catalogue()
    for entry in (*packaged, *own_sources()):
        if network in (None, entry.network) or entry.network == ANY_NETWORK:
            source = entry.source if entry in packaged else entry.name
            dims = "2D, 3D" if entry.network == ANY_NETWORK else f"{entry.spatial_dims}D"
            where = whereabouts(entry)
            table.add_row(entry.name, source, entry.network, dims, entry.trained_on, entry.licence, where)
    # Redirected into a file there is no terminal whose width would be known.
    Console(width=None if sys.stdout.isatty() else 160).print(table)


@sources.command()
@click.argument("name")
@click.option("--network", help="Needed where NAME is a source with several networks.")
def fetch(name: str, network: str | None) -> None:
    """Bring the weights of source NAME to this machine and verify them."""
    from srcmatters.files import sha256_of
    from srcmatters.sources.catalogue import named_entry
    from srcmatters.sources.fetching import fetch as bring

    entry = named_entry(name, network)
    path = bring(entry)
    verified = "as published" if entry.sha256 else "no published hash to compare with"
    click.echo(f"{entry.name}: {path}\nSHA-256 {sha256_of(path)} ({verified})")


@sources.command()
@click.argument("file", type=click.Path(path_type=Path))
def inspect(file: Path) -> None:
    """Say what is in a weight FILE, without running anything that is in it."""
    from srcmatters.files import sha256_of
    from srcmatters.sources.checkpoint_layouts import unwrapped
    from srcmatters.sources.conversion import guess_scheme
    from srcmatters.sources.source_file import read_source_entry
    from srcmatters.sources.weight_files import file_format, read_weights

    weights = unwrapped(read_weights(file))
    names = list(weights)
    click.echo(f"{file}: {file_format(file)}, SHA-256 {sha256_of(file)}")
    values = sum(tensor.numel() for tensor in weights.values())
    click.echo(f"{len(names)} tensors, {values:,} values")
    for name in dict.fromkeys((names[0], names[-1])):
        click.echo(f"  {name} {tuple(weights[name].shape)} {str(weights[name].dtype).removeprefix('torch.')}")
    entry = read_source_entry(file)
    if entry is not None:
        click.echo(f"a source file: {entry.name} for {entry.network}, trained on {entry.trained_on}")
    fitting = guess_scheme(weights)
    for _, _, report in fitting:
        click.echo(f"fits: {report}")
    if not fitting:
        click.echo("fits none of the networks here completely")


@sources.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--to", "network", required=True, help="Network that will take the weights.")
@click.option("--scheme", help="How FILE names its tensors; the default is the one that fits.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Source file (.safetensors).")
@click.option("--spatial_dims", type=click.IntRange(2, 3), help="3 inflates weights for images to volumes.")
@click.option("--input", "preset", help="Input that the weights expect: imagenet, 0..1, -1..1, 0..255, ...")
@click.option("--mean", help="Subtracted from the image, per channel: 0.5 or 123.7,116.3,103.5.")
@click.option("--std", help="Divides the image, per channel.")
@click.option(
    "--range",
    "value_range",
    nargs=2,
    type=float,
    default=(0.0, 1.0),
    show_default=True,
    help="Black and white in units of --mean and --std.",
)
@click.option("--order", default="RGB", show_default=True, help="Of the channels: RGB, BGR or grey.")
@click.option("--trained-on", default="unknown", show_default=True, help="What to say of the weights.")
@click.option("--licence", default="unknown", show_default=True, help="Of the weights.")
@click.option("--citation", default="unknown", show_default=True, help="What to cite.")
def convert(
    file: Path,
    network: str,
    scheme: str | None,
    out: Path,
    spatial_dims: int | None,
    preset: str | None,
    mean: str | None,
    std: str | None,
    value_range: tuple[float, float],
    order: str,
    trained_on: str,
    licence: str,
    citation: str,
) -> None:
    """Make somebody's weight FILE into a source file; --input or --mean and --std say what it expects.

    FILE may come from torchvision, RadImageNet, torchxrayvision, MedicalNet, DINOv2, DataParallel, Lightning
    or MoCo, or be the model.pt of a run, which knows its input.
    """
    from srcmatters.sources.declared_input import declared_input
    from srcmatters.sources.file_conversion import convert_file

    words = {"trained_on": trained_on, "licence": licence, "citation": citation}
    numbers = {name: _numbers(name, text) for name, text in (("mean", mean), ("std", std))}
    declared = declared_input(preset, value_range=value_range, order=order, **numbers)
    if declared is None and order != "RGB":
        raise InputError(f"order: got {order} alone, expected it with --input or --mean and --std")
    entry, report = convert_file(file, network, scheme, out, spatial_dims, words, declared)
    click.echo(f"{report}\n  normalisation of the input: {entry.normalisation['kind']}; {entry.notes}")
    click.echo(f"{out}: `--source {out} --network {network}`")


def _numbers(name: str, text: str | None) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(",")) if text else ()
    except ValueError as error:
        raise InputError(f"{name}: got {text}, expected numbers separated by commas") from error


@sources.command()
@click.argument("name")
@click.option("--network", help="Needed where NAME is a source with several networks.")
@click.option("--tensors", is_flag=True, help="A line for every tensor.")
def check(name: str, network: str | None, tensors: bool) -> None:
    """Fetch source NAME, load it strictly and run its network once; a report of every tensor."""
    from srcmatters.sources.catalogue import named_entry
    from srcmatters.sources.source_check import check_source

    entry = named_entry(name, network)
    if entry.location is None:
        raise InputError(f"{name}: a random initialisation has nothing to check")
    report, forward = check_source(entry)
    click.echo(f"{entry.name}: {report}")
    if tensors:
        click.echo("\n".join(report.tensors()))
    click.echo(f"forward pass: {forward}")
