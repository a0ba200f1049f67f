"""Weight files are taken whole or refused in one line that says what is wrong with which file."""

from __future__ import annotations

import dataclasses
import os
import pickle
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from reference_networks import reference_network
from safetensors.torch import save_file

from srcmatters.errors import InputError
from srcmatters.sources import convert, create_classifier, load_source, network_facts, read_weights
from srcmatters.sources.catalogue import read_catalogue
from srcmatters.sources.entry import Entry
from srcmatters.sources.normalisation import IMAGENET
from srcmatters.sources.schemes import SCHEMES
from srcmatters.sources.source import convert_entry

Weights = dict[str, torch.Tensor]

# In the naming of the files: a tensor of the backbone, another one of another shape, and the head.
TENSORS = {
    "efficientnet_lite0": ("_blocks.7._bn1.weight", "_conv_stem.weight", "_fc."),
    "resnet18": ("layer3.0.downsample.1.running_mean", "conv1.weight", "fc."),
    "resnet50": ("layer3.5.bn3.bias", "conv1.weight", "fc."),
    "densenet121": ("features.denseblock2.denselayer7.norm2.weight", "features.conv0.weight", "classifier."),
}


HEADS = {network: network_facts.HEADS[network] for network in TENSORS}
SCHEME = {"efficientnet_lite0": "efficientnet-pytorch"}


def our_name(name: str, network: str) -> str | None:
    return SCHEMES[SCHEME.get(network, "torchvision")].renaming[network](name)


@cache
def shapes(network: str) -> dict[str, tuple[torch.Size, torch.dtype]]:
    weights = reference_network(network).state_dict()
    return {name: (tensor.shape, tensor.dtype) for name, tensor in weights.items()}


def hollow(network: str) -> Weights:
    """A state dict of the right names and shapes that takes no room on disk."""
    return {name: torch.ones((), dtype=kind).expand(shape) for name, (shape, kind) in shapes(network).items()}


@pytest.fixture
def saved(tmp_path: Path) -> Callable[[object], Path]:
    def save(content: object, name: str = "weights.pth") -> Path:
        torch.save(content, tmp_path / name)
        return tmp_path / name

    return save


def refusal(network: str, path: Path) -> str:
    """The one line that refuses a file."""
    with pytest.raises(InputError) as caught:
        create_classifier(network, path)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    return message


# Mutations of a good file


@pytest.mark.parametrize("network", list(HEADS))
def test_a_whole_file_is_loaded(network: str, saved: Callable[[object], Path]) -> None:
    classifier = create_classifier(network, saved(hollow(network)))
    backbone = {name: t for name, t in classifier[1].state_dict().items() if HEADS[network] not in name}
    assert backbone
    assert all((tensor == 1).all() for tensor in backbone.values())


@pytest.mark.parametrize("network", list(HEADS))
def test_a_missing_tensor_is_refused_by_name(network: str, saved: Callable[[object], Path]) -> None:
    name = TENSORS[network][0]
    weights = hollow(network)
    del weights[name]
    assert f"{our_name(name, network)} missing from the file" in refusal(network, saved(weights))


@pytest.mark.parametrize("network", list(HEADS))
def test_a_renamed_tensor_is_refused_by_both_names(network: str, saved: Callable[[object], Path]) -> None:
    name = TENSORS[network][1]
    weights = hollow(network)
    weights["renamed.weight"] = weights.pop(name)
    message = refusal(network, saved(weights))
    assert f"{name} missing from the file" in message
    assert "renamed.weight not in the network" in message


@pytest.mark.parametrize("network", ["efficientnet_lite0", "resnet18"])
def test_a_tensor_too_many_is_refused_by_name(network: str, saved: Callable[[object], Path]) -> None:
    weights = {**hollow(network), "attention.weight": torch.zeros(1)}
    assert "attention.weight not in the network" in refusal(network, saved(weights))


@pytest.mark.parametrize("network", list(HEADS))
def test_a_tensor_of_another_shape_is_refused_by_name(network: str, saved: Callable[[object], Path]) -> None:
    name = TENSORS[network][1]
    weights = {**hollow(network), name: torch.zeros(())}
    assert f"{name} of another shape" in refusal(network, saved(weights))


