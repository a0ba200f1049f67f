"""Weight files of any format, read so that a damaged or malicious one does no harm."""

from __future__ import annotations

import tarfile
import warnings
import zipfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from srcmatters.errors import InputError
from srcmatters.sources.checkpoint_layouts import nested_state
from srcmatters.sources.download import LARGEST_WEIGHTS, looks_like_a_page
from srcmatters.sources.keras_files import HDF5_SIGNATURE, Unusable, read_keras
from srcmatters.sources.module_files import STAND_INS, is_published_network, state_of

Weights = dict[str, torch.Tensor]

_GZIP, _ZIP, _PICKLE = b"\x1f\x8b", b"PK\x03\x04", b"\x80"


def read_weights(path: Path) -> Weights:
    """Read the tensors of a weight file without ever running code that is in it.

    What the file is is told by its first bytes, not by its name: PyTorch's (.pth, .pt, .tar, .bin),
    safetensors, or Keras' HDF5 (.h5), whose tensors are called "layer/weight" ("conv1_conv/kernel:0").

    Args:
        path: the file.

    Returns:
        Tensors by the names in the file, on the CPU; a state dict that a training framework nested is taken
        out (:func:`srcmatters.sources.checkpoint_layouts.nested_state`).

    Raises:
        InputError: the file is missing, empty, truncated, a web page, compressed, holds code, claims more
            than it holds or more than 4 GiB, is not a mapping of tensors, or a tensor holds NaN or infinity.
    """
    try:
        content = _reader(path)(path)
    except Unusable as error:
        raise InputError(f"{path}: not a readable weight file ({error})") from error
    except Exception as error:  # a damaged file makes the unpickler stumble over anything, KeyErrors included
        raise InputError(f"{path}: not a readable weight file ({_reason(error)})") from error
    content = nested_state(content)
    if not isinstance(content, Mapping) or not content:
        raise InputError(f"{path}: holds a {type(content).__name__}, expected a state dict of tensors")
    for name, tensor in content.items():
        if not isinstance(name, str) or not isinstance(tensor, torch.Tensor):
            raise InputError(f"{path}: {name!r} is a {type(tensor).__name__}, expected a tensor with a name")
    _check_values(path, content)
    return dict(content)


def file_format(path: Path) -> str:
    """What a file is by its first bytes: "safetensors", "Keras HDF5", "PyTorch" or "PyTorch before 1.6".

    Raises:
        InputError: none of these; the message says what it looks like.
    """
    names: dict[Callable[[Path], Any], str] = {
        load_file: "safetensors",
        read_keras: "Keras HDF5",
        _read_archive: "PyTorch",
        _read_pickle: "PyTorch before 1.6",
    }
    try:
        return names[_reader(path)]
    except Unusable as error:
        raise InputError(f"{path}: not a readable weight file ({error})") from error


def _reader(path: Path) -> Callable[[Path], Any]:  # noqa: C901
    if path.is_dir():
        raise Unusable("it is a folder")
    try:
        with path.open("rb") as file:
            start = file.read(512)
    except OSError as error:
        raise Unusable(error.strerror or str(error)) from error
    if not start:
        raise Unusable("it is empty")
    if looks_like_a_page(start):
        raise Unusable("it is a web page: the download did not give the file but a message")
    if start.startswith(_GZIP):
        raise Unusable("it is compressed with gzip: unpack it first")
    if start.startswith(HDF5_SIGNATURE):
        return read_keras
    if start.startswith(_ZIP):
        return _read_archive
    if path.suffix == ".safetensors" or start[8:9] == b"{":
        return load_file
    if tarfile.is_tarfile(path):
        raise Unusable("it is a tar archive: unpack it, and give the weight file that was in it")
    if not start.startswith(_PICKLE):
        raise Unusable("it is damaged, or no weight file at all")
    return _read_pickle


