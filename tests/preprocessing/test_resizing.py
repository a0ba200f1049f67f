"""Resizing removes what the new grid cannot hold, and nothing else."""

import torch

from srcmatters.preprocessing import AntialiasedResized
from srcmatters.preprocessing.resizing import resize


def test_resizing_removes_what_the_new_grid_cannot_hold() -> None:
    stripes = (torch.arange(256) % 2).float().expand(1, 256, 256)
    result = AntialiasedResized("image", (64, 64))({"image": stripes})["image"]
    # Aliasing would leave stripes of full contrast; the border of the filter leaves a little.
    assert result.shape == (1, 64, 64) and result.std() < 0.02
    torch.testing.assert_close(result.mean(), torch.tensor(0.5), atol=0.01, rtol=0)


def test_resizing_to_the_same_size_changes_nothing() -> None:
    image = torch.rand(2, 1, 9, 7)
    assert resize(image, (9, 7)) is image
