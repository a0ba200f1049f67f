"""``srcmatters cohorts chexpert`` and the other collections: one command each, the same choices of labels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from srcmatters.cohorts.published.labels import NEGATIVES, UNCERTAIN, LabelChoice

if TYPE_CHECKING:
    from srcmatters.cohorts.published.labels import PublishedCohort

_Command = TypeVar("_Command", bound=Callable[..., Any])

_OUT = click.option(
    "--out", type=Path, help="Case table to write [default: cases.csv beside the label file]."
)


def _choices(command: _Command) -> _Command:
    """The options that say what makes a label."""
    for option in (
        _OUT,
        click.option("--view", help="Keep one view position only, by the collection's own name."),
        click.option(
            "--uncertain",
            type=click.Choice(UNCERTAIN),
            default=UNCERTAIN[0],
            show_default=True,
            help="What becomes of images in which the finding is marked as uncertain.",
        ),
        click.option(
            "--negatives",
            type=click.Choice(NEGATIVES),
            default=NEGATIVES[0],
            show_default=True,
            help="Label 0: images without any finding, or all others.",
        ),
        click.option("--finding", required=True, help="Label 1: images with this finding."),
    ):
        command = option(command)
    return command


def _write(cohort: PublishedCohort, out: Path) -> None:
    from srcmatters.cohorts import write_cases

    path = write_cases(cohort.cases, out)
    for reason, count in cohort.left_out.items():
        click.echo(f"left out: {count} images {reason}")
    positive = int(cohort.cases["label"].sum())
    patients = cohort.cases["patient_id"].nunique()
    click.echo(f"{path}: {len(cohort.cases)} images of {patients} patients, {positive} positive")


@click.command()
@click.argument("labels", type=Path)
@_choices
def chexpert(labels: Path, out: Path | None, **choice: Any) -> None:
    """Case table of CheXpert: LABELS is its train.csv or valid.csv."""
    from srcmatters.cohorts.published.chexpert import read_chexpert

    _write(read_chexpert(labels, LabelChoice(**choice)), out or labels.parent / "cases.csv")


@click.command()
@click.argument("labels", type=Path)
@click.option("--metadata", required=True, type=Path, help="mimic-cxr-2.0.0-metadata.csv.gz.")
@_choices
def mimic(labels: Path, metadata: Path, out: Path | None, **choice: Any) -> None:
    """Case table of MIMIC-CXR-JPG: LABELS is mimic-cxr-2.0.0-chexpert.csv.gz."""
    from srcmatters.cohorts.published.chexpert import read_mimic

    _write(read_mimic(labels, metadata, LabelChoice(**choice)), out or labels.parent / "cases.csv")


@click.command()
@click.argument("labels", type=Path)
@click.option("--images", default=".", show_default=True, help="Holds the numbered folders, beside LABELS.")
@_choices
def padchest(labels: Path, images: str, out: Path | None, **choice: Any) -> None:
    """Case table of PadChest: LABELS is PADCHEST_chest_x_ray_images_labels_160K_*.csv."""
    from srcmatters.cohorts.published.padchest import read_padchest

    _write(read_padchest(labels, LabelChoice(**choice), images), out or labels.parent / "cases.csv")


@click.command()
@click.argument("labels", type=Path)
@click.option("--images", default="train", show_default=True, help="Folder of the images, beside LABELS.")
@click.option("--ending", default=".dicom", show_default=True, help="Of the images' files.")
@_choices
def vindr(labels: Path, images: str, ending: str, out: Path | None, **choice: Any) -> None:
    """Case table of VinDr-CXR: LABELS is image_labels_train.csv or image_labels_test.csv."""
    from srcmatters.cohorts.published.vindr import read_vindr

    _write(read_vindr(labels, LabelChoice(**choice), images, ending), out or labels.parent / "cases.csv")


@click.command()
@click.argument("classes", type=Path)
@click.option("--images", default="stage_2_train_images", show_default=True, help="Folder of the images.")
@_choices
def rsna(classes: Path, images: str, out: Path | None, **choice: Any) -> None:
    """Case table of the RSNA pneumonia challenge: CLASSES is stage_2_detailed_class_info.csv."""
    from srcmatters.cohorts.published.rsna import read_rsna

    _write(read_rsna(classes, LabelChoice(**choice), images), out or classes.parent / "cases.csv")


COMMANDS = (chexpert, mimic, padchest, vindr, rsna)
