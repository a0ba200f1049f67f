"""A source in one file: its tensors and, in the header, its catalogue entry."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import SafetensorError, safe_open

from srcmatters.errors import InputError
from srcmatters.files import atomic_path
from srcmatters.sources.entry import Entry, entry_content, entry_from
from srcmatters.sources.network_facts import HEADS

if TYPE_CHECKING:
    import torch

#: Where the entry lies in the header of the file.
_KEY = "srcmatters_source"
_SUFFIX = ".safetensors"


def write_source(path: Path, entry: Entry, weights: Mapping[str, torch.Tensor]) -> Path:
    """Write a source file, which ``--source`` takes by its path or, in ``mlruns/sources``, by its name.

    Args:
        path: ends in .safetensors; folders are made. The file is there whole or not at all.
        entry: scheme "monai"; its location becomes the file itself, its hash none: no file holds its own.
        weights: the network's tensors in MONAI's naming; those of the head are left out.

    Returns:
        The path.

    Raises:
        InputError: another suffix or scheme, a field that the catalogue's schema refuses, an unknown network,
            no tensor besides the head, a tensor with NaN or infinity (named), or a folder that cannot be
            written.
    """
    if path.suffix != _SUFFIX:
        raise InputError(f"{path}: a source file ends in {_SUFFIX}")
    entry = dataclasses.replace(entry, location={"file": path.name}, sha256=None)
    content = json.dumps(entry_content(entry), default=_plain)
    _read_entry(content, path)
    if entry.scheme != "monai":
        raise InputError(f"{path}: scheme: got {entry.scheme}, expected monai")
    tensors = _backbone(path, entry.network, weights)
    from safetensors.torch import save_file

    try:
        with atomic_path(path) as place:
            save_file(tensors, place, metadata={"format": "pt", _KEY: content})
    except (OSError, SafetensorError) as error:
        raise InputError(
            f"{path}: cannot be written ({getattr(error, 'strerror', None) or error})"
        ) from error
    return path


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(value)
    if hasattr(value, "item"):  # a number of numpy's
        return value.item()
    return str(value)


def _backbone(path: Path, network: str, weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    if network not in HEADS:
        raise InputError(f"{path}: network: got {network}, expected one of: {', '.join(HEADS)}")
    # Tensors may share memory, which the format refuses.
    kept = {
        name: tensor.detach().cpu().contiguous().clone()
        for name, tensor in weights.items()
        if not name.startswith(HEADS[network])
    }
    if not kept:
        raise InputError(f"{path}: no tensor besides the head of {network}")
    for name, tensor in kept.items():
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise InputError(f"{path}: {name} holds NaN or infinite values: pre-training diverged")
    return kept


def read_source_entry(path: Path) -> Entry | None:
    """The entry in a source file.

    Args:
        path: any file.

    Returns:
        The entry, its location being this path; None: the file is none of ours.

    Raises:
        InputError: a damaged .safetensors file, or one whose entry the schema refuses (the field is named).
    """
    if path.suffix != _SUFFIX:
        return None
    try:
        with safe_open(path, "numpy") as file:  # its header alone, for which torch is not needed
            header = file.metadata() or {}
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path}: not a readable weight file ({error})") from error
    if _KEY not in header:
        return None
    return dataclasses.replace(_read_entry(header[_KEY], path), location={"file": str(path)})


def _read_entry(content: str, path: Path) -> Entry:
    try:
        return entry_from(json.loads(content), str(path))
    except ValueError as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: its entry is not JSON ({error})") from error
