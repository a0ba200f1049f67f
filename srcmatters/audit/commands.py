"""`srcmatters audit`: does a model that is already there read the disease or a confounder?"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from srcmatters.audit.declared_contract import ContractOptions
from srcmatters.audit.door_options import door_options
from srcmatters.runs.tracking_option import tracking_uri_option

_WHOLE, _COUNT = click.IntRange(0), click.IntRange(1)


@click.group()
def audit() -> None:
    """Audit a finished model, whoever trained it: does it read the disease or a confounder?"""


@audit.command()
@click.argument("model")
@click.option("--dataset_dir", help="Folder with cases.csv, or phantom.")
@click.option("--cases", default="cases.csv", show_default=True, help="Case table in it.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("audit"),
    show_default=True,
    help="Folder of audit.html, audit.json and scores.csv.",
)
@click.option(
    "--pairs",
    type=click.Path(path_type=Path),
    help="Folder of `audit prepare`; MODEL is then the table of scores.",
)
@click.option("--from-sr", is_flag=True, help="MODEL is a folder of Structured Reports on --pairs.")
@click.option(
    "--confounder",
    "confounders",
    multiple=True,
    help='Name or picture, and arguments: noise, "noise dose_factor=0.1", "marker.png width_mm=20". '
    "[default: all that fit]",
)
@click.option("--margin", default=0.05, show_default=True, help="Of AUC; a larger loss is a lean.")
@click.option("--threshold", type=float, help="Probability at which the model decides. [default: Youden's]")
@click.option("--seed", type=_WHOLE, default=0, show_default=True)
@click.option(
    "--twins", multiple=True, help="Five or more models, or a study, trained without the confounder."
)
@click.option("--trained-on", type=click.Path(path_type=Path), help="Case table of the training data.")
@click.option(
    "--controls/--no-controls", default=True, show_default=True, help="Checks that score further images."
)
@click.option(
    "--sweep/--no-sweep", default=True, show_default=True, help="Compare the usual input conventions."
)
@click.option("--force", is_flag=True, help="Go on where the input looks wrong; marked everywhere.")
@click.option("--overwrite", is_flag=True, help="Replace the audit that --out holds.")
@click.option("--fail-if", help='Exit status 3: "leans", or a limit such as "loss>0.05".')
@click.option(
    "--images/--no-images", default=False, show_default=True, help="Show a patient's image in the page."
)
@click.option("--pdf", is_flag=True, help="Print the page as well; needs Chromium or Chrome.")
@click.option("--batch_size", type=_COUNT, default=32, show_default=True)
@click.option("--num_workers", type=_WHOLE, default=0, show_default=True, help="Processes that decode.")
@tracking_uri_option()
@door_options
def run(model: str, contract: ContractOptions, trust: bool, device: str, **options: Any) -> None:
    """Audit MODEL: a run, a bundle, TorchScript, torch.export, ONNX, a Python function, or scores.

    Exit status 0, or 3 where --fail-if says so, or 1 for a mistake.
    """
    from srcmatters.audit.command_run import run_audit

    failed = run_audit(model, contract, trust, device, options, click.echo, click.style)
    if failed is not None:
        sys.exit(failed)


@audit.command()
@click.option("--dataset_dir", required=True, help="Folder with cases.csv, or phantom.")
@click.option("--cases", default="cases.csv", show_default=True, help="Case table in it.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("pairs"),
    show_default=True,
    help="Folder of the images to send and of the key to them.",
)
@click.option("--modality", type=click.Choice(["radiograph", "ct"]), default="radiograph", show_default=True)
@click.option("--format", "file_format", type=click.Choice(["dicom", "png", "nifti"]), default="dicom")
@click.option("--confounder", "confounders", multiple=True, help="As of `audit run`. [default: all that fit]")
@click.option("--max-images", type=int, help="Send at most so many images: a sample of the cases is drawn.")
@click.option(
    "--seed",
    type=_WHOLE,
    default=0,
    show_default=True,
    help="Of the sample and the order.",
)
def prepare(**options: Any) -> None:
    """Write images to send through a model that cannot be opened: every case clean and confounded.

    OUT/images is what is sent. OUT/manifest.csv says which image is which, and stays.
    """
    from srcmatters.audit.preparation import prepare_pairs

    prepare_pairs(options, click.echo)


@audit.command()
@click.argument("study", type=click.Path(path_type=Path))
@click.option(
    "--check",
    "checks",
    multiple=True,
    type=click.Choice(["attributes", "regions"]),
    help="May be repeated. [default: both]",
)
@click.option("--dataset_dir", help="Where the images are. [default: where the runs had them]")
@click.option("--trust", is_flag=True, help="Run code that runs of your own brought along.")
@click.option("--device", default="cpu", show_default=True)
@click.option("--batch_size", type=_COUNT, default=32, show_default=True)
@click.option("--num_workers", type=_WHOLE, default=0, show_default=True, help="Processes that decode.")
def study(study: Path, checks: tuple[str, ...], **options: Any) -> None:
    """Ask the networks of STUDY what they encode and which regions they read; the report shows it.

    STUDY is a study or a folder of finished runs. Its runs of the lowest p_art, and of the highest of each
    confounder, are asked on the images that they were tested on. STUDY/network_checks.json keeps the answers.
    """
    from srcmatters.audit.study.asking import CHECKS, ask_study

    click.echo(f"{ask_study(study, checks or CHECKS, write=click.echo, **options)}")


@audit.command()
@click.argument("first", type=click.Path(path_type=Path))
@click.argument("second", type=click.Path(path_type=Path))
def compare(first: Path, second: Path) -> None:
    """Which of two audited models leans less? FIRST and SECOND are --out folders of `audit run`."""
    from srcmatters.audit.compare import compare as compared

    for one in compared(first, second):
        click.echo(f"{one.outcome.value.ljust(14)}  {one.text}")


@audit.command()
@click.argument("model")
@click.option("--dataset_dir", required=True, help="Folder with cases.csv, or phantom.")
@click.option("--cases", default="cases.csv", show_default=True, help="Case table in it.")
@click.option(
    "--confounder", "confounders", multiple=True, required=True, help="As of `audit run`; may be repeated."
)
@click.option("--tested", multiple=True, help="Further confounders that both networks are audited on.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("refitted"),
    show_default=True,
    help="Folder of the refitted run and its audits.",
)
@click.option("--margin", default=0.05, show_default=True, help="Of AUC; a larger loss is a lean.")
@click.option("--seed", type=_WHOLE, default=0, show_default=True)
@click.option("--batch_size", type=_COUNT, default=32, show_default=True)
@door_options
def refit(model: str, contract: ContractOptions, trust: bool, device: str, out: Path, **options: Any) -> None:
    """Fit the last layer of MODEL again, on pairs with and without a confounder, and audit the result.

    MODEL needs features before its head: a run, a bundle with weights, an exported bundle. OUT/refitted.ts is
    the new network; OUT/before and OUT/after are the audits.
    """
    from srcmatters.audit.command_refit import run_refit

    run_refit(model, contract, trust, device, out, options, click.echo)
