"""Every naming scheme: a file of an independent network gives, through our door, what that network gives."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import h5py
import pytest
import torch
from reference_networks import reference_network, save_keras
from safetensors.torch import load_file
from torch import nn

from srcmatters.errors import InputError
from srcmatters.sources import (
    classifier_of,
    conversion,
    convert,
    create_classifier,
    create_network,
    guess_scheme,
    load_strictly,
    networks,
    read_weights,
)
from srcmatters.sources.architecture import architecture_of
from srcmatters.sources.catalogue import read_catalogue
from srcmatters.sources.network_facts import HEADS
from srcmatters.sources.source import convert_entry

Weights = dict[str, torch.Tensor]


def imagenet(image: torch.Tensor) -> torch.Tensor:
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    return (image - mean[:, None, None]) / std[:, None, None]


def radimagenet(image: torch.Tensor) -> torch.Tensor:
    """(x - 127.5) * 2 / 255 of an image that OpenCV read."""
    return (255 * image.flip(1) - 127.5) * 2 / 255


def keras(image: torch.Tensor) -> torch.Tensor:
    """preprocess_input in caffe mode, and 1/255 behind it."""
    return (255 * image.flip(1) - torch.tensor([103.939, 116.779, 123.68])[:, None, None]) / 255


def torchxrayvision(image: torch.Tensor) -> torch.Tensor:
    return (2 * image - 1) * 1024


def medicalnet(volume: torch.Tensor) -> torch.Tensor:
    return torch.stack([(v - v[v > 0].mean()) / v[v > 0].std(correction=0) for v in volume])


def save_torch(network: nn.Module, path: Path) -> None:
    torch.save(network.state_dict(), path)


def save_radimagenet(network: nn.Module, path: Path) -> None:
    """What an nn.Sequential of the network's children is called: backbone.0, backbone.1, ..."""
    children = dict(network.named_children())
    relu, pooling = nn.ReLU(), nn.MaxPool2d(3)
    if "conv1" in children:
        layers = [children[f"layer{number}"] for number in (1, 2, 3, 4)]
        backbone = nn.Sequential(children["conv1"], children["bn1"], relu, pooling, *layers)
    else:
        backbone = nn.Sequential(children["features"])
    torch.save({f"backbone.{name}": tensor for name, tensor in backbone.state_dict().items()}, path)


def save_medicalnet(network: nn.Module, path: Path) -> None:
    weights = {f"module.{name}": tensor for name, tensor in network.state_dict().items()}
    torch.save({"state_dict": weights, "epoch": 60}, path)


def save_keras_resnet(network: nn.Module, path: Path) -> None:
    kinds = (nn.Conv2d, nn.BatchNorm2d)
    layers = {name.replace(".", "_"): m for name, m in network.named_modules() if isinstance(m, kinds)}
    save_keras(layers, path)


_DENSE = {"norm1": "0_bn", "conv1": "1_conv", "norm2": "1_bn", "conv2": "2_conv"}


def keras_densenet_name(name: str) -> str:
    parts = name.split(".")[1:]
    if len(parts) == 1:
        return {"conv0": "conv1/conv", "norm0": "conv1/bn", "norm5": "bn"}[parts[0]]
    number = int(parts[0][-1]) + 1
    if parts[0].startswith("transition"):
        return f"pool{number}_{'bn' if parts[1] == 'norm' else 'conv'}"
    return f"conv{number}_block{parts[1].removeprefix('denselayer')}_{_DENSE[parts[2]]}"


def save_keras_densenet(network: nn.Module, path: Path) -> None:
    kinds = (nn.Conv2d, nn.BatchNorm2d)
    layers = {keras_densenet_name(n): m for n, m in network.named_modules() if isinstance(m, kinds)}
    save_keras(layers, path)


def with_keras_epsilon(network: nn.Module) -> nn.Module:
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eps = 1.001e-5
    return network


@dataclass(frozen=True)
class Published:
    """A scheme, a network in it, the independent reference, its file and its input."""

    scheme: str
    network: str
    reference: str
    save: Callable[[nn.Module, Path], None]
    expects: Callable[[torch.Tensor], torch.Tensor]
    channels: int = 3
    spatial_dims: int = 2
    suffix: str = ".pth"


