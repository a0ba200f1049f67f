"""From Python: images for a model that cannot be opened, and the audit of the scores that come back."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from srcmatters.audit.audit_run import audit_scores
from srcmatters.audit.check import AuditPlan
from srcmatters.audit.page import write_page
from srcmatters.audit.pairs import read_returned
from srcmatters.audit.preparation import prepare_pairs
from srcmatters.audit.record import write_record
from srcmatters.audit.result import Audit
from srcmatters.audit.state_scores import State, StateScores
from srcmatters.errors import InputError


def prepare(
    dataset_dir: str | Path,
    out: str | Path,
    confounders: Sequence[str] = (),
    *,
    cases: str = "cases.csv",
    modality: str = "radiograph",
    file_format: str = "dicom",
    max_images: int | None = None,
    seed: int = 0,
) -> Path:
    """Write every case clean and with each confounder, to be scored elsewhere.

    Args:
        dataset_dir: folder of the case table, or "phantom".
        out: new folder: ``images/`` is what is sent, ``manifest.csv`` says which image is which, and stays.
        confounders: as of :func:`srcmatters.audit.run`; none: all that fit.
        cases: case table in the folder.
        modality: "radiograph" or "ct".
        file_format: "dicom", "png" (radiographs) or "nifti" (CT).
        max_images: at most; draws a sample of the cases.
        seed: of the sample, the order and the identifiers.

    Returns:
        The folder of the images.

    Raises:
        InputError: whatever the caller can mend, in one line.
    """
    options = {
        "dataset_dir": str(dataset_dir),
        "out": Path(out),
        "confounders": tuple(confounders),
        "cases": cases,
        "modality": modality,
        "file_format": file_format,
        "max_images": max_images,
        "seed": seed,
    }
    prepare_pairs(options, lambda _: None)
    return Path(out) / "images"


def run_scores(
    scores: str | Path,
    pairs: str | Path,
    *,
    plan: AuditPlan | None = None,
    from_sr: bool = False,
    output_kind: str | None = None,
    out: str | Path | None = None,
) -> Audit:
    """Audit the scores of the images of :func:`prepare`.

    Args:
        scores: CSV with a column of identifiers (file name, patient, accession number, UID) and one of
            scores; with ``from_sr`` a folder of Structured Reports.
        pairs: folder of :func:`prepare`.
        plan: margin, threshold, seed, declared before any score is looked at.
        from_sr: see ``scores``.
        output_kind: "probability" or "logit"; None: probabilities if all are in [0, 1].
        out: folder for audit.json, audit.html and the scores; None: nothing is written.

    Returns:
        As :func:`srcmatters.audit.run`.

    Raises:
        InputError: whatever the caller can mend, in one line.
    """
    if isinstance(scores, pd.DataFrame):
        raise InputError("scores: got a DataFrame, expected the path of a CSV file")
    returned = read_returned(pairs, scores, from_sr=from_sr, kind=output_kind)
    confounded = {State(name, float(dose)): values for (name, dose), values in returned.confounded.items()}
    states = StateScores(returned.cases, returned.clean, confounded)
    described = {"name": Path(scores).name, "kind": "scores of a product", "sha256": None}
    audit = audit_scores([states], described, plan or AuditPlan(), returned, returned.notes)
    if out is not None:
        Path(out).mkdir(parents=True, exist_ok=True)
        write_record(audit, Path(out))
        write_page(audit, Path(out), [], None)
    return audit
