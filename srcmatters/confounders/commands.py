"""`srcmatters confounders`: what there is, and what it looks like on an image."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from srcmatters.errors import InputError


@click.group()
def confounders() -> None:
    """Confounders: list them, look at them."""


@confounders.command(name="list")
def list_() -> None:
    """A table of all confounders: name, place in MICCAT, dimensions, parameters, source."""
    from rich.console import Console
    from rich.table import Table

    from srcmatters.confounders.summaries import confounder_summaries

    table = Table(title="Confounders (names as in `--confounder`)", show_lines=True)
    for heading in ("name", "MICCAT", "dims", "for", "parameters (default)", "source"):
        table.add_column(heading, no_wrap=heading in ("name", "dims"), overflow="fold")
    for name, facts in confounder_summaries().items():
        modalities = ", ".join(facts.modalities)
        table.add_row(name, facts.miccat, facts.dims, modalities, facts.parameters, facts.source)
    # Redirected into a file there is no terminal whose width would be known.
    Console(width=None if sys.stdout.isatty() else 160).print(table)


@confounders.command()
@click.argument("image", type=click.Path(path_type=Path))
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("confounders.html"),
    show_default=True,
    help="Page (.html) or picture (.png) to write.",
)
@click.option("--confounder", "names", multiple=True, help="Only this one; may be given several times.")
@click.option("--protocol", type=click.Choice(["corrected", "paper"]), default="corrected", show_default=True)
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the random streams.")
@click.option("--title", default=None, help="What the image is; the default is the name of the file.")
def preview(
    image: Path, out: Path, names: tuple[str, ...], protocol: str, seed: int, title: str | None
) -> None:
    """Show every confounder on IMAGE (a file, or a folder of one series) with the difference it makes."""
    from typing import cast

    from srcmatters.confounders.catalogue import Protocol
    from srcmatters.confounders.preview import preview as apply_all
    from srcmatters.confounders.preview_image import read_image
    from srcmatters.confounders.preview_page import write_html, write_png

    try:
        if out.suffix.lower() not in (".html", ".png"):
            raise InputError(f"--out: {out}, expected a name that ends in .html or .png")
        if not out.absolute().parent.is_dir():
            raise InputError(f"--out: the folder {out.absolute().parent} does not exist")
        panels, left_out = apply_all(read_image(image), names, cast(Protocol, protocol), seed)
        if not panels:
            raise InputError(f"{image}: no confounder fits this image")
    except InputError as error:
        raise click.ClickException(str(error)) from error
    title = title or image.name
    if out.suffix.lower() == ".html":
        write_html(panels, left_out, title, out)
    else:
        write_png(panels, title, out)
    click.echo(f"{out}: {len(panels)} confounders")
    for reason in dict.fromkeys(left_out.values()):
        names_of_reason = ", ".join(name for name, why in left_out.items() if why == reason)
        click.echo(f"not shown: {names_of_reason} ({reason})")
