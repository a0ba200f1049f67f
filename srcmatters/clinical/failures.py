"""Where a model fails: the clean test cases that are most wrong, and what they look like."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import nn

from srcmatters.clinical.saliency import draw, saliency
from srcmatters.clinical.trained_run import TrainingImages

_MOST = 5  # of each kind
_GROUPS = ("sex", "view", "manufacturer")  # of a single case; no age, which with them may name a person


def worst_errors(table: pd.DataFrame) -> pd.DataFrame:
    """The cases whose clean score is most wrong, the missed ones first.

    Args:
        table: prediction table of the test cases.

    Returns:
        Their rows with a column ``kind``: "missed" or "false alarm". Up to five of each; none where every
        score is on its right side of one half.
    """
    wrong = (table["score_clean"] - table["label"]).abs()
    kinds = []
    for label, kind in ((1, "missed"), (0, "false alarm")):
        worst = wrong[(table["label"] == label) & (wrong > 0.5)].nlargest(_MOST)
        kinds.append(table.loc[worst.index].assign(kind=kind))
    return pd.concat(kinds)


def described(errors: pd.DataFrame, images: Sequence[str] = ()) -> list[dict[str, Any]]:
    """The errors without identifiers.

    Args:
        errors: of :func:`worst_errors`.
        images: names of their pictures; nothing if there are none.
    """
    rows = []
    for number, (_, case) in enumerate(errors.iterrows()):
        groups = {name: str(case[name]) for name in _GROUPS if name in case and pd.notna(case[name])}
        row = {"kind": case["kind"], "score": round(float(case["score_clean"]), 3), **groups}
        rows.append(row | ({"image": images[number]} if images else {}))
    return rows


def pictures(errors: pd.DataFrame, images: TrainingImages, network: nn.Module, name: str) -> dict[str, bytes]:
    """The errors as the network got them, each beside where the network looked.

    Args:
        errors: of :func:`worst_errors`.
        images: of the run.
        network: that made the errors.
        name: of the network.

    Returns:
        JPEG by name, in the order of ``errors``.
    """
    rows = {case: row for row, case in enumerate(images.cache.cases["case_id"])}
    clean = images.cache.state("clean")
    made = {}
    for number, case in enumerate(errors["case_id"], 1):
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
