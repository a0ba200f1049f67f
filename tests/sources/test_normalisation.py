"""The input normalisation: each channel by its own mean and deviation, grey as RGB of equal channels."""

from __future__ import annotations

import pytest
import torch

from srcmatters.errors import InputError
from srcmatters.sources import InputNormalisation, PositiveZScore, create_classifier
from srcmatters.sources.normalisation import read_normalisation


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


@pytest.mark.parametrize(("channels", "image_channels"), [(3, 2), (3, 4), (1, 3)])
def test_channels_that_the_network_has_not_are_refused(channels: int, image_channels: int) -> None:
    """A colour image would be broadcast through the mean of a grey network without complaint."""
    values = [0.5] * channels
    with pytest.raises(ValueError, match=f"got {image_channels} channels, expected 1 or {channels}"):
        InputNormalisation(values, values)(torch.rand(1, image_channels, 4, 4))


def test_bgr_values_are_turned_around_with_the_weights() -> None:
    """The first kernel is flipped at conversion, so the network takes RGB and so do mean and std."""
    fields = {"kind": "fixed", "channel_order": "BGR", "mean": [0.1, 0.2, 0.3], "std": [1.0, 2.0, 4.0]}
    layer = read_normalisation(fields, "entry").layer(2)
    rgb = torch.rand(1, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    bgr = InputNormalisation([0.1, 0.2, 0.3], [1.0, 2.0, 4.0])(rgb.flip(1))
    assert torch.equal(layer(rgb), bgr.flip(1))


# The z-score of voxels above zero


def scans() -> torch.Tensor:
    values = torch.rand(3, 1, 6, 5, 4, generator=torch.Generator().manual_seed(1))
    return (values - 0.3).clamp(min=0) * torch.tensor([1.0, 10.0, 500.0])[:, None, None, None, None]


def test_voxels_above_zero_get_mean_zero_and_deviation_one_in_each_image() -> None:
    images = scans()
    for image, result in zip(images, PositiveZScore()(images), strict=True):
        inside = result[image > 0].double()
        assert inside.mean().abs() < 1e-5
        assert (inside.std(correction=0) - 1).abs() < 1e-5


def test_an_image_is_normalised_by_itself_whatever_its_scale_and_its_neighbours() -> None:
    images = scans()
    together = PositiveZScore()(images)
    for place, image in enumerate(images):
        torch.testing.assert_close(PositiveZScore()(7 * image[None]), together[place : place + 1])


@pytest.mark.parametrize("value", [0.0, 0.3, 1.0])
def test_an_image_of_one_value_becomes_zero(value: float) -> None:
    result = PositiveZScore()(torch.full((2, 1, 9, 9), value))
    torch.testing.assert_close(result, torch.zeros(2, 1, 9, 9), rtol=0, atol=1e-6)


def test_half_precision_does_not_overflow() -> None:
    images = (100 * scans()).half()
    assert images.isfinite().all()
    assert PositiveZScore()(images).isfinite().all()


def test_colour_has_no_z_score() -> None:
    with pytest.raises(ValueError, match="got 3 channels, expected 1"):
        PositiveZScore()(torch.rand(1, 3, 4, 4))


@pytest.mark.parametrize("layer", [PositiveZScore(), InputNormalisation((0.1, 0.2, 0.3), (0.5, 0.25, 2.0))])
def test_normalisations_can_be_scripted_and_exported(layer: torch.nn.Module) -> None:
    images = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(2))
    assert torch.equal(torch.jit.script(layer)(images), layer(images))
    assert torch.equal(torch.export.export(layer, (images,)).module()(images), layer(images))


def test_a_z_score_has_neither_mean_nor_deviation_of_its_own() -> None:
    with pytest.raises(InputError, match=r"entry: normalisation\.mean: expected none with zscore_positive"):
        read_normalisation({"kind": "zscore_positive", "channel_order": "grey", "mean": [0.5]}, "entry")