PUBLISHED = [
    Published("torchvision", "resnet10", "resnet10", save_torch, imagenet),
    Published("torchvision", "resnet34", "resnet34", save_torch, imagenet),
    Published("torchvision", "resnet50", "resnet50", save_torch, imagenet),
    Published("torchvision", "densenet121", "densenet121", save_torch, imagenet),
    Published("efficientnet-pytorch", "efficientnet_lite0", "efficientnet_lite0", save_torch, imagenet),
    Published("radimagenet", "resnet50", "resnet50", save_radimagenet, radimagenet),
    Published("radimagenet", "densenet121", "densenet121", save_radimagenet, radimagenet),
    Published("radimagenet-keras", "resnet50", "keras-resnet50", save_keras_resnet, keras, suffix=".h5"),
    Published("radimagenet-keras", "densenet121", "densenet121", save_keras_densenet, keras, suffix=".h5"),
    Published("torchxrayvision", "densenet121", "torchxrayvision", save_torch, torchxrayvision, 1),
    *(
        Published("medicalnet", name, f"medicalnet-{name}", save_medicalnet, medicalnet, 1, 3)
        for name in ("resnet10", "resnet18", "resnet50")
    ),
]


def write(case: Published, folder: Path) -> tuple[nn.Module, Path]:
    """The reference without its head, and its file."""
    reference = reference_network(case.reference)
    if case.scheme == "radimagenet-keras" and case.network == "densenet121":
        with_keras_epsilon(reference)
    path = folder / f"weights{case.suffix}"
    case.save(reference, path)
    for head in ("fc", "classifier", "_fc"):
        if hasattr(reference, head):
            setattr(reference, head, nn.Identity())
    return reference, path


@dataclass(frozen=True)
class Saved:
    """A published network, its reference without the head, and the file."""

    case: Published
    reference: nn.Module
    path: Path


@pytest.fixture(scope="module", params=PUBLISHED, ids=lambda case: f"{case.scheme}-{case.network}")
def saved(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Saved]:
    reference, path = write(request.param, tmp_path_factory.mktemp("published"))
    yield Saved(request.param, reference, path)
    path.unlink()


def without_head(classifier: nn.Sequential, network: str) -> nn.Sequential:
    place, _, last = HEADS[network].removesuffix(".").rpartition(".")
    setattr(classifier[1].get_submodule(place), last, nn.Identity())
    return classifier.eval()


def pictures(case: Published) -> torch.Tensor:
    size = (48, 40, 33) if case.spatial_dims == 3 else (64, 96)
    images = torch.rand(2, case.channels, *size, generator=torch.Generator().manual_seed(1))
    return images.clamp(min=0.2) - 0.2  # MedicalNet's statistics are those of voxels above zero


def test_a_file_gives_what_its_own_network_gives(saved: Saved) -> None:
    case, reference, path = saved.case, saved.reference, saved.path
    classifier = create_classifier(case.network, path, spatial_dims=case.spatial_dims)
    ours = without_head(classifier, case.network)
    images = pictures(case)
    with torch.no_grad():
        expected, got = reference(case.expects(images)), ours(images)
    scale = expected.abs().max()
    assert (expected[0] - expected[1]).abs().max() > 1e-3 * scale  # it looks at the image
    torch.testing.assert_close(got / scale, expected / scale, rtol=0, atol=1e-5)


def test_the_report_accounts_for_every_tensor_of_file_and_network(saved: Saved) -> None:
    case, weights = saved.case, read_weights(saved.path)
    converted, report = convert(weights, case.scheme, case.network, case.spatial_dims)
    text = "\n".join(report.tensors())
    assert not [name for name in weights if name not in text]
    network = create_network(
        case.network, case.spatial_dims, case.channels, architecture=architecture_of(converted)
    )
    told = {tensor.name for tensor in report.loaded} | set(report.random)
    unsaid = [n for n in network.state_dict() if n not in told and "num_batches_tracked" not in n]
    assert not [name for name in unsaid if not name.startswith("architecture_")]
    assert report.random and all(name.startswith(HEADS[case.network]) for name in report.random)
    assert sum(report.counts().values()) == len(report.tensors())
    assert ("flipped" in str(report)) == ("radimagenet" in case.scheme)
    assert ("folded" in str(report)) == (case.reference == "keras-resnet50")


