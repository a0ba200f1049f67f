"""A run with known errors, and its card."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from srcmatters.export.model_card.author_statements import FIRST_VERSION, Authors
from srcmatters.export.model_card.card import CardFacts, model_card
from srcmatters.export.model_card.failures import described, worst_errors
from srcmatters.export.performance import performance
from srcmatters.exported_bundle.calibration import ProbabilityCalibration
from srcmatters.runs.prediction_table import prediction_table
from srcmatters.runs.trained_run import TrainedRun

RULES: dict[str, Any] = {
    "name": "Mass on radiographs",
    "modality": "radiograph",
    "body_part": "",
    "unit": "display",
    "window": None,
    "patch_mm": None,
    "finding": {"positive": "Mass", "negative": "no Mass", "code": None},
    "threshold": {"value": 0.5, "rule": "youden", "fixed_on": "validation", "cases": 10},
    "calibration": {"method": "none", "cases": 10},
    "input": {"spacing_mm": None, "size": None, "depth_mm": None, "views": None, "positions": False},
    "ood": None,
    "monitors": [],
    "audited": False,
    "audit": None,
    "mlflow_run": None,
}
SETTINGS = {"network": "resnet10", "source": "<b>unheard of</b>", "target": "phantom", "confounder": "none"}
SETTINGS |= {"p_art": 0.0, "fold": 0, "depth": "finetune"}


def write_run(
    folder: Path,
    leaning: float = 0.0,
    digest: str = "",
    sampled: bool = False,
    oldest: float = 40.0,
    **settings: Any,
) -> TrainedRun:
    """80 test cases, of which the first of each label is scored most wrongly.

    Args:
        folder: of the run, made here.
        leaning: what the confounder adds to the log-odds.
        digest: of the case table; empty: the run knows none.
        sampled: the confounder is a column: cases were chosen, no image was changed.
        oldest: age of the oldest; everybody else is 40.
        settings: other than ``SETTINGS``.
    """
    folder.mkdir(parents=True)
    stream = np.random.default_rng(0)
    labels = np.tile([0, 1], 40)
    scores = stream.normal(3.0 * labels - 1.5, 1)
    scores[:2] = [9, -9]
    names = [f"secret-{number}" for number in range(80)]
    cases = pd.DataFrame({"case_id": names, "patient_id": names, "image": names, "label": labels})
    cases["sex"], cases["age"] = np.tile(["F", "F", "M", "M"], 20), 40.0
    cases.loc[79, "age"] = oldest
    carries = labels.astype(bool) & (settings.get("p_art", 0.0) > 0)
    environments = None
    if sampled:
        carries, environments, leaning = cases["sex"].to_numpy() == "F", np.full(80, "iid+ood"), 0.0
    table = prediction_table(cases, 0, carries, scores, scores + leaning, environments)
    for name in ("predictions.csv", "validation.csv"):
        table.to_csv(folder / name, index=False)
    record: dict[str, Any] = {"settings": SETTINGS | settings}
    record |= dict.fromkeys(("clean_auc", "iid_auc", "ood_auc"), 0.9)
    record |= {"dataset_sha256": digest} if digest else {}
    (folder / "metrics.json").write_text(json.dumps(record))
    return TrainedRun(folder, record, {})


def make_card(run: TrainedRun, authors: Authors | None = None, **rules: Any) -> dict[str, Any]:
    """Its card, without an audit unless ``rules`` have one."""
    fitted = ProbabilityCalibration("none", 80)
    figures, subgroups = performance(run, fitted, 0.5)
    failures = described(worst_errors(run.predictions, fitted, 0.5))
    authors, parity = authors or Authors(), {"model.pt": 0.0}
    rules = RULES | {"model_version": authors.say("version", FIRST_VERSION)} | rules
    return model_card(CardFacts(run, rules, figures, subgroups, parity, None, None, failures, authors))
