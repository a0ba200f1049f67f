"""Figures of one run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from matplotlib.figure import Figure

# Okabe and Ito's palette: distinguishable with any colour vision.
BLUE, ORANGE, GREEN = "#0072B2", "#D55E00", "#009E73"


def training_curves(
    history: Sequence[Mapping[str, float]],
    title: str = "",
    metric: str | None = "val_auc",
    metric_title: str = "validation ROC-AUC",
    loss_title: str = "cross-entropy",
) -> Figure:
    """Losses and validation AUC, or another metric, over the epochs.

    Args:
        history: one mapping per epoch with epoch, train_loss, and where it was validated val_loss, val_auc.
        title: written above.
        metric: metric of the validation that is shown beside the losses; None: only the losses.
        metric_title: what it is.
        loss_title: what the losses are.
    """
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    panels = figure.subplots(1, 2 if metric else 1, squeeze=False)[0]
    losses = panels[0]
    validated = [row for row in history if "val_loss" in row]
    losses.plot(*_columns(history, "train_loss"), "o-", color=BLUE, label="training")
    losses.plot(*_columns(validated, "val_loss"), "s--", color=ORANGE, label="validation")
    if validated:
        best = min(validated, key=lambda row: row["val_loss"])["epoch"]
        losses.axvline(best, color="0.6", linewidth=1, zorder=0)
        place = {"xycoords": ("data", "axes fraction"), "xytext": (3, -10), "textcoords": "offset points"}
        losses.annotate("best", (best, 1), color="0.4", fontsize=9, **place)
    losses.set(xlabel="epoch", ylabel=loss_title, ylim=(0, None))
    losses.legend(frameon=False)
    if metric:
        panels[1].plot(*_columns(validated, metric), "s--", color=ORANGE)
        panels[1].set(xlabel="epoch", ylabel=metric_title, ylim=(0, 1.02))
    if metric == "val_auc":
        panels[1].axhline(0.5, color="0.6", linewidth=1, zorder=0)
        panels[1].set_title("confounded as in training", fontsize=9, color="0.4")
    for axes in panels:
        axes.spines[["top", "right"]].set_visible(False)
        axes.xaxis.get_major_locator().set_params(integer=True)
    figure.suptitle(title, fontsize=10)
    return figure


def _columns(rows: Sequence[Mapping[str, float]], name: str) -> tuple[list[float], list[float]]:
    return [row["epoch"] for row in rows], [row[name] for row in rows]


def example_states(clean: torch.Tensor, confounded: torch.Tensor, labels: Sequence[int], name: str) -> Figure:
    """Example cases: clean, confounded, and their difference.

    Args:
        clean: (N, C, H, W[, D]) in [0, 1]; of a volume the middle slice is shown.
        confounded: the same cases with the confounder.
        labels: N labels.
        name: name of the confounder.
    """
    difference = _plane(confounded) - _plane(clean)
    limit = max(float(difference.abs().max()), 1e-6)
    grey, signed = {"cmap": "gray", "vmin": 0, "vmax": 1}, {"cmap": "RdBu_r", "vmin": -limit, "vmax": limit}
    rows = (
        (_plane(clean), "clean", grey),
        (_plane(confounded), name, grey),
        (difference, "difference", signed),
    )
    figure = Figure(figsize=(1.9 * len(labels) + 0.8, 6.2), layout="constrained")
    # One axes for a row of pictures: 24 axes took three times as long as the training of a head.
    panels = figure.subplots(3, 1)
    for axes, (pictures, title, colours) in zip(panels, rows, strict=True):
        strip, centres = _strip(pictures)
        shown = axes.imshow(strip, **colours)
        axes.set(xticks=[], yticks=[], ylabel=title)
        axes.spines[:].set_visible(False)
    titles = ["positive" if label else "negative" for label in labels]
    panels[0].set_xticks(centres, titles, fontsize=10)
    panels[0].tick_params(length=0, top=False, labeltop=True, bottom=False, labelbottom=False)
    figure.colorbar(shown, ax=panels[2], shrink=0.8, label="grey value")
    return figure


def _strip(pictures: torch.Tensor) -> tuple[np.ndarray, list[float]]:
    """(N, H, W) side by side with gaps of NaN, and the columns of their centres."""
    count, _, width = pictures.shape
    gap = max(width // 16, 1)
    apart = np.pad(pictures.numpy(), ((0, 0), (0, 0), (0, gap)), constant_values=np.nan)
    strip = np.concatenate(list(apart), axis=1)[:, :-gap]
    return strip, [place * (width + gap) + (width - 1) / 2 for place in range(count)]


def _plane(images: torch.Tensor) -> torch.Tensor:
    """(N, H, W) of the first channel, the middle slice of volumes."""
    planes = images[:, 0].float()
    return planes if planes.ndim == 3 else planes[..., planes.shape[-1] // 2]
