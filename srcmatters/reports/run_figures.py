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
    count = len(labels)
    figure = Figure(figsize=(1.9 * count + 0.8, 6.2), layout="constrained")
    grid = np.atleast_2d(figure.subplots(3, count, squeeze=False))
    difference = _plane(confounded) - _plane(clean)
    limit = max(float(difference.abs().max()), 1e-6)
    for column in range(count):
        pictures = (_plane(clean)[column], _plane(confounded)[column], difference[column])
        for row, (axes, picture) in enumerate(zip(grid[:, column], pictures, strict=True)):
            colours = {"cmap": "gray", "vmin": 0, "vmax": 1}
            if row == 2:
                colours = {"cmap": "RdBu_r", "vmin": -limit, "vmax": limit}
            shown = axes.imshow(picture.numpy(), **colours)
            axes.set(xticks=[], yticks=[])
            if column == 0:
                axes.set_ylabel(("clean", name, "difference")[row])
        grid[0, column].set_title("positive" if labels[column] else "negative", fontsize=10)
    figure.colorbar(shown, ax=list(grid[2]), shrink=0.8, label="grey value")
    return figure


def _plane(images: torch.Tensor) -> torch.Tensor:
    """(N, H, W) of the first channel, the middle slice of volumes."""
    planes = images[:, 0].float()
    return planes if planes.ndim == 3 else planes[..., planes.shape[-1] // 2]
