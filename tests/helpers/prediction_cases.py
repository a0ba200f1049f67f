"""An exported bundle with random weights, and files for and against it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydicom import dcmread
from pydicom.uid import generate_uid
from sealed_bundles import seal

from srcmatters.cohorts.phantom_cohort import write_phantom_cohort
from srcmatters.exported_bundle.input_rules import declared_actions
from srcmatters.exported_bundle.rules_schema import RULES_VERSION
from srcmatters.sources import create_classifier

SIZE = 32


def rules(actions: dict[str, str] | None = None, **changes: Any) -> dict[str, Any]:
    """Declared rules of a bundle for chest radiographs that has no audit; actions other than the default."""
    return {
        "version": RULES_VERSION,
        "name": "mass on random weights",
        "model_version": "1.0.0",
        "modality": "radiograph",
        "body_part": "CHEST",
        "network": "resnet10",
        "image_size": SIZE,
        "unit": "display",
        "window": None,
        "patch_mm": None,
        "slab_mm": None,
        "spatial_dims": 2,
        "finding": {"positive": "Mass", "negative": "No mass", "code": ["4147007", "SCT", "Mass"]},
        "threshold": {"value": 0.5, "rule": "youden", "fixed_on": "validation", "cases": 40},
        "calibration": {"method": "temperature", "temperature": 2.0, "bias": 0.5, "cases": 40},
        "actions": declared_actions(actions or {}),
        "input": {"spacing_mm": None, "size": None, "depth_mm": None, "views": None, "positions": False},
        "ood": None,
        "monitors": [],
        "audited": False,
        "audit": {"leans_on": []} if changes.get("audited") else None,
        "mlflow_run": None,
        "trained": {},
    } | changes


def write_bundle(folder: Path, arrays: dict[str, np.ndarray] | None = None, **changes: Any) -> Path:
    """A bundle as `srcmatters export` writes it, as far as prediction needs it."""
    declared = rules(**changes)
    (folder / "configs").mkdir(parents=True)
    (folder / "models").mkdir()
    (folder / "configs" / "clinical.json").write_text(json.dumps(declared))
    if arrays:
        np.savez(folder / "configs" / "clinical.npz", **arrays)
    network = create_classifier(declared["network"], spatial_dims=declared["spatial_dims"])
    torch.save(network.state_dict(), folder / "models" / "model.pt")
    return seal(folder)


def write_watched_bundle(folder: Path, **changes: Any) -> Path:
    """A bundle with monitors: everything is unlike its training and carries a tag, nothing is denoised."""
    arrays = {"m": np.zeros(369), "s": np.ones(369), "w": np.zeros(369)}
    arrays |= {"mean": np.zeros(1024), "scale": np.ones(1024), "basis": np.eye(1024)[:, :2]}
    arrays["precision"] = np.eye(2)
    probe = {"kind": "detectability probe", "arrays": {"mean": "m", "scale": "s", "weight": "w"}}
    probe |= {"threshold": 0.5, "auc": 0.9, "sensitivity": 0.8, "false_alarms": 0.1}
    monitors = [probe | {"confounder": "tag", "bias": 1.0}, probe | {"confounder": "denoise", "bias": 0.0}]
    names = {name: name for name in ("mean", "scale", "basis", "precision")}
    ood = {"layer": "stages", "arrays": names, "residual_variance": 1.0, "threshold": 0.0}
    ood |= {"quantile": 0.99, "false_alarms": 0.0}
    return write_bundle(folder, arrays, monitors=monitors, ood=ood, **changes)


def write_radiographs(folder: Path, patients: int = 2) -> list[Path]:
    """Phantom radiographs (64 x 64 DICOM), each of another patient."""
    cohort = folder.parent / f"{folder.name}-cohort"
    write_phantom_cohort(cohort, patients=patients, image_size=64, file_format="dicom")
    folder.mkdir(parents=True)
    files = sorted((cohort / "images").rglob("*.dcm"))
    for number, file in enumerate(files):
        file.rename(folder / f"film-{number}.dcm")
    shutil.rmtree(cohort)
    return sorted(folder.iterdir())


def write_series(folder: Path) -> list[Path]:
    """Slices of one phantom CT series."""
    cohort = folder.parent / f"{folder.name}-cohort"
    write_phantom_cohort(cohort, patients=1, modality="ct", file_format="dicom", slab_mm=16.0)
    (series,) = (cohort / "images").iterdir()
    series.rename(folder)
    shutil.rmtree(cohort)
    return sorted(folder.iterdir())


def changed(source: Path, target: Path, **elements: Any) -> Path:
    """A copy of a DICOM file, as an image of its own, with other elements; None deletes one."""
    dataset = dcmread(source)
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    for keyword, value in elements.items():
        if value is None:
            delattr(dataset, keyword)
        else:
            setattr(dataset, keyword, value)
    dataset.save_as(target, enforce_file_format=True)
    return target
