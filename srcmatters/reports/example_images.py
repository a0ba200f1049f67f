"""What a confounder looks like: on a synthetic chest, or on images of the target if that is wished."""

from __future__ import annotations

import ast
import base64
import io
from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as functional
from matplotlib import colormaps
from PIL import Image

from srcmatters.confounders import create_confounder, known_confounders
from srcmatters.errors import InputError
from srcmatters.phantom import draw_patient, radiograph
from srcmatters.preprocessing.images_without_text import without_text
from srcmatters.reports.example_record import Example
from srcmatters.reports.inline_svg import DIFFERENCE_COLOURS
from srcmatters.reports.phantom_scan import phantom_states
from srcmatters.runs.trained_run import open_images

_NATIVE, _LARGEST = 512, 320  # pixels a side: of the phantom before preprocessing, of a picture in the page


def phantom_examples(cells: pd.DataFrame) -> tuple[list[Example], list[str]]:
    """Each confounder on one synthetic chest, a radiograph or a CT. No patient stands behind it.

    Args:
        cells: finished runs; ``label`` is the confounder with its parameters.

    Returns:
        Examples, and a sentence for each confounder that has none.
    """
    chest = torch.from_numpy(radiograph(draw_patient(1, 0, 0.3), _NATIVE)).float()[None, None] / 255
    examples, left_out = [], []
    for label, runs in cells.groupby("label", sort=True):
        run = runs.iloc[0]
        if run["confounder"] == "none":
            continue
        if run["confounder"] not in known_confounders():
            left_out.append(f"{label} is sampled from the patients: it changes no image.")
            continue
        try:
            examples.append(_on_phantom(chest, run))
        except InputError as error:
            left_out.append(f"{label} cannot be shown on a phantom ({error}).")
    return examples, left_out


def _on_phantom(chest: torch.Tensor, run: pd.Series) -> Example:
    parameters = ast.literal_eval(str(run["confounder_args"]))
    confounder = create_confounder(str(run["confounder"]), run["protocol"], int(run["seed"]), **parameters)
    assert confounder is not None
    if pd.notna(run.get("unit")):  # a run on CT
        return example_of("synthetic CT", str(run["label"]), *phantom_states(confounder, run))
    size = [int(run.get("image_size", _NATIVE))] * 2
    states = (confounder.clean_batch(chest, ["phantom"]), confounder.batch(chest, ["phantom"]))
    clean, confounded = (
        functional.interpolate(state, size, mode="bilinear", antialias=True)[0] for state in states
    )
    return example_of("synthetic chest", str(run["label"]), clean, confounded)


def target_examples(cells: pd.DataFrame, trust: bool = False) -> tuple[list[Example], list[str]]:
    """Each confounder on a positive and a negative of the target: images of patients, for who asked for them.

    Args:
        cells: finished runs; ``label`` is the confounder with its parameters.
        trust: evaluate configurations with code of their own.

    Returns:
        Examples, and a sentence for each confounder that has none.
    """
    examples, left_out = [], []
    for (target, label), runs in cells.groupby(["target", "label"], sort=True):
        try:
            cache = open_images(runs["output_dir"].iloc[0], trust)
        except InputError as error:
            left_out.append(f"{label}: {error}.")
            continue
        if cache.states == 1:
            left_out.append(f"{label} changes no image.")
            continue
        labels = cache.cases["label"].to_numpy()
        for value, name in ((1, "positive"), (0, "negative")):
            rows, _ = without_text(cache, np.flatnonzero(labels == value), 1)
            if not rows:
                left_out.append(
                    f"{label} is shown on no {name} of {target}: text may be in their pixels, or they"
                    " are gone."
                )
                continue
            states = [cache.state(state)[rows[0]] for state in ("clean", "confounded")]
            examples.append(example_of(f"{name} of {target}", str(label), *states))
    return examples, left_out


def example_of(title: str, label: str, clean: torch.Tensor, confounded: torch.Tensor) -> Example:
    """An image (1, H, W[, D]) in [0, 1] without and with a confounder, and their difference, as pictures.

    Args:
        title: what it is an image of.
        label: the confounder with its parameters.
        clean: without it.
        confounded: with it.
    """
    before, after = (_plane(state) for state in (clean, confounded))
    difference = after - before
    size = np.abs(difference)
    changed = size > 1 / 512  # half a grey level of 255
    limit = max(float(np.percentile(size[changed], 98)), 0.005) if changed.any() else 1.0
    coloured = colormaps[DIFFERENCE_COLOURS](np.clip(difference / limit, -1, 1) / 2 + 0.5)[..., :3]
    shown = [_embedded(np.clip(state, 0, 1)) for state in (before, after)]
    return Example(title, label, shown[0], shown[1], _embedded(coloured), 100 * limit, float(changed.mean()))


def _plane(state: torch.Tensor) -> np.ndarray:
    """(H, W) of the first channel, the middle slice of a volume."""
    plane: Any = state[0].float()
    plane = plane if plane.ndim == 2 else plane[..., plane.shape[-1] // 2]
    return plane.numpy()


def _embedded(picture: np.ndarray) -> str:
    """A picture in [0, 1], (H, W) or (H, W, 3), as a data URI without any metadata."""
    image = Image.fromarray(np.rint(picture * 255).astype(np.uint8))
    image.thumbnail((_LARGEST, _LARGEST))
    stream = io.BytesIO()
    (image if picture.ndim == 2 else image.quantize(64)).save(stream, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()
