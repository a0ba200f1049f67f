"""Weights that Keras saved as HDF5, read as arrays only: no pickle, no attribute, no other file."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import h5py
import torch

HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
#: A compressed dataset may claim more than the file: weights hardly compress, zeros do without end.
_LARGEST_GAIN = 10
_SMALL = 16 * 2**20


class Unusable(Exception):
    """Why a file is not read; one line."""


def read_keras(path: Path) -> dict[str, torch.Tensor]:
    """The weights of a Keras 2 .h5 file, of a whole model or of its weights.

    Args:
        path: the file.

    Returns:
        Tensors by layer and weight ("conv1_conv/kernel:0"), axes as Keras has them. The state of an optimiser
        is left out.

    Raises:
        Unusable: a link that leaves the file or its tree, a virtual or external dataset, values that are no
            numbers, sizes that the file cannot hold, two weights of one name.
    """
    weights: dict[str, torch.Tensor] = {}
    budget = max(_SMALL, _LARGEST_GAIN * path.stat().st_size)
    with h5py.File(path, "r") as file:
        for place, dataset in _datasets(file):
            if place.startswith("optimizer_weights/"):
                continue
            budget -= _checked_size(place, dataset)
            if budget < 0:
                raise Unusable(
                    f"{place}: its datasets claim far more than the {path.stat().st_size} bytes of it"
                )
            name = _called(place)
            if name in weights:
                raise Unusable(f"two weights are called {name}, expected the layout of Keras 2")
            values = dataset[()]
            weights[name] = torch.from_numpy(values.astype(values.dtype.newbyteorder("=")))
    return weights


def _called(place: str) -> str:
    """``conv1/bn/conv1/bn/gamma:0``, in the group of its layer, is ``conv1/bn/gamma:0``."""
    *layer, weight = place.removeprefix("model_weights/").split("/")
    half = len(layer) // 2
    layer = layer[:half] if layer[:half] == layer[half:] else layer[-1:]
    return "/".join([*layer, weight])


def _datasets(group: h5py.Group, place: str = "", depth: int = 0) -> Iterator[tuple[str, h5py.Dataset]]:
    if depth > 16:
        raise Unusable(f"{place}: groups within groups without end")
    for name in group:
        here = f"{place}/{name}" if place else name
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            raise Unusable(f"{here}: a link to somewhere else, expected the values themselves")
        item = group[name]
        if isinstance(item, h5py.Group):
            yield from _datasets(item, here, depth + 1)
        elif isinstance(item, h5py.Dataset):
            yield here, item


def _checked_size(place: str, dataset: h5py.Dataset) -> int:
    if dataset.is_virtual or dataset.external:
        raise Unusable(f"{place}: its values lie in another file")
    if dataset.shape is None or dataset.dtype.kind not in "fiu":
        raise Unusable(f"{place}: holds {dataset.dtype}, expected numbers")
    size = math.prod(dataset.shape) * dataset.dtype.itemsize
    if size and not dataset.id.get_storage_size():
        raise Unusable(f"{place}: claims {size} bytes and holds none")
    return size
