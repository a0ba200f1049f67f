"""A study that never ran: predictions with known effects, written as a runner would."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from scipy.special import expit

#: The name of a source that would be an element, a formula and the end of an attribute.
HOSTILE = 'own"><img src=x onerror=alert(1)> $x_1$ {{ 7 * 7 }}'
#: How strongly a source leans on a confounder at p_art 1, in log-odds.
LEANING = {"imagenet": 5.0, "radiology": 1.5, "random": 3.0}
SETTINGS = {
    "target": "chests",
    "network": "efficientnet_lite0",
    "confounder_args": {},
    "assignment": "image",
    "num_folds": 3,
    "validation_folds": 8,
    "protocol": "corrected",
    "depth": "finetune",
    "control": "none",
    "seed": 0,
    "image_size": 96,
    "max_epochs": 12,
    "batch_size": 16,
    "learning_rate": 0.0003,
    "weight_decay": 0.01,
    "dropout": 0.2,
    "device": "cpu",
}


def write_study(
    folder: Path,
    sources: Sequence[str] = ("imagenet", "radiology", "random"),
    confounders: Sequence[str] = ("tag", "denoise"),
    p_art: Sequence[float] = (0.0, 0.1, 0.2, 0.5, 0.8, 1.0),
    folds: int = 3,
    patients: int = 60,
    study_file: Mapping[str, Any] | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Path:
    """Write the runs of a grid below ``folder``/cells and return ``folder``.

    Args:
        folder: made if need be.
        sources, confounders, p_art: axes.
        folds: parts of the patients, each the test set of a fold.
        patients: with one to three images each.
        study_file: written as study.yaml; None: none.
        settings: what the runs have besides their axes.
    """
    cohort = cohort_of(patients, folds)
    for source, confounder, share, fold in product(sources, confounders, p_art, range(folds)):
        axes = {"source": source, "confounder": confounder, "p_art": share, "fold": fold}
        write_run(folder / "cells", cohort, axes, settings or {})
    if study_file is not None:
        (folder / "study.yaml").write_text(yaml.safe_dump(dict(study_file), sort_keys=False))
    return folder


def cohort_of(patients: int, folds: int) -> pd.DataFrame:
    """Patients with one to three images, groups, and identifiers that no report may show."""
    stream = np.random.default_rng(7)
    owner = np.repeat(np.arange(patients), stream.integers(1, 4, patients))
    return pd.DataFrame(
        {
            "case_id": [f"SECRETCASE{row:04d}" for row in range(len(owner))],
            "patient_id": [f"SECRETPATIENT{number:03d}" for number in owner],
            "label": owner % 2,
            "sex": np.where(owner // 2 % 2 == 0, "F", "M"),
            "view": np.where(stream.random(len(owner)) < 0.6, "PA", "AP"),
            "age": 30.0 + owner % 50,
            "findings": [f"SECRETREMARK{row}" for row in range(len(owner))],
            "fold": owner % folds,
            "disease": stream.normal(size=len(owner)),
        }
    )


def write_run(folder: Path, cohort: pd.DataFrame, axes: Mapping[str, Any], extra: Mapping[str, Any]) -> Path:
    """One run: predictions of its test and validation cases, metrics and settings."""
    settings = {**SETTINGS, **extra, **axes}
    name = "-".join(str(axes[key]).replace("/", "_") for key in ("source", "confounder", "p_art", "fold"))
    name = "".join(letter if letter.isalnum() or letter in "-._" else "_" for letter in name)
    name += "" if settings["control"] == "none" else f"-{settings['control']}"
    output = folder / name
    output.mkdir(parents=True)
    rows = np.flatnonzero(cohort["fold"] == axes["fold"])
    other = np.flatnonzero(cohort["fold"] == (axes["fold"] + 1) % settings["num_folds"])
    test = _predict(cohort.iloc[rows], settings, list(rows))
    test.to_csv(output / "predictions.csv", index=False)
    _predict(cohort.iloc[other], settings, list(other)).to_csv(output / "validation.csv", index=False)
    record = {
        "clean_auc": 0.8,
        "iid_auc": 0.9,
        "ood_auc": 0.5,
        "iid_minus_ood_auc": 0.4,
        "detectability_auc": 0.97,
        "detectability_low": 0.95,
        "detectability_high": 0.99,
        "cases": len(test),
        "positives": int(test["label"].sum()),
        "settings": settings,
        "dataset_sha256": "c0ffee" + "0" * 58,
    }
    (output / "metrics.json").write_text(json.dumps(record))
    return output


def _predict(cases: pd.DataFrame, settings: Mapping[str, Any], rows: list[int]) -> pd.DataFrame:
    """Scores of a source that sees the disease, and the confounder the more it went with the label."""
    stream = np.random.default_rng([_number_of(settings), *rows[:2]])
    label = cases["label"].to_numpy()
    signal = 1.6 * (label - 0.5) + 0.8 * cases["disease"].to_numpy()
    if settings["control"] == "shuffled_labels":
        signal = 0.8 * cases["disease"].to_numpy()
    clean = signal + 0.5 * stream.normal(size=len(cases))
    leaning = LEANING.get(str(settings["source"]), 1.0)
    leaning *= 0.4 if settings["confounder"] == "denoise" else 1.0
    leaning *= 0.0 if settings["control"] != "none" else float(settings["p_art"])
    moved = clean + leaning + 0.3 * stream.normal(size=len(cases))
    ranks = stream.permutation(len(cases)) / len(cases)
    table = cases.drop(columns=["disease"]).assign(
        carries=(label == 1) & (ranks < settings["p_art"]),
        score_clean=expit(clean),
        score_confounded=expit(moved),
    )
    return table


def _number_of(settings: Mapping[str, Any]) -> int:
    """A number that belongs to the settings, the same in every process."""
    text = json.dumps(settings, sort_keys=True, default=str)
    return int(hashlib.sha256(text.encode()).hexdigest()[:8], 16)
