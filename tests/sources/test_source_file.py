"""A source file: tensors and entry together, there whole or not at all."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from srcmatters.errors import InputError
from srcmatters.sources import create_classifier, create_network
from srcmatters.sources.catalogue import read_catalogue
from srcmatters.sources.entry import Entry
from srcmatters.sources.source_file import read_source_entry, write_source

ENTRY = dataclasses.replace(
    next(entry for entry in read_catalogue() if entry.name == "imagenet-resnet18"),
    name="ours",
    source="ours",
    scheme="monai",
    trained_on="a few images",
    training={"classes": ["a", "b"], "epochs": 3, "metrics": {"accuracy": 0.5}, "command": "python -m x"},
)


def backbone() -> dict[str, torch.Tensor]:
    torch.manual_seed(3)
    return create_network("resnet18").state_dict()


def test_what_is_written_is_what_is_read(tmp_path: Path) -> None:
    weights = backbone()
    path = write_source(tmp_path / "new" / "ours.safetensors", ENTRY, weights)
    read = load_file(path)
    assert read.keys() == {name for name in weights if not name.startswith("fc.")}
    assert all(torch.equal(read[name], weights[name]) for name in read)
    assert read_source_entry(path) == dataclasses.replace(ENTRY, location={"file": str(path)}, sha256=None)
    assert [file.name for file in path.parent.iterdir()] == ["ours.safetensors"]


def test_a_source_file_is_a_source_and_brings_its_normalisation(tmp_path: Path) -> None:
    fixed = {"kind": "fixed", "channel_order": "RGB", "mean": [0.1, 0.2, 0.3], "std": [1, 2, 4]}
    entry = dataclasses.replace(ENTRY, normalisation=fixed)
    weights = backbone()
    path = write_source(tmp_path / "ours.safetensors", entry, weights)
    classifier = create_classifier("resnet18", path).eval()
    network = create_network("resnet18").eval()
    network.load_state_dict(
        {**weights, **{n: t for n, t in classifier[1].state_dict().items() if "fc." in n}}
    )
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    mean, std = torch.tensor([0.1, 0.2, 0.3]), torch.tensor([1.0, 2.0, 4.0])
    with torch.no_grad():
        expected = network((images - mean[:, None, None]) / std[:, None, None])
        torch.testing.assert_close(classifier(images), expected, rtol=1e-6, atol=1e-6)


def test_tensors_that_share_memory_are_written(tmp_path: Path) -> None:
    whole = torch.arange(6.0).reshape(2, 3)
    path = write_source(tmp_path / "ours.safetensors", ENTRY, {"a": whole.t(), "b": whole[0]})
    read = load_file(path)
    assert torch.equal(read["a"], whole.t()) and torch.equal(read["b"], whole[0])


def test_numbers_of_numpy_and_paths_may_describe_a_training(tmp_path: Path) -> None:
    training = {"accuracy": np.float32(0.5), "epochs": np.int64(3), "dataset": Path("data")}
    entry = dataclasses.replace(ENTRY, training=training)
    read = read_source_entry(write_source(tmp_path / "ours.safetensors", entry, {"a": torch.ones(1)}))
    assert read is not None and read.training == {"accuracy": 0.5, "epochs": 3, "dataset": "data"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scheme": "torchvision"}, "scheme: got torchvision, expected monai"),
        ({"network": "resnet19"}, "network: got 'resnet19', expected one of"),
        ({"network": "any"}, "network: got any, expected one of"),
        ({"channels": 2}, "channels: got 2, expected 1 or 3"),
        ({"normalisation": {"kind": "fixed", "channel_order": "RGB"}}, "normalisation: mean, std missing"),
    ],
)
def test_a_wrong_entry_is_not_written(change: dict[str, object], message: str, tmp_path: Path) -> None:
    entry: Entry = dataclasses.replace(ENTRY, **change)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=message):
        write_source(tmp_path / "ours.safetensors", entry, {"a": torch.ones(1)})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"fc.weight": torch.ones(2)}, "no tensor besides the head"),
        ({"a": torch.ones(2), "b": torch.tensor([1, float("nan")])}, "b holds NaN"),
    ],
)
def test_weights_of_no_use_are_not_written(
    weights: dict[str, torch.Tensor], message: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=message):
        write_source(tmp_path / "ours.safetensors", ENTRY, weights)
    assert not list(tmp_path.iterdir())


def test_a_failed_write_leaves_the_earlier_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_source(tmp_path / "ours.safetensors", ENTRY, {"a": torch.ones(1)})
    before = path.read_bytes()

    def full(tensors: object, file: Path, metadata: object) -> None:
        file.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("safetensors.torch.save_file", full)
    with pytest.raises(InputError, match=r"cannot be written .*No space left"):
        write_source(path, ENTRY, {"a": torch.zeros(1)})
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_other_files_hold_no_entry(tmp_path: Path) -> None:
    save_file({"a": torch.ones(1)}, tmp_path / "plain.safetensors", metadata={"format": "pt"})
    torch.save({"a": torch.ones(1)}, tmp_path / "plain.pth")
    assert read_source_entry(tmp_path / "plain.safetensors") is None
    assert read_source_entry(tmp_path / "plain.pth") is None


@pytest.mark.parametrize(
    ("content", "message"),
    [("{", "its entry is not JSON"), ("{}", "missing"), (json.dumps([1]), "is not of type 'object'")],
)
def test_a_foreign_entry_is_checked_like_one_of_the_catalogue(
    content: str, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "odd.safetensors"
    save_file({"a": torch.ones(1)}, path, metadata={"srcmatters_source": content})
    with pytest.raises(InputError, match=message) as caught:
        read_source_entry(path)
    assert str(caught.value).startswith(f"{path}: ")