def test_a_shape_that_would_broadcast_is_refused(saved: Callable[[object], Path]) -> None:
    """A (64, 1, 7, 7) stem could be stretched over three channels; it is the stem of grey images."""
    weights = {**hollow("resnet18"), "conv1.weight": torch.zeros(64, 1, 7, 7)}
    with pytest.raises(InputError, match=r"conv1\.weight of another shape"):
        convert(weights, "torchvision", "resnet18")
    assert "says nothing of the input it expects" in refusal("resnet18", saved(weights))


@pytest.mark.parametrize(("network", "other"), [("resnet18", "resnet50"), ("resnet50", "resnet18")])
def test_weights_of_a_relative_are_refused(network: str, other: str, saved: Callable[[object], Path]) -> None:
    assert "the weights are those of another network" in refusal(network, saved(hollow(other)))


def test_many_tensors_that_do_not_fit_still_give_a_short_line(saved: Callable[[object], Path]) -> None:
    assert len(refusal("resnet18", saved(hollow("densenet121")))) < 500


# What may differ


@pytest.mark.parametrize("network", ["efficientnet_lite0", "densenet121"])
@pytest.mark.parametrize("classes", [None, 14, 1000])
def test_the_head_of_the_file_is_not_asked_for(
    network: str, classes: int | None, saved: Callable[[object], Path]
) -> None:
    head = TENSORS[network][2]
    weights = {name: tensor for name, tensor in hollow(network).items() if not name.startswith(head)}
    if classes is not None:
        weights |= {
            f"{head}weight": torch.full((classes, 7), 9.0),
            f"{head}bias": torch.full((classes,), 9.0),
        }
    classifier = create_classifier(network, saved(weights), num_classes=2)
    module = classifier[1].get_submodule(HEADS[network].removesuffix("."))
    assert module.weight.shape[0] == 2
    assert module.weight.abs().max() < 1  # random, not the file's


def _prefixed(weights: Weights) -> Weights:
    return {f"module.{name}": tensor for name, tensor in weights.items()}


def _without_counters(weights: Weights) -> Weights:
    return {name: tensor for name, tensor in weights.items() if not name.endswith("num_batches_tracked")}


def _half(weights: Weights) -> Weights:
    return {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in weights.items()}


@pytest.mark.parametrize("network", ["efficientnet_lite0", "resnet18"])
@pytest.mark.parametrize(
    "variant",
    [
        _prefixed,
        _without_counters,
        _half,
        lambda weights: {"state_dict": weights, "epoch": 90, "arch": "any"},
        lambda weights: {"state_dict": _prefixed(weights)},
    ],
    ids=["data-parallel", "before-0.4", "half-precision", "checkpoint", "data-parallel-checkpoint"],
)
def test_ways_of_saving_the_same_weights_are_the_same_source(
    network: str, variant: Callable[[Weights], object], saved: Callable[[object], Path]
) -> None:
    classifier = create_classifier(network, saved(variant(hollow(network))))
    plain = create_classifier(network, saved(hollow(network)))
    for (name, got), expected in zip(
        classifier.state_dict().items(), plain.state_dict().values(), strict=True
    ):
        assert got.dtype == expected.dtype
        if not (variant is _without_counters and name.endswith("num_batches_tracked")):
            assert torch.equal(got, expected), name


def test_densenets_old_names_are_the_same_tensors() -> None:
    """torchvision's own files write norm.1 where the network says norm1."""
    weights = reference_network("densenet121").state_dict()
    old = {}
    for name, tensor in weights.items():
        for part in ("norm", "conv"):
            for number in "12":
                name = name.replace(f"{part}{number}.", f"{part}.{number}.") if "denselayer" in name else name
        old[name] = tensor
    assert sum(name not in weights for name in old) == 58 * 12
    renamed, expected = (convert(w, "torchvision", "densenet121")[0] for w in (old, weights))
    assert renamed.keys() == expected.keys()
    assert all(torch.equal(renamed[name], expected[name]) for name in expected)


