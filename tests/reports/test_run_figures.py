"""Figures show the numbers they were given, and can be saved."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from srcmatters.reports.run_figures import example_states, training_curves

HISTORY = [
    {"epoch": epoch, "train_loss": 0.9 - 0.1 * epoch, "val_loss": loss, "val_auc": 0.5 + 0.05 * epoch}
    for epoch, loss in enumerate([0.8, 0.6, 0.5, 0.7], start=1)
]


def rendered(figure: Figure) -> np.ndarray:
    """The figure as it is saved, (H, W, 3)."""
    stream = BytesIO()
    figure.savefig(stream, format="png", dpi=80)
    assert stream.getvalue().startswith(b"\x89PNG")
    return np.asarray(Image.open(stream).convert("RGB"))


def test_curves_are_the_history() -> None:
    figure = training_curves(HISTORY, "title of the run")
    losses, aucs = figure.axes
    training, validation, best = losses.lines
    epochs = [1, 2, 3, 4]
    for line, name in ((training, "train_loss"), (validation, "val_loss"), (aucs.lines[0], "val_auc")):
        np.testing.assert_allclose(line.get_xydata().T, [epochs, [row[name] for row in HISTORY]])
    assert list(best.get_xdata()) == [3, 3]  # the lowest validation loss
    assert figure.get_suptitle() == "title of the run"


def test_curves_fit_into_their_axes() -> None:
    losses, aucs = training_curves(HISTORY).axes
    for axes, lines in ((losses, losses.lines[:2]), (aucs, aucs.lines[:1])):
        low, high = axes.get_ylim()
        assert low == 0
        assert high >= max(np.max(line.get_ydata()) for line in lines)


def test_epochs_without_a_validation_leave_no_point() -> None:
    history = [
        row if row["epoch"] % 2 == 0 else {"epoch": row["epoch"], "train_loss": 1.0} for row in HISTORY
    ]
    losses, aucs = training_curves(history).axes
    assert [len(line.get_xdata()) for line in losses.lines[:2]] == [4, 2]
    assert list(aucs.lines[0].get_xdata()) == [2, 4]
    assert list(losses.lines[2].get_xdata()) == [2, 2]  # the best of those validated


@pytest.mark.parametrize("history", [HISTORY, HISTORY[:1], [{"epoch": 1, "train_loss": 0.7}]])
def test_curves_can_be_saved(history: list[dict[str, float]]) -> None:
    assert rendered(training_curves(history)).std() > 5


def states(count: int, depth: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Grey images and the same with a white corner; of volumes only the middle slice has one."""
    shape = (count, 1, 20, 20, *([depth] if depth else []))
    clean = 0.5 * torch.rand(shape, generator=torch.Generator().manual_seed(0))
    confounded = clean.clone()
    if depth:
        confounded[:, 0, :5, :5, depth // 2] = 1
    else:
        confounded[:, 0, :5, :5] = 1
    return clean, confounded


@pytest.mark.parametrize("depth", [0, 7])
@pytest.mark.parametrize("labels", [[1], [1, 0, 1]])
def test_examples_show_both_states_and_their_difference(depth: int, labels: list[int]) -> None:
    clean, confounded = states(len(labels), depth)
    figure = example_states(clean, confounded, labels, "tag")
    rows = [axes for axes in figure.axes if axes.images]
    pictures = np.asarray([_pictures(axes, len(labels)) for axes in rows])
    planes = [state[:, 0, ..., depth // 2] if depth else state[:, 0] for state in (clean, confounded)]
    np.testing.assert_allclose(pictures[0], planes[0])
    np.testing.assert_allclose(pictures[1], planes[1])
    np.testing.assert_allclose(pictures[2], planes[1] - planes[0])
    titles = [text.get_text() for text in rows[0].get_xticklabels()]
    assert titles == ["positive" if label else "negative" for label in labels]
    assert [axes.get_ylabel() for axes in rows] == ["clean", "tag", "difference"]


def _pictures(axes: Axes, count: int) -> np.ndarray:
    """(count, 20, 20) around the columns that the titles stand above."""
    strip = axes.images[0].get_array()
    centres = axes.get_xticks() if len(axes.get_xticks()) else [9.5 + 21 * place for place in range(count)]
    return np.stack([strip[:, round(x - 9.5) : round(x + 10.5)] for x in centres])


def test_examples_share_one_grey_scale_and_differences_are_symmetric() -> None:
    figure = example_states(*states(3), [1, 0, 1], "tag")
    limits = [axes.images[0].get_clim() for axes in figure.axes if axes.images]
    assert limits[:2] == [(0, 1)] * 2
    assert limits[2][0] == -limits[2][1] < 0


def test_examples_can_be_saved_whatever_the_confounder_does() -> None:
    clean, confounded = states(2)
    assert rendered(example_states(clean, confounded, [1, 0], "tag")).std() > 5
    rendered(example_states(clean, clean, [1, 0], "none"))  # no difference anywhere
