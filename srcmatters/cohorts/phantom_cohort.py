"""A whole cohort on disk: images and a table of cases, written completely or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from srcmatters.cohorts.case_table import MASKS
from srcmatters.files import atomic_path
from srcmatters.phantom.candidates import candidate_mm, with_benign_nodule
from srcmatters.phantom.computed_tomography import FIELD_MM, WHOLE, ct_volume, slab_slices
from srcmatters.phantom.files import write_ct_series, write_digital_xray, write_nifti, write_png
from srcmatters.phantom.lesion_masks import ct_mask, radiograph_mask
from srcmatters.phantom.patient import PhantomPatient, draw_patient, require
from srcmatters.phantom.radiography import radiograph

FORMATS = {"xray": ("png", "dicom"), "ct": ("nifti", "dicom")}
PIXEL_SPACING_MM = 2.0
SLICE_THICKNESSES_MM = (2.0, 3.0)
GROUPS = {
    "xray": ("patient_id", "label", "sex", "age", "view", "manufacturer"),
    "ct": ("patient_id", "label", "sex", "age", "manufacturer"),
}
"""Columns that describe the patient, by modality; CT adds where the candidate is, and how it was scanned."""


def write_phantom_cohort(
    directory: str | Path,
    patients: int = 240,
    seed: int = 0,
    modality: str = "xray",
    file_format: str | None = None,
    image_size: int = 256,
    difficulty: float = 0.5,
    images_per_patient: int = 1,
    slab_mm: float | None = None,
    benign: float = 0.0,
) -> pd.DataFrame:
    """Write a synthetic cohort: ``images/``, ``masks/`` and ``cases.csv``.

    Labels are balanced, and sex, view, manufacturer, contrast agent and slice thickness are independent of
    the label by construction. Everything goes to a temporary sibling directory that is renamed at the end.

    The column ``mask`` names a file of the lesion's pixels; of a negative they are those that the same draws
    would have changed.

    A CT's columns x_mm, y_mm, z_mm (LPS) are those of its candidate: the centre of a positive's nodule, and
    in a negative the place where one would have been drawn; diameter_mm is empty where no nodule is there.

    Args:
        directory: Must not exist yet.
        patients: 1 or more; even numbers are balanced exactly.
        seed: 0 or more.
        modality: "xray" or "ct".
        file_format: "png" or "dicom" for radiographs, "nifti" or "dicom" (a folder of slices) for CT; None
            takes the first.
        image_size: Rows and columns of a radiograph, 32 to 2048; CT ignores it.
        difficulty: 0 (big, dense lesions) to 1 (small, faint ones).
        images_per_patient: 1 to 9; repeated images differ in positioning, exposure and noise (CT: 1 only).
        slab_mm: Extent of a CT along z around the candidate, 10 to 336 mm; None for the whole chest. Slices
            are whole either way. Radiographs ignore it.
        benign: Share of a CT cohort's negatives, 0 to 1, whose candidate is a smaller, round, smooth nodule
            instead of lung. Radiographs ignore it.

    Returns:
        The table, as read back from ``cases.csv``.

    Raises:
        ValueError: An argument is outside its range; the message names it.
        FileExistsError: ``directory`` exists.
    """
    final = Path(directory)
    file_format = check_modality(modality, file_format)
    check_sizes(modality, patients, image_size, images_per_patient)
    field_mm = FIELD_MM[2][1] - FIELD_MM[2][0]
    in_field = slab_mm is None or 10 <= slab_mm <= field_mm
    require("slab_mm", slab_mm, in_field, f"None or a number from 10 to {field_mm:g} mm")
    require("benign", benign, 0 <= benign <= 1, "a share in [0, 1]")
    draw_patient(0, seed, difficulty)
    if modality == "xray":
        write = partial(
            write_radiograph_case, file_format=file_format, image_size=image_size, difficulty=difficulty
        )
    else:
        write = partial(
            write_ct_case, file_format=file_format, slab_mm=slab_mm, difficulty=difficulty, benign=benign
        )
    with new_directory(final) as folder:
        (folder / "images").mkdir()
        (folder / MASKS).mkdir()
        drawn = (draw_patient(index, seed, difficulty) for index in range(patients))
        cases = [write(folder, patient) for patient in acquisitions(drawn, images_per_patient)]
        pd.DataFrame(cases).to_csv(folder / "cases.csv", index=False, lineterminator="\n")
    return pd.read_csv(final / "cases.csv")


def check_modality(modality: str, file_format: str | None) -> str:
    """The file format to write; a ValueError if modality and format do not go together."""
    require("modality", modality, modality in FORMATS, '"xray" or "ct"')
    allowed = FORMATS[modality]
    file_format = allowed[0] if file_format is None else file_format
    require("file_format", file_format, file_format in allowed, f"one of {allowed} for modality {modality!r}")
    return file_format


def check_sizes(modality: str, patients: int, image_size: int, images_per_patient: int) -> None:
    """Raise a ValueError for a number outside its range."""
    most = 9 if modality == "xray" else 1
    ranges = {
        "patients": (patients, 1, 9999),
        "image_size": (image_size, 32, 2048),
        "images_per_patient": (images_per_patient, 1, most),
    }
    for name, (value, low, high) in ranges.items():
        valid = isinstance(value, int) and low <= value <= high
        require(name, value, valid, f"an integer from {low} to {high} for modality {modality!r}")


@contextmanager
def new_directory(final: Path) -> Iterator[Path]:
    """A temporary sibling of ``final`` that takes its name once the block ends well, and vanishes otherwise.

    Raises:
        FileExistsError: ``final`` exists.
    """
    if final.exists():
        raise FileExistsError(f"directory: {final} exists already; give a new one or remove it")
    with atomic_path(final) as place:
        place.mkdir()
        yield place


def acquisitions(patients: Iterator[PhantomPatient], each: int) -> Iterator[PhantomPatient]:
    """Every acquisition of every patient."""
    for patient in patients:
        for acquisition in range(each):
            yield replace(patient, acquisition=acquisition)


def case_row(patient: PhantomPatient, suffix: str, modality: str) -> dict[str, object]:
    """The columns that every case of a modality has."""
    case_id = f"{patient.patient_id}-{patient.acquisition + 1}"
    row: dict[str, object] = {"case_id": case_id, "image": f"images/{case_id}{suffix}"}
    return row | {name: getattr(patient, name) for name in GROUPS[modality]}


def write_radiograph_case(
    directory: Path, patient: PhantomPatient, file_format: str, image_size: int, difficulty: float
) -> dict[str, object]:
    """Write one radiograph and its mask, and return its row of the table."""
    row = case_row(patient, ".png" if file_format == "png" else ".dcm", "xray")
    path, pixels = directory / str(row["image"]), radiograph(patient, image_size)
    if file_format == "png":
        write_png(path, pixels)
    else:
        write_digital_xray(path, pixels, patient)
    mask = f"{MASKS}/{row['case_id']}.png"
    write_png(directory / mask, 255 * radiograph_mask(patient, image_size, difficulty).astype(np.uint8))
    return row | {"mask": mask}


def write_ct_case(
    directory: Path,
    patient: PhantomPatient,
    file_format: str,
    slab_mm: float | None,
    difficulty: float,
    benign: float,
) -> dict[str, object]:
    """Write one CT and its mask, and return its row of the table; other arguments are of the cohort."""
    row = case_row(patient, ".nii.gz" if file_format == "nifti" else "", "ct")
    # Pairs of patients, one of each label, share the thickness.
    thickness = SLICE_THICKNESSES_MM[patient.index // 2 % 2]
    spacing = (PIXEL_SPACING_MM, PIXEL_SPACING_MM, thickness)
    place = candidate_mm(patient, difficulty)
    slices = slab_slices(place[2], slab_mm, spacing) if slab_mm else WHOLE
    painted = with_benign_nodule(patient, difficulty, benign)
    path, volume = directory / str(row["image"]), ct_volume(painted, spacing, slices)
    if file_format == "nifti":
        write_nifti(path, volume, spacing, slices)
    else:
        write_ct_series(path, volume, painted, spacing, slices)
    mask = f"{MASKS}/{row['case_id']}.nii.gz"
    inside = ct_mask(patient, spacing, slices, difficulty)
    write_nifti(directory / mask, 255 * inside.astype(np.uint8), spacing, slices)
    return row | {
        "mask": mask,
        "diameter_mm": painted.nodule.diameter_mm if painted.nodule else None,
        "slice_thickness_mm": thickness,
        "contrast": patient.contrast_agent,
        **dict(zip(("x_mm", "y_mm", "z_mm"), place, strict=True)),
    }