def test_a_file_is_recognised_and_mutations_of_it_are_refused(saved: Saved) -> None:
    case, weights = saved.case, read_weights(saved.path)
    fitting = [(network, scheme) for network, scheme, _ in guess_scheme(weights) if scheme != "monai"]
    assert fitting == [(case.network, case.scheme)]

    def refusal(mutated: Weights) -> str:
        with pytest.raises(InputError) as caught:
            convert(mutated, case.scheme, case.network, case.spatial_dims, origin="file")
        assert "\n" not in str(caught.value)
        return str(caught.value)

    backbone = [n for n in weights if not re.search(r"(fc|classifier)\.|num_batches", n)]
    for name in (backbone[0], backbone[len(backbone) // 2], backbone[-1]):
        lacking = {other: tensor for other, tensor in weights.items() if other != name}
        assert re.search("missing from the file|has no bias", refusal(lacking))
        renamed = {**lacking, f"{name}x": weights[name]}
        assert re.search(rf"{re.escape(name)}x|has no bias|missing from", refusal(renamed))
        misshapen = {**weights, name: torch.zeros(3, 5)}
        assert re.search("of another shape|not in the network", refusal(misshapen))
    assert not guess_scheme(lacking) and not guess_scheme(misshapen)
    extra = "module.extra.weight" if case.scheme == "medicalnet" else "extra/kernel:0"
    assert "not in the network" in refusal({**weights, extra: torch.zeros(1)})


def test_what_names_and_shapes_do_not_tell_is_refused_by_a_marker(saved: Saved) -> None:
    """Keras' strides and MedicalNet's dilation: no tensor shows them, and they change what is computed."""
    case, weights = saved.case, read_weights(saved.path)
    converted = convert(weights, case.scheme, case.network, case.spatial_dims)[0]
    architecture = architecture_of(converted)
    usual = create_network(case.network, case.spatial_dims, case.channels, dropout=0.0).eval()
    if architecture == "standard":
        load_strictly(usual, converted, HEADS[case.network], "usual")
        return
    with pytest.raises(InputError, match=rf"architecture_{architecture}.* not in the network"):
        load_strictly(usual, converted, HEADS[case.network], "usual")
    special = create_network(case.network, case.spatial_dims, case.channels, architecture=architecture)
    bare = {name: tensor for name, tensor in converted.items() if not name.startswith("architecture_")}
    with pytest.raises(InputError, match=rf"architecture_{architecture} missing from the file"):
        load_strictly(special, bare, HEADS[case.network], "special")
    if case.network in ("resnet10", "resnet50"):  # the others differ in names or by an epsilon alone
        load_strictly(usual, bare, HEADS[case.network], "without its marker")
        images = case.expects(pictures(case))
        with torch.no_grad():
            expected = saved.reference(images)
            got = without_head(nn.Sequential(nn.Identity(), usual), case.network)(images.flip(1))
        assert (got - expected).abs().max() > 0.01 * expected.abs().max()


def test_medicalnet_without_its_prefix_is_not_taken_for_medicalnet(tmp_path: Path) -> None:
    """Such a file may be any 3D ResNet, with other strides and another input."""
    torch.save(reference_network("medicalnet-resnet10").state_dict(), tmp_path / "any.pth")
    with pytest.raises(InputError, match="says nothing of the input it expects"):
        create_classifier("resnet10", tmp_path / "any.pth", spatial_dims=3)


def test_weights_for_volumes_are_refused_for_images(tmp_path: Path) -> None:
    save_medicalnet(reference_network("medicalnet-resnet10"), tmp_path / "volumes.pth")
    with pytest.raises(InputError, match="spatial_dims: got 2, expected 3"):
        create_classifier("resnet10", tmp_path / "volumes.pth")


def test_two_names_for_one_tensor_are_refused() -> None:
    weights = reference_network("resnet10").state_dict()
    with pytest.raises(InputError, match=r"module\.conv1\.weight and conv1\.weight are both conv1\.weight"):
        convert({**weights, "module.conv1.weight": weights["conv1.weight"]}, "torchvision", "resnet10")


@pytest.mark.parametrize(
    ("scheme", "network", "message"),
    [
        ("torchvison", "resnet18", "scheme: 'torchvison' is unknown: did you mean 'torchvision'"),
        ("torchvision", "vit_b14", "scheme: torchvision has no vit_b14, expected one of: resnet10"),
        ("monai", "resnet", "network: 'resnet' is unknown"),
    ],
)
def test_an_unknown_scheme_or_network_is_refused(scheme: str, network: str, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        convert({}, scheme, network)


def test_keras_datasets_are_found_below_model_weights_as_well(tmp_path: Path) -> None:
    """A whole model that Keras saved holds the same layers one group further down."""
    layers = {"conv1/conv": nn.Conv2d(3, 4, 3), "conv1/bn": nn.BatchNorm2d(4), "bn": nn.BatchNorm2d(5)}
    save_keras(layers, tmp_path / "plain.h5")
    with h5py.File(tmp_path / "plain.h5") as plain, h5py.File(tmp_path / "model.h5", "w") as model:
        for layer in plain:
            plain.copy(layer, model.require_group("model_weights"))
    one, other = (read_weights(tmp_path / name) for name in ("plain.h5", "model.h5"))
    assert {"conv1/conv/kernel:0", "conv1/bn/gamma:0", "bn/gamma:0"} <= one.keys()
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


# Checkpoints


@pytest.mark.parametrize("scheme", ["torchvision", "radimagenet-keras", "medicalnet"])
def test_a_checkpoint_tells_what_classifier_it_is_of(scheme: str, tmp_path: Path) -> None:
    case = next(case for case in PUBLISHED if case.scheme == scheme)
    path = write(case, tmp_path)[1]
    trained = create_classifier(case.network, path, case.spatial_dims, num_classes=3).eval()
    again = classifier_of(trained.state_dict(), case.network).eval()
    images = pictures(case)
    with torch.no_grad():
        assert torch.equal(again(images), trained(images))
    with pytest.raises(InputError, match="no classifier with densenet121"):
        classifier_of(trained.state_dict(), "densenet121")


# DINOv2

TINY = {
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "mlp_ratio": 2,
    "image_size": 56,
    "patch_size": 14,
    "layerscale_value": 0.7,
}


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> object:
    """ViT-B/14 with two small layers instead of twelve: the same names and code."""
    monkeypatch.setattr(networks, "VIT_B14", TINY)
    conversion._shapes.cache_clear()
    yield
    conversion._shapes.cache_clear()


@pytest.mark.parametrize("wrapped", [False, True], ids=["model", "classifier"])
def test_dinov2_gives_what_transformers_give(tiny: object, wrapped: bool, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.Dinov2Config(**TINY)
    kind = transformers.Dinov2ForImageClassification if wrapped else transformers.Dinov2Model
    reference = kind(config).eval()
    with torch.no_grad():
        for parameter in reference.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    reference.save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    assert any("attention.attention.query" in name for name in weights)  # the hub's names
    entry = next(entry for entry in read_catalogue() if entry.source == "rad-dino")
    source = convert_entry(entry, weights, "rad-dino")
    assert source.weights is not None and source.report is not None
    assert [n for n in source.report.ignored if "mask_token" in n]
    network = create_network("vit_b14")
    load_strictly(network, source.weights, HEADS["vit_b14"], "rad-dino")
    classifier = nn.Sequential(source.normalisation.layer(2), network).eval()
    network.head = nn.Identity()
    grey = torch.rand(2, 1, 70, 42)
    mean, std = (torch.tensor(entry.normalisation[name])[:, None, None] for name in ("mean", "std"))
    with torch.no_grad():
        model = reference.dinov2 if wrapped else reference
        expected = model(pixel_values=(grey.expand(-1, 3, -1, -1) - mean) / std).last_hidden_state[:, 0]
        torch.testing.assert_close(classifier(grey), expected, rtol=0, atol=1e-5)
    with pytest.raises(InputError, match="not in the network"):
        convert_entry(entry, {**weights, "encoder.layer.9.norm1.bias": torch.zeros(24)}, "rad-dino")


def test_bare_dinov2_weights_could_be_those_of_two_sources(tiny: object, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    transformers.Dinov2Model(transformers.Dinov2Config(**TINY)).save_pretrained(tmp_path)
    with pytest.raises(InputError, match="expected the name of one of these sources: dinov2, rad-dino"):
        create_classifier("vit_b14", tmp_path / "model.safetensors")


def test_a_transformer_refuses_what_it_cannot_cut_into_patches(tiny: object) -> None:
    network = create_network("vit_b14")
    with pytest.raises(InputError, match="image_size: got 160 x 160, expected multiples of 14"):
        network(torch.zeros(1, 3, 160, 160))
    with pytest.raises(InputError, match="spatial_dims: got 3, expected 2"):
        create_network("vit_b14", spatial_dims=3)
