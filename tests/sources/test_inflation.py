"""Inflation: what an image gives in 2D, a volume of that image gives in 3D, where that is said."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from reference_networks import reference_network

from srcmatters.errors import InputError
from srcmatters.sources import convert, create_classifier
from srcmatters.sources.inflation import inflate
from srcmatters.sources.network_facts import HEADS

NETWORKS = ["resnet10", "densenet121", "efficientnet_lite0"]


def image_and_volumes(
    network: str, path: Path, depth: int, inflation: str
) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits of two images, and of the volumes whose slices are all these images."""
    flat = create_classifier(network, path).eval()
    deep = create_classifier(network, path, spatial_dims=3, inflation=inflation).eval()
    place = HEADS[network].removesuffix(".")  # each is drawn for its own network
    deep[1].get_submodule(place).load_state_dict(flat[1].get_submodule(place).state_dict())
    images = torch.rand(2, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return flat(images), deep(images.unsqueeze(-1).expand(-1, -1, -1, -1, depth))


@pytest.fixture(scope="module", params=NETWORKS)
def saved(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    path = tmp_path_factory.mktemp("inflation") / "weights.pth"
    torch.save(reference_network(request.param).state_dict(), path)
    return request.param, path


@pytest.mark.parametrize("depth", [32, 37])
def test_centre_is_exact_on_volumes_of_equal_slices(saved: tuple[str, Path], depth: int) -> None:
    image, volume = image_and_volumes(*saved, depth, "centre")
    assert (image[0] - image[1]).abs().max() > 1e-3
    torch.testing.assert_close(volume, image, rtol=0, atol=1e-5 * float(image.abs().max()))


def test_mean_is_not_exact_near_the_ends(saved: tuple[str, Path]) -> None:
    """The zero padding takes its part of each kernel; documented, and the reason for the default."""
    image, volume = image_and_volumes(*saved, 32, "mean")
    assert (volume - image).abs().max() > 1e-3 * image.abs().max()


@pytest.mark.parametrize("inflation", ["centre", "mean"])
def test_a_kernel_summed_over_its_depth_is_the_kernel_it_was(inflation: str) -> None:
    """So both are exact for a convolution that reaches no end of the volume."""
    kernel = torch.randn(4, 2, 3, 3, generator=torch.Generator().manual_seed(1))
    deep, inflated = inflate({"k": kernel}, {"k": torch.Size((4, 2, 3, 3, 5))}, inflation)
    assert inflated == ("k",)
    torch.testing.assert_close(deep["k"].sum(-1), kernel)
    image = torch.randn(1, 2, 8, 8, generator=torch.Generator().manual_seed(2))
    volume = torch.nn.functional.conv3d(image.unsqueeze(-1).expand(-1, -1, -1, -1, 7), deep["k"])
    expected = torch.nn.functional.conv2d(image, kernel).unsqueeze(-1).expand_as(volume)
    torch.testing.assert_close(volume, expected)


def test_the_report_names_what_was_inflated() -> None:
    weights = reference_network("resnet10").state_dict()
    report = convert(weights, "torchvision", "resnet10", 3)[1]
    inflated = {tensor.origin for tensor in report.loaded if "inflated" in tensor.how}
    assert inflated == {name for name, tensor in weights.items() if tensor.ndim == 4}
    assert "inflated for volumes (centre)" in str(report)


def test_an_unknown_inflation_is_refused() -> None:
    with pytest.raises(InputError, match="inflation: 'center' is unknown: did you mean 'centre'"):
        inflate({}, {}, "center")


def test_kernels_that_are_deep_already_are_refused() -> None:
    weights = reference_network("resnet10").state_dict()
    deep = {name: t.unsqueeze(-1).expand(*t.shape, 3) if t.ndim == 4 else t for name, t in weights.items()}
    with pytest.raises(InputError, match=r"conv1\.weight of another shape"):
        convert(deep, "torchvision", "resnet10", 3)
