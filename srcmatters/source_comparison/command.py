"""`srcmatters sources compare`: how alike are sources on the images of a target?"""

from __future__ import annotations

from pathlib import Path

import click

from srcmatters.runs.tracking_option import tracking_uri_option


@click.command()
@click.argument("sources", nargs=-1, required=True, metavar="A B [C ...]")
@click.option("--dataset_dir", default="phantom", show_default=True, help="Folder with the case table.")
@click.option("--cases", default="cases.csv", show_default=True, help="Case table in that folder.")
@click.option("--network", default="efficientnet_lite0", show_default=True, help="Network of all sources.")
@click.option("--image_size", type=int, default=160, show_default=True, help="Pixels a side.")
@click.option(
    "--max_cases", type=int, default=1000, show_default=True, help="Draw this many, if there are more."
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of `random`, the draw and the folds.")
@click.option("--batch_size", type=int, default=32, show_default=True, help="Images per forward pass.")
@click.option("--num_workers", type=int, default=2, show_default=True, help="Processes that decode images.")
@click.option("--device", default=None, help="[default: cuda where there is one, else cpu]")
@click.option("--out", type=click.Path(path_type=Path), help="Folder [default: mlruns/comparisons/...].")
@tracking_uri_option()
def compare(
    sources: tuple[str, ...],
    dataset_dir: str,
    cases: str,
    network: str,
    image_size: int,
    max_cases: int,
    seed: int,
    batch_size: int,
    num_workers: int,
    device: str | None,
    out: Path | None,
    tracking_uri: str,
) -> None:
    """How alike are two or more sources on a target's images, and how much does each tell of its label?

    Names or weight files of one network, such as `imagenet random my-source.safetensors`. By stage of the
    network: linear CKA between sources, and the cross-validated AUC of a linear probe.
    """
    from srcmatters.source_comparison.run import ComparisonRun

    ComparisonRun(
        sources=sources,
        dataset_dir=dataset_dir,
        cases=cases,
        network=network,
        image_size=image_size,
        max_cases=max_cases,
        seed=seed,
        batch_size=batch_size,
        num_workers=num_workers,
        device=device,
        out=out,
        tracking_uri=tracking_uri,
    ).run()
