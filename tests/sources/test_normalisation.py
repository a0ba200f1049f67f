"""The input normalisation: each channel by its own mean and deviation, grey as RGB of equal channels."""

from __future__ import annotations

import pytest
import torch

from srcmatters.sources import InputNormalisation, create_classifier


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_every_channel_is_normalised_by_its_own_values(spatial_dims: int) -> None:
    mean, std = (0.1, 0.2, 0.3), (0.5, 0.25, 2.0)
    images = torch.rand(2, 3, *[5] * spatial_dims, generator=torch.Generator().manual_seed(0))
    result = InputNormalisation(mean, std, spatial_dims)(images)
    assert result.shape == images.shape
    for channel in range(3):
        torch.testing.assert_close(result[:, channel], (images[:, channel] - mean[channel]) / std[channel])


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_a_grey_image_becomes_an_rgb_image_of_equal_channels(spatial_dims: int) -> None:
    normalise = InputNormalisation((0.1, 0.2, 0.3), (0.5, 0.25, 2.0), spatial_dims)
    grey = torch.rand(2, 1, *[4] * spatial_dims, generator=torch.Generator().manual_seed(0))
    colour = torch.cat([grey, grey, grey], dim=1)
    assert torch.equal(normalise(grey), normalise(colour))


def test_the_normalisation_travels_with_the_weights() -> None:
    """Whoever loads the state dict gets the same input, whatever their own constants are."""
    classifier = create_classifier("efficientnet_lite0")
    state = classifier.state_dict()
    torch.testing.assert_close(state["0.mean"].flatten(), torch.tensor([0.485, 0.456, 0.406]))
    torch.testing.assert_close(state["0.std"].flatten(), torch.tensor([0.229, 0.224, 0.225]))
