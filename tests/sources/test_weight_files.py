"""Weight files: every format gives the same tensors; damaged, lying and malicious ones are refused unread."""

from __future__ import annotations

import gzip
import os
import pickle
import sys
import tarfile
import types
import zipfile
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from srcmatters.errors import InputError
from srcmatters.sources.weight_files import file_format, read_weights

WEIGHTS = {
    "conv/kernel:0": torch.arange(24.0).reshape(2, 3, 4),
    "conv/bias:0": torch.tensor([0.5, -1.0]),
    "bn/moving_mean:0": torch.zeros(2),
}


def save_keras(path: Path, prefix: str = "", repeated: bool = True) -> None:
    """As Keras 2 does: each layer's group holds a group of its name again."""
    with h5py.File(path, "w") as file:
        for name, tensor in WEIGHTS.items():
            layer, weight = name.split("/")
            file[f"{prefix}{layer}/{f'{layer}/' if repeated else ''}{weight}"] = tensor.numpy()


def refusal(path: Path) -> str:
    """The one line that refuses a file."""
    with pytest.raises(InputError) as caught:
        read_weights(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message


# Formats

FORMATS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "zip.pth": ("PyTorch", lambda path: torch.save(WEIGHTS, path)),
    "legacy.pth": (
        "PyTorch before 1.6",
        lambda path: torch.save(WEIGHTS, path, _use_new_zipfile_serialization=False),
    ),
    "checkpoint.pth.tar": ("PyTorch", lambda path: torch.save({"epoch": 3, "state_dict": WEIGHTS}, path)),
    "any.safetensors": ("safetensors", lambda path: save_file(WEIGHTS, path)),
    "renamed.bin": ("safetensors", lambda path: save_file(WEIGHTS, path)),
    "weights.h5": ("Keras HDF5", save_keras),
    "flat.hdf5": ("Keras HDF5", lambda path: save_keras(path, repeated=False)),
    "model.h5": ("Keras HDF5", lambda path: save_keras(path, "model_weights/")),
    "nested.h5": ("Keras HDF5", lambda path: save_keras(path, "model_weights/resnet50/", repeated=False)),
}


@pytest.mark.parametrize("name", list(FORMATS))
def test_the_same_weights_in_every_format_are_the_same_tensors(name: str, tmp_path: Path) -> None:
    expected, save = FORMATS[name]
    save(tmp_path / name)
    read = read_weights(tmp_path / name)
    assert read.keys() == WEIGHTS.keys()
    assert all(torch.equal(read[key], WEIGHTS[key]) for key in WEIGHTS)
    assert file_format(tmp_path / name) == expected


def test_keras_numbers_of_another_byte_order_and_its_optimiser(tmp_path: Path) -> None:
    path = tmp_path / "trained.h5"
    with h5py.File(path, "w") as file:
        file["model_weights/conv/conv/kernel:0"] = np.array([1.5, 2.5], ">f4")
        file["optimizer_weights/Adam/conv/kernel/m:0"] = np.array([9.0])
        file.attrs["model_config"] = "__import__('os').abort()"
    read = read_weights(path)
    assert read.keys() == {"conv/kernel:0"}
    assert read["conv/kernel:0"].tolist() == [1.5, 2.5]


def test_compressed_keras_weights_are_read(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=(64, 64)).astype(np.float32)
    with h5py.File(tmp_path / "packed.h5", "w") as file:
        file.create_dataset("conv/kernel:0", data=values, compression="gzip")
        file.create_dataset("conv/bias:0", data=np.zeros(4096), compression="gzip")
    assert torch.equal(read_weights(tmp_path / "packed.h5")["conv/kernel:0"], torch.from_numpy(values))


# A network that was pickled whole: torchxrayvision's


def published_network(monkeypatch: pytest.MonkeyPatch) -> nn.Module:
    """A little network of the classes that torchxrayvision's file names; they exist in this test only."""
    module = types.ModuleType("torchxrayvision.models")
    for name in ("DenseNet", "_DenseBlock"):
        cls = type(name, (nn.Sequential,), {"__module__": module.__name__, "__qualname__": name})
        setattr(module, name, cls)
    monkeypatch.setitem(sys.modules, "torchxrayvision", types.ModuleType("torchxrayvision"))
    monkeypatch.setitem(sys.modules, "torchxrayvision.models", module)
    network = module.DenseNet()
    network.add_module("features", nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU()))
    network.features.add_module("denseblock1", module._DenseBlock(nn.Conv2d(2, 2, 1, bias=False)))
    network.add_module("classifier", nn.Linear(2, 18))
    return network


