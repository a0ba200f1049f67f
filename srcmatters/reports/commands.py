"""`srcmatters report`: a study as a page that one wants to read."""

from __future__ import annotations

from pathlib import Path

import click

from srcmatters.errors import InputError


@click.command()
@click.argument("study", type=click.Path(path_type=Path))
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("report.html"),
    show_default=True,
    help="Page to write.",
)
@click.option("--pdf", is_flag=True, help="Print it as well, beside the page; needs Chromium or Chrome.")
@click.option(
    "--images/--no-images",
    default=False,
    show_default=True,
    help="Show images of your patients as examples; otherwise a synthetic chest stands for them.",
)
@click.option(
    "--data/--no-data",
    default=True,
    show_default=True,
    help="Open the target's images, by the configuration of a run, to look for a shortcut of its own.",
)
@click.option(
    "--published",
    type=click.Path(path_type=Path),
    help="CSV of published results to compare with: experiment, source, test, p_art, auc.",
)
@click.option("--trust", is_flag=True, help="Evaluate code in configurations of runs that you made yourself.")
def report(
    study: Path, out: Path, pdf: bool, images: bool, data: bool, published: Path | None, trust: bool
) -> None:
    """Write the report of a STUDY, or of any folder of finished runs."""
    if out.suffix.lower() not in (".html", ".htm"):
        raise InputError(f"--out: {out}, expected a name that ends in .html")
    from srcmatters.reports.report import write_report

    printed = out.with_suffix(".pdf") if pdf else None
    write_report(study, out, printed, images, data, trust, published)
    size = out.stat().st_size / 2**20
    click.echo(f"{out}: {size:.1f} MB, needs no network" + (f"; {printed}" if printed else ""))
