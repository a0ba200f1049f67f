"""Where a model fails: the clean test cases that it decides most wrongly, and what they look like."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import nn

from srcmatters.exported_bundle.calibration import ProbabilityCalibration
from srcmatters.exported_bundle.saliency import draw, saliency
from srcmatters.preprocessing.images_without_text import shows_text
from srcmatters.runs.prediction_table import log_odds
from srcmatters.runs.trained_run import TrainingImages

_MOST = 5  # of each kind
_GROUPS = ("sex", "view", "manufacturer")  # of a single case; no age, which with them may name a person


def worst_errors(table: pd.DataFrame, fitted: ProbabilityCalibration, threshold: float) -> pd.DataFrame:
    """The clean cases that are decided wrongly, the missed ones first, the farthest from the threshold first.

    Args:
        table: prediction table of the test cases.
        fitted: the calibration.
        threshold: on the calibrated probability; at or above it a case is called positive.

    Returns:
        Their rows with the columns ``probability``, calibrated, and ``kind``: "missed" or "false alarm". Up
        to five of each; none where every case is decided rightly.
    """
    probability = fitted(log_odds(table["score_clean"]))
    decided = table.assign(probability=probability, beyond=np.abs(probability - threshold))
    called = probability >= threshold
    kinds = [
        decided[wrong].nlargest(_MOST, "beyond").assign(kind=kind)
        for wrong, kind in (
            ((table["label"] == 1) & ~called, "missed"),
            ((table["label"] == 0) & called, "false alarm"),
        )
    ]
    return pd.concat(kinds).drop(columns="beyond")


def described(errors: pd.DataFrame, images: Sequence[str | None] = ()) -> list[dict[str, Any]]:
    """The errors without identifiers.

    Args:
        errors: of :func:`worst_errors`.
        images: names of their pictures, None of one that may not be shown; nothing if none was asked for.
    """
    rows = []
    for number, (_, case) in enumerate(errors.iterrows()):
        groups = {name: str(case[name]) for name in _GROUPS if name in case and pd.notna(case[name])}
        row = {"kind": case["kind"], "probability": round(float(case["probability"]), 3), **groups}
        rows.append(row | ({"image": images[number]} if images else {}))
    return rows


def pictures(
    errors: pd.DataFrame, images: TrainingImages, network: nn.Module, name: str
) -> dict[str, bytes | None]:
    """The errors as the network got them, each beside where the network looked.

    A bundle leaves the hospital, so an image in whose pixels text may be is left out.

    Args:
        errors: of :func:`worst_errors`.
        images: of the run.
        network: that made the errors.
        name: of the network.

    Returns:
        JPEG by name, in the order of ``errors``; None where text may name the patient.
    """
    rows = {case: row for row, case in enumerate(images.cache.cases["case_id"])}
    clean = images.cache.state("clean")
    made: dict[str, bytes | None] = {}
    for number, case in enumerate(errors["case_id"], 1):
        if shows_text(images.cache, rows[case]):
            made[f"failures/{number}.jpg"] = None
            continue
        image = clean[rows[case]].as_subclass(torch.Tensor).clone()
        shown = image[0] if image.ndim == 3 else image[0, :, :, image.shape[3] // 2]
        grey = (shown.clamp(0, 1) * 255).round().to(torch.uint8).numpy()
        picture = draw(grey, saliency(network, name, image), ())
        made[f"failures/{number}.jpg"] = _jpeg(picture)
    return made


def _jpeg(picture: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=85)
    return file.getvalue()