def test_a_published_pickled_network_gives_its_state_dict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "network.pt"
    with monkeypatch.context() as context:
        network = published_network(context)
        torch.save(network, path)
    assert "torchxrayvision.models" not in sys.modules
    read, expected = read_weights(path), network.state_dict()
    assert read.keys() == expected.keys()
    assert all(torch.equal(read[name], expected[name]) for name in expected)


@pytest.mark.filterwarnings("ignore:Couldn't retrieve source code")
def test_a_network_that_an_old_pytorch_pickled_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "network.pt"
    with monkeypatch.context() as context:
        torch.save(published_network(context), path, _use_new_zipfile_serialization=False)
    assert "a whole network that PyTorch before 1.6 pickled" in refusal(path)


def test_code_within_a_pickled_network_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, trace = tmp_path / "network.pt", tmp_path / "trace"
    with monkeypatch.context() as context:
        network = published_network(context)
        network.op_threshs = _Touch(trace)  # type: ignore[assignment]
        torch.save(network, path)
        torch.load(path, weights_only=False)
    assert trace.exists()  # it is malicious
    trace.unlink()
    assert "something other than tensors" in refusal(path)
    assert not trace.exists()


def test_another_pickled_network_is_refused(tmp_path: Path) -> None:
    torch.save(nn.Sequential(nn.Linear(2, 2)), tmp_path / "network.pt")
    assert "holds a Sequential, expected a state dict" in refusal(tmp_path / "network.pt")