def test_safetensors_and_pth_are_the_same_source(tmp_path: Path, saved: Callable[[object], Path]) -> None:
    weights = reference_network("efficientnet_lite0", seed=3).state_dict()
    save_file(weights, tmp_path / "weights.safetensors")
    one = load_source(tmp_path / "weights.safetensors", "efficientnet_lite0")
    other = load_source(saved(weights), "efficientnet_lite0")
    assert one.name == other.name == "weights"
    assert one.normalisation == other.normalisation == IMAGENET
    assert one.weights is not None and other.weights is not None
    assert one.weights.keys() == other.weights.keys()
    assert all(torch.equal(one.weights[name], other.weights[name]) for name in one.weights)


# Files that are not weights


class _Malicious:
    """Leaves a trace when it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Callable[..., int], tuple[str]]:
        return os.system, (f"touch {self.trace}",)


@pytest.mark.parametrize("how", ["zip", "legacy", "pickle"])
def test_a_file_that_would_run_code_is_refused_unrun(how: str, tmp_path: Path) -> None:
    trace, path = tmp_path / "trace", tmp_path / "malicious.pth"
    content = {**hollow("resnet18"), "conv1.weight": _Malicious(trace)}
    if how == "pickle":
        path.write_bytes(pickle.dumps(_Malicious(trace), protocol=2))
        pickle.loads(path.read_bytes())
    else:
        torch.save(content, path, _use_new_zipfile_serialization=how == "zip")
        torch.load(path, weights_only=False)
    assert trace.exists()  # it is malicious
    trace.unlink()
    message = refusal("resnet18", path)
    assert not trace.exists()
    assert "weights_only" not in message  # torch's advice to run it after all


def _truncated(path: Path) -> None:
    torch.save(reference_network("efficientnet_lite0").state_dict(), path)
    os.truncate(path, path.stat().st_size // 2)


def _truncated_safetensors(path: Path) -> None:
    save_file({"conv1.weight": torch.ones(100)}, path)
    os.truncate(path, path.stat().st_size // 2)


BROKEN: dict[str, Callable[[Path], object]] = {
    "truncated.pth": _truncated,
    "truncated.safetensors": _truncated_safetensors,
    "page.pth": lambda path: path.write_text("<!DOCTYPE html>\n<html><body>404</body></html>\n"),
    "page.safetensors": lambda path: path.write_text("<!DOCTYPE html>\n<html><body>404</body></html>\n"),
    "note.pth": lambda path: path.write_text("hello\nworld\n"),  # a KeyError inside torch
    "zeros.pth": lambda path: path.write_bytes(bytes(1000)),
    "empty.pth": lambda path: path.touch(),
    "empty.safetensors": lambda path: path.touch(),
    "module.pth": lambda path: torch.save(torch.nn.Linear(2, 2), path),
    "list.pth": lambda path: torch.save([torch.ones(1)], path),
    "nothing.pth": lambda path: torch.save({}, path),
    "numbers.pth": lambda path: torch.save({0: torch.ones(1)}, path),
    "nested.pth": lambda path: torch.save({"deep": {"conv1.weight": torch.ones(1)}}, path),
}


@pytest.mark.parametrize("name", list(BROKEN))
def test_what_is_no_weight_file_is_refused_in_one_line_that_names_it(name: str, tmp_path: Path) -> None:
    BROKEN[name](tmp_path / name)
    message = refusal("resnet18", tmp_path / name)
    assert message.startswith(f"{tmp_path / name}: ")
    assert "weights_only" not in message


@pytest.mark.parametrize("percent", range(0, 100, 5))
def test_a_download_that_stopped_anywhere_is_refused(percent: int, tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save({"a": torch.ones(4)}, path, _use_new_zipfile_serialization=False)
    assert read_weights(path).keys() == {"a"}
    os.truncate(path, path.stat().st_size * percent // 100)
    with pytest.raises(InputError, match=r"weights\.pth: not a readable weight file"):
        read_weights(path)


# Names of sources


@pytest.mark.parametrize(
    ("source", "network", "message"),
    [
        ("imagnet", "efficientnet_lite0", "imagnet is neither .* weight file: did you mean 'imagenet'"),
        (
            "missing/weights.pth",
            "resnet18",
            "missing/weights.pth is neither a known source nor a weight file",
        ),
        ("imagenet", "resnet10", "imagenet has no weights for resnet10, expected --network"),
        ("imagenet", "densenet21", "network: 'densenet21' is unknown: did you mean 'densenet121'"),
        ("random", "alexnet", "network: 'alexnet' is unknown"),
    ],
)
def test_an_unknown_source_is_refused_with_what_would_do(source: str, network: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_source(source, network)


def test_a_folder_is_no_source(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="neither a known source nor a weight file"):
        load_source(tmp_path, "resnet18")


# Entries of the catalogue


def test_random_needs_no_weights_and_is_normalised_as_imagenet() -> None:
    source = load_source("random", "resnet18")
    assert source.weights is None
    assert source.normalisation == IMAGENET


def catalogued(source: str, network: str = "resnet18") -> Entry:
    return next(entry for entry in read_catalogue() if (entry.source, entry.network) == (source, network))


def changed(entry: Entry, field: str, value: object) -> Entry:
    if field in ("kind", "mean", "std", "channel_order"):
        return dataclasses.replace(entry, normalisation={**entry.normalisation, field: value})
    changes: dict[str, Any] = {field: value}
    return dataclasses.replace(entry, **changes)


def test_a_right_entry_loads_its_file() -> None:
    source = convert_entry(catalogued("imagenet"), hollow("resnet18"), "imagenet")
    assert source.name == "imagenet-resnet18"
    assert source.normalisation == IMAGENET
    assert source.architecture == "standard"


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("kind", "fixd", "normalisation.kind: 'fixd' is unknown: did you mean 'fixed'"),
        ("kind", "zscore_positive", "normalisation.channel_order: got RGB, expected grey"),
        (
            "channel_order",
            "rgb",
            "normalisation.channel_order: 'rgb' is unknown, expected one of: RGB, BGR, grey",
        ),
        ("channel_order", "BGR", "normalisation.channel_order: got BGR, expected RGB of files in the scheme"),
        ("channel_order", "grey", "normalisation.mean: got 3 values, expected 1"),
        ("mean", [0.5], "normalisation.mean: got 1 values, expected 3"),
        ("mean", None, "normalisation.mean: got None values, expected 3"),
        ("std", [0.2, 0.2, 0.2, 0.2], "normalisation.std: got 4 values, expected 3"),
        ("std", [0.2, 0.0, 0.2], "normalisation.std: got 0.0, expected numbers above 0"),
        ("mean", [0.5, float("nan"), 0.5], "normalisation.mean: .* expected finite numbers"),
        ("channels", 1, "channels: got 1, expected 3 by its normalisation"),
        ("spatial_dims", 3, "spatial_dims: got 3, expected 2 by scheme torchvision"),
        ("scheme", "torchvisoin", "scheme: 'torchvisoin' is unknown: did you mean 'torchvision'"),
        ("scheme", "medicalnet", "channel_order: got RGB, expected grey of files in the scheme medicalnet"),
        ("network", "resnet34", "imagenet into resnet34: the weights are those of another network"),
    ],
)
def test_an_entry_that_contradicts_itself_or_its_file_is_refused(
    field: str, value: object, message: str
) -> None:
    entry = changed(catalogued("imagenet"), field, value)
    with pytest.raises(InputError, match=message):
        convert_entry(entry, hollow("resnet18"), "imagenet")


def test_a_grey_entry_of_a_colour_file_is_refused() -> None:
    """A file in our own naming tells its channels by its first kernel alone."""
    entry = changed(catalogued("imagenet"), "scheme", "monai")
    grey = {"kind": "fixed", "channel_order": "grey", "mean": [0.5], "std": [0.5]}
    entry = dataclasses.replace(entry, channels=1, normalisation=grey)
    with pytest.raises(InputError, match="channels: got 1, expected 3 by the first kernel of its file"):
        convert_entry(entry, hollow("resnet18"), "own")
