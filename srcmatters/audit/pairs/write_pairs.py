"""Write every case clean and with every confounder and dose, to be sent through a product."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from srcmatters.audit.pairs.identifiers import SentImage, sent_images
from srcmatters.audit.pairs.image_files import ENDINGS, writer_of
from srcmatters.audit.pairs.plan import PairsPlan
from srcmatters.audit.pairs.stored_depth import stored_bits
from srcmatters.cohorts.case_table import POSITION
from srcmatters.csv_tables import write_csv
from srcmatters.errors import InputError
from srcmatters.files import atomic_path

IMAGES, MANIFEST, CASES, SENT = "images", "manifest.csv", "cases.csv", "images.csv"
CLEAN = "clean"
_HEADER = 2048  # bytes of a DICOM file beside its pixels
#: Reads the image of a case: (1, H, W[, D]) as the project's own loaders do.
Load = Callable[[dict[str, Any]], torch.Tensor]


def write_pairs(
    plan: PairsPlan,
    load: Load,
    out: str | Path,
    announce: Callable[[str], None] = print,
    progress: Callable[[int], None] | None = None,
) -> Path:
    """Write the images and their manifest.

    ``OUT/images`` is what is sent, ``OUT/images.csv`` lists it (with positions, where the cases have any).
    ``OUT/manifest.csv`` and ``OUT/cases.csv`` say which image is which: they stay. Each image is a patient of
    its own, in a shuffled order; the files of a case differ in their pixels and identifiers alone.

    Args:
        plan: of :func:`srcmatters.audit.pairs.plan_pairs`.
        load: reads a case, a row of the table as a dictionary.
        out: a folder that does not exist; it is there whole or not at all.
        announce: is told number and size before anything is written.
        progress: is told after each case how many images are written.

    Returns:
        ``out``.

    Raises:
        InputError: ``out`` exists, no space, an image that cannot be read, or that a confounder refuses or
            gives another shape.
    """
    out = Path(out)
    if out.exists():
        raise InputError(f"{out}: is there already, expected a folder that does not exist")
    _announce(plan, load, out, announce)
    images, order = sent_images(plan.images, plan.seed)
    identifiers = {int(position): images[place] for place, position in enumerate(order)}
    rows: list[dict[str, Any]] = []
    with atomic_path(out) as folder:
        (folder / IMAGES).mkdir(parents=True)
        for number, case in enumerate(_rows(plan.cases)):
            rows += _write_case(plan, load, case, folder / IMAGES, number, identifiers)
            if progress is not None:
                progress(len(rows))
        _write_tables(plan, rows, folder)
    return out


def _rows(cases: pd.DataFrame) -> Iterator[dict[str, Any]]:
    for row in cases.to_dict("records"):
        yield {str(name): value for name, value in row.items()}


def _announce(plan: PairsPlan, load: Load, out: Path, announce: Callable[[str], None]) -> None:
    """Size by the first case; refuse what does not fit on the disk."""
    first = next(_rows(plan.cases))
    depth = 1 if plan.modality == "radiograph" and stored_bits(first["image"]) <= 8 else 2
    slices = 1 if plan.modality == "radiograph" else load(first).shape[-1]
    size = load(first).numel() * depth + _HEADER * slices
    for sentence in plan.sentences(size):
        announce(sentence)
    above = next(folder for folder in (out.parent, *out.parent.parents) if folder.is_dir())
    free = shutil.disk_usage(above).free
    if plan.images * size > free:
        raise InputError(
            f"{out}: {plan.images * size / 1e9:.2g} GB do not fit into the {free / 1e9:.2g} GB that are free,"
            " expected a smaller --max-images"
        )


def _write_case(
    plan: PairsPlan,
    load: Load,
    case: dict[str, Any],
    folder: Path,
    number: int,
    identifiers: dict[int, SentImage],
) -> list[dict[str, Any]]:
    image = load(case)
    bits = stored_bits(case["image"]) if plan.modality == "radiograph" else None
    write = writer_of(plan.modality, plan.file_format, bits)
    written = []
    for place, state in enumerate((None, *plan.states)):
        changed = image if state is None else state.change(image, str(case["case_id"]))
        name = CLEAN if state is None else state.confounder
        if changed.shape != image.shape:
            raise InputError(
                f"{case['image']}: {name} makes {tuple(changed.shape)} of {tuple(image.shape)}, expected"
                f" the same shape"
            )
        sent = identifiers[number * (1 + len(plan.states)) + place]
        path = folder / f"{sent.identifier}{ENDINGS[plan.modality, plan.file_format]}"
        write(path, changed, sent, case)
        _same_times(path)
        written.append(
            {
                "id": sent.identifier,
                "file": path.name,
                "case_id": case["case_id"],
                "confounder": name,
                "dose": 0.0 if state is None else state.dose,
                "study_uid": sent.study,
                "sop_uid": sent.sop_instance(),
                **{key: case[key] for key in POSITION if key in case},
            }
        )
    return written


def _same_times(path: Path) -> None:
    """Files are written case by case: their times would tell which belong together, and in which order."""
    for part in (*(path.iterdir() if path.is_dir() else ()), path):
        os.utime(part, (946728000, 946728000))  # 2000-01-01 12:00 UTC, as the headers say


def _write_tables(plan: PairsPlan, rows: list[dict[str, Any]], folder: Path) -> None:
    manifest = pd.DataFrame(rows).sort_values("id", ignore_index=True)
    listed = ["id", "file", *(name for name in POSITION if name in manifest)]
    write_csv(manifest[listed], folder / SENT)
    places = [name for name in POSITION if name in manifest]
    write_csv(manifest.drop(columns=places), folder / MANIFEST)
    write_csv(plan.cases, folder / CASES)