class _Touch:
    """Leaves a trace when it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Callable[..., int], tuple[str]]:
        return os.system, (f"touch {self.trace}",)


# What is no weight file


def _tar(path: Path) -> None:
    torch.save(WEIGHTS, path.with_name("inner.pth"))
    with tarfile.open(path, "w") as archive:
        archive.add(path.with_name("inner.pth"), "inner.pth")


def _zip_of_files(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("RadImageNet_pytorch/ResNet50.pt", b"weights")


def _script(path: Path) -> None:
    torch.jit.save(torch.jit.script(nn.Linear(2, 2)), path)


def _truncated_keras(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["conv/kernel:0"] = np.random.default_rng(0).normal(size=10000)
    os.truncate(path, path.stat().st_size // 2)


OTHER: dict[str, tuple[Callable[[Path], object], str]] = {
    "folder.pth": (lambda path: path.mkdir(), "it is a folder"),
    "missing.pth": (lambda path: None, "No such file"),
    "empty.h5": (lambda path: path.touch(), "it is empty"),
    "page.pth": (lambda path: path.write_text("<!DOCTYPE html>\n<html>"), "it is a web page"),
    "indented.h5": (lambda path: path.write_bytes(b"\xef\xbb\xbf\n  <HTML><head>"), "it is a web page"),
    "error.safetensors": (lambda path: path.write_text('<?xml version="1.0"?><Error>'), "it is a web page"),
    "model.tar": (_tar, "it is a tar archive: unpack it"),
    "model.pth.gz": (lambda path: path.write_bytes(gzip.compress(b"x" * 100)), "compressed with gzip"),
    "RadImageNet.zip": (_zip_of_files, "other files (RadImageNet_pytorch/ResNet50.pt): unpack it"),
    "program.pt": (_script, "it is a TorchScript program"),
    "half.h5": (_truncated_keras, "not a readable weight file"),
    "note.pth": (lambda path: path.write_text("hello"), "no weight file at all"),
    "list.pth": (lambda path: torch.save([torch.ones(1)], path), "holds a list"),
}


@pytest.mark.parametrize("name", list(OTHER))
def test_what_is_no_weight_file_is_refused_for_what_it_is(name: str, tmp_path: Path) -> None:
    make, reason = OTHER[name]
    make(tmp_path / name)
    assert reason in refusal(tmp_path / name)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("kind", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
def test_a_tensor_that_is_not_finite_is_named(value: float, kind: torch.dtype, tmp_path: Path) -> None:
    broken = torch.zeros(5, dtype=kind)
    path = tmp_path / "diverged.pth"
    torch.save({"good": broken.clone(), "bad": broken.index_fill(0, torch.tensor([3]), value)}, path)
    assert "bad holds NaN or infinite values" in refusal(path)


# What claims more than it is


def rewritten(
    path: Path, change: Callable[[str, bytes], bytes] = lambda name, data: data, **how: int
) -> None:
    """Write a PyTorch archive anew with other members or compression."""
    with zipfile.ZipFile(path) as archive:
        members = {member.filename: archive.read(member) for member in archive.infolist()}
    with zipfile.ZipFile(path, "w", how.get("compression", zipfile.ZIP_STORED)) as archive:
        for name, data in members.items():
            archive.writestr(name, change(name, data))


def test_a_compressed_archive_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "bomb.pth"
    torch.save({"a": torch.zeros(4_000_000)}, path)
    rewritten(path, compression=zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 100_000
    assert "its members are compressed" in refusal(path)


def test_members_that_overlap_are_refused(tmp_path: Path) -> None:
    """The directory of the archive points to one block of values again and again."""
    path = tmp_path / "bomb.pth"
    torch.save({"a": torch.zeros(10_000)}, path)
    with zipfile.ZipFile(path, "a") as archive:
        big = next(member for member in archive.infolist() if member.file_size == 40_000)
        for number in range(5):
            copy = zipfile.ZipInfo(f"archive/data/{number + 100}")
            copy.file_size = copy.compress_size = big.file_size
            copy.header_offset, copy.CRC = big.header_offset, big.CRC
            archive.filelist.append(copy)
        archive._didModify = True  # type: ignore[attr-defined]
    assert "its members claim" in refusal(path)


def test_a_tensor_with_more_values_than_the_file_is_refused(tmp_path: Path) -> None:
    """PyTorch believes the number in the pickle: it would read whatever lies behind in memory."""
    path = tmp_path / "greedy.pth"
    torch.save({"a": torch.zeros(1000)}, path)
    few, many = (pickle.dumps(number, protocol=2)[2:-1] for number in (1000, 60000))
    assert len(few) == len(many) == 3
    rewritten(path, lambda name, data: data.replace(few, many) if name.endswith("data.pkl") else data)
    refusal(path)


def test_a_value_repeated_without_end_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "repeated.pth"
    torch.save({"a": torch.zeros(1).expand(40_000, 40_000)}, path)
    assert path.stat().st_size < 10_000
    assert "take 6.0 GiB, expected at most 4" in refusal(path)


# HDF5 that reaches out, or lies


def _soft(file: h5py.File) -> None:
    file["conv/bias:0"] = h5py.SoftLink("/conv/kernel:0")


def _external_link(file: h5py.File) -> None:
    file["conv/bias:0"] = h5py.ExternalLink("secret.h5", "/secret")


def _external_values(file: h5py.File) -> None:
    file.create_dataset("conv/bias:0", (4,), "u1", external=[("secret.txt", 0, 4)])


def _virtual(file: h5py.File) -> None:
    layout = h5py.VirtualLayout((4,), "f4")
    layout[:] = h5py.VirtualSource("secret.h5", "secret", (4,))
    file.create_virtual_dataset("conv/bias:0", layout)


def _cycle(file: h5py.File) -> None:
    file["conv/again"] = file["conv"]


def _text(file: h5py.File) -> None:
    file["conv/bias:0"] = ["words"]


def _empty_claim(file: h5py.File) -> None:
    file.create_dataset("conv/bias:0", (1 << 40,), "f4", chunks=(1 << 20,))


def _compressed_claim(file: h5py.File) -> None:
    data = file.create_dataset("conv/bias:0", (1 << 34,), "f4", chunks=(1 << 20,), compression="gzip")
    data[:10] = 1


def _same_names(file: h5py.File) -> None:
    file["other/conv/kernel:0"] = [1.0]


HDF5: dict[str, tuple[Callable[[h5py.File], None], str]] = {
    "soft link": (_soft, "conv/bias:0: a link to somewhere else"),
    "external link": (_external_link, "conv/bias:0: a link to somewhere else"),
    "external values": (_external_values, "conv/bias:0: its values lie in another file"),
    "virtual": (_virtual, "conv/bias:0: its values lie in another file"),
    "cycle": (_cycle, "groups within groups without end"),
    "text": (_text, "conv/bias:0: holds object, expected numbers"),
    "nothing behind a claim": (_empty_claim, "claims 4398046511104 bytes and holds none"),
    "little behind a claim": (_compressed_claim, "claim far more than the"),
    "two of a name": (_same_names, "two weights are called conv/kernel:0"),
}


@pytest.mark.parametrize("name", list(HDF5))
def test_hdf5_that_leaves_the_file_or_lies_is_refused(name: str, tmp_path: Path) -> None:
    change, reason = HDF5[name]
    (tmp_path / "secret.txt").write_bytes(b"word")
    with h5py.File(tmp_path / "secret.h5", "w") as file:
        file["secret"] = np.ones(4, "f4")
    with h5py.File(tmp_path / "odd.h5", "w") as file:
        file["conv/kernel:0"] = np.ones(3, "f4")
        change(file)
    assert reason in refusal(tmp_path / "odd.h5")