def _read_archive(path: Path) -> Any:
    """PyTorch's format since 1.6: a zip of a pickle and of the raw values."""
    values = _checked_archive(path)
    content = _read_pickle(path)
    # PyTorch takes the number of values from the pickle: one that claims more would read beyond the archive.
    if sum(_storages(content).values()) > values:
        raise Unusable("its tensors claim more values than are in the file")
    return content


def _checked_archive(path: Path) -> int:
    """Bytes of all members; refused before anything is unpacked if that would give more than the file."""
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
    names = [member.filename for member in members]
    if any(name.endswith("/constants.pkl") for name in names) and any("/code/" in name for name in names):
        raise Unusable("it is a TorchScript program, expected a state dict of tensors")
    if not any(name.endswith("data.pkl") for name in names):
        inside = ", ".join(names[:3])
        raise Unusable(f"it is a zip archive of other files ({inside}): unpack it, and give the weight file")
    if any(member.compress_type != zipfile.ZIP_STORED for member in members):
        raise Unusable("its members are compressed, which PyTorch never does: it may unpack to any size")
    claimed = sum(member.file_size for member in members)
    if claimed > path.stat().st_size:
        raise Unusable(f"its members claim {claimed} bytes, the file has {path.stat().st_size}")
    return claimed


def _read_pickle(path: Path) -> Any:
    with warnings.catch_warnings(), torch.serialization.safe_globals(list(STAND_INS)):
        warnings.simplefilter("ignore")  # it misses the source code of the classes that are stood in for
        content = torch.load(path, map_location="cpu", weights_only=True)
    return state_of(content) if is_published_network(content) else content


def _leaves(content: object, depth: int = 0) -> Iterable[torch.Tensor]:
    if isinstance(content, torch.Tensor):
        yield content
    elif isinstance(content, (Mapping, list, tuple)) and depth < 8:
        for item in content.values() if isinstance(content, Mapping) else content:
            yield from _leaves(item, depth + 1)


def _storages(content: object) -> dict[int, int]:
    """Bytes by address of every block of values that some tensor looks at."""
    storages = (tensor.untyped_storage() for tensor in _leaves(content) if not tensor.is_sparse)
    return {storage.data_ptr(): storage.nbytes() for storage in storages}


def _check_values(path: Path, weights: Mapping[str, torch.Tensor]) -> None:
    # A tensor may repeat one stored value as often as it claims.
    size = sum(tensor.numel() * tensor.element_size() for tensor in weights.values())
    if size > LARGEST_WEIGHTS:
        raise InputError(
            f"{path}: its tensors take {size / 2**30:.1f} GiB, expected at most {LARGEST_WEIGHTS / 2**30:.0f}"
        )
    for name, tensor in weights.items():
        if tensor.layout != torch.strided or tensor.is_quantized:
            raise InputError(f"{path}: {name} is a sparse or quantised tensor, expected plain values")
        if tensor.is_floating_point() and tensor.numel() and not _finite(tensor):
            raise InputError(
                f"{path}: {name} holds NaN or infinite values: the training run that wrote it diverged"
            )


def _finite(tensor: torch.Tensor) -> bool:
    low, high = torch.aminmax(tensor if tensor.element_size() > 1 else tensor.float())
    return bool(torch.isfinite(low)) and bool(torch.isfinite(high))


def _reason(error: Exception) -> str:
    """Why a file cannot be read, without torch's advice to let the file run code."""
    if "Only persistent_load of storage" in str(error):
        return (
            "it is a whole network that PyTorch before 1.6 pickled: if you trust it, load it with the library"
            " that made it and save its state_dict()"
        )
    if isinstance(error, zipfile.BadZipFile):
        return "it is truncated or damaged"
    if isinstance(error, (RuntimeError, OSError, SafetensorError)) and "weights_only" not in str(error):
        return str(error).partition("\n")[0]
    return "it is damaged, or something other than tensors is in it"
