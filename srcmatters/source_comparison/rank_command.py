"""`srcmatters sources rank`: which source for this target, before anything is fine-tuned?"""

from __future__ import annotations

from pathlib import Path

import click

from srcmatters.runs.tracking_option import tracking_uri_option


@click.command()
@click.option("--dataset_dir", default="phantom", show_default=True, help="Folder with the case table.")
@click.option("--cases", default="cases.csv", show_default=True, help="Case table in that folder.")
@click.option(
    "--source",
    "sources",
    multiple=True,
    metavar="NAME[@NETWORK]",
    help="May be repeated. [default: every source of images on the disk, and random]",
)
@click.option(
    "--confounder",
    "confounders",
    multiple=True,
    default=("tag", "denoise", "noise"),
    show_default=True,
    help="Put into the images; may be repeated.",
)
@click.option("--image_size", type=int, default=160, show_default=True, help="Pixels a side.")
@click.option(
    "--max_cases", type=int, default=1000, show_default=True, help="Draw this many, if there are more."
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of `random`, the draw and the folds.")
@click.option("--batch_size", type=int, default=32, show_default=True, help="Images per forward pass.")
@click.option("--num_workers", type=int, default=2, show_default=True, help="Processes that decode images.")
@click.option("--device", default=None, help="[default: cuda where there is one, else cpu]")
@click.option(
    "--study",
    type=click.Path(path_type=Path),
    help="Folder of a finished study on this target, whose fine-tuned leans are set beside these.",
)
@click.option("--out", type=click.Path(path_type=Path), help="Folder [default: mlruns/rankings/TARGET-SIZE].")
@tracking_uri_option()
def rank(
    dataset_dir: str,
    cases: str,
    sources: tuple[str, ...],
    confounders: tuple[str, ...],
    image_size: int,
    max_cases: int,
    seed: int,
    batch_size: int,
    num_workers: int,
    device: str | None,
    study: Path | None,
    out: Path | None,
    tracking_uri: str,
) -> None:
    """Which source for this target? Clean AUC, learned lean and where the shortcut lives, on frozen features.

    A linear head is fitted on the features of each source, by folds of patients, at p_art 0 and 1. The source
    whose head learns to lean least comes first; one that does not know the target is not ranked.
    """
    from srcmatters.source_comparison.rank_run import RankRun

    RankRun(
        sources=sources,
        dataset_dir=dataset_dir,
        cases=cases,
        confounders=confounders,
        image_size=image_size,
        max_cases=max_cases,
        seed=seed,
        batch_size=batch_size,
        num_workers=num_workers,
        device=device,
        study=study,
        out=out,
        tracking_uri=tracking_uri,
    ).run()
