"""Small runs of the bundles, to export: phantoms whose DICOM files hold identifiers to be looked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from monai.bundle import create_workflow

BUNDLES = Path(__file__).parents[2] / "bundles"
QUICK: dict[str, Any] = {
    "source": "random",
    "network": "resnet10",
    "image_size": 32,
    "max_epochs": 1,
    "batch_size": 8,
    "num_folds": 3,
    "validation_folds": 3,
    "num_workers": 0,
    "tracking_uri": "",
    "device": "cpu",
    "p_art": 1.0,
}


def train(bundle: str, cohort: Path, out: Path, **overrides: Any) -> Path:
    """Train for an epoch; returns the output_dir."""
    settings = {**QUICK, "dataset_dir": str(cohort), "output_dir": str(out), **overrides}
    file = str(BUNDLES / bundle / "configs" / "train.yaml")
    create_workflow(config_file=file, run_id="training", logging_file=False, **settings).run()
    return out
