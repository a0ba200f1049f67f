"""torch.export files (.pt2), rewritten so that loading them runs no code but the program itself."""

from __future__ import annotations

import io
import json
import logging
import re
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from srcmatters.audit.declared_contract import ContractOptions, settled_contract
from srcmatters.audit.doors.model import Model
from srcmatters.audit.doors.onnx_files import contract_by_shape
from srcmatters.audit.doors.torch_model import TorchModel
from srcmatters.errors import InputError, find_input_error, first_line
from srcmatters.files import sha256_of

# torch reads symbolic sizes with eval(): only arithmetic of sizes passes.
_SIZES = re.compile(
    r"(?:Symbol\('[suz]f?\d+'(?:, (?:positive|nonnegative|integer)=True)*\)"
    r"|[suz]f?\d+|zuf?\d+|\d+(?:\.\d+)?|Max|Min|FloorDiv|CleanDiv|CeilDiv|Mod|PythonMod|ModularIndexing|Where"
    r"|Eq|Ne|Lt|Le|Gt|Ge|And|Or|Not|IntTrueDiv|FloatTrueDiv|TruncToInt|ToFloat|Pow|PowByNatural|Identity|Abs"
    r"|Integer|int_oo|oo|True|False|[-+*/%(),<>=!&|~^\s])*"
)
_TARGETS = re.compile(
    r"torch\.ops\.(aten|prims|higher_order|quantized)\.[\w.]+|_operator\.\w+|math\.\w+|torch\.sym_\w+|torch\._sym_\w+"
)
_TENSORS = re.compile(
    r"data/(weights|constants)/[\w.-]*(weight|tensor)_\d+|data/(weights|constants)/\w+_(weights|constants)_config\.json"
)
_PICKLED = re.compile(r"(data/(weights|constants|sample_inputs)/[\w.-]+|serialized_\w+)\.pt")


def open_exported_program(
    path: Path, options: ContractOptions, trust: bool, device: torch.device | str
) -> Model:
    """A file of ``torch.export.save``.

    torch unpickles parts of such a file without restriction and evaluates its symbolic sizes as Python, so
    its parts are read safely here and written anew before torch sees them. What cannot be needs ``trust``.

    Raises:
        InputError: it cannot be loaded, holds code, or takes other than one input.
    """
    try:
        content = path.read_bytes() if trust else rewritten(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            logging.getLogger("torch.export").setLevel(logging.ERROR)
            program = torch.export.load(io.BytesIO(content))
            network = program.module().to(device)
    except Exception as error:  # whatever a damaged file makes of it
        mistake = find_input_error(error)
        if mistake is not None:
            raise mistake from error
        raise InputError(f"{path}: no torch.export file that can be loaded ({first_line(error)})") from error
    read, limit = _input_of(path, program)
    model = TorchModel(
        path.name,
        settled_contract(options, read, str(path)),
        network,
        "torch.export",
        sha256_of(path),
        (),
        device,
    )
    model.batch_limit = limit
    model.dtype = next(
        (one.dtype for one in program.state_dict.values() if one.is_floating_point()), torch.float32
    )
    model.runs = f"the torch.export program of {path.name}"
    return model


def rewritten(path: Path) -> bytes:
    """The archive with every pickle read by ``torch.load(weights_only=True)`` and written anew.

    Raises:
        InputError: a part that could run code; names it.
    """
    made = io.BytesIO()
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(made, "w") as kept:
        seen = set[str]()
        for member in archive.infolist():
            if member.filename in seen or member.file_size > path.stat().st_size * 4:
                raise InputError(
                    f"{path}: {member.filename} is there twice or too large, expected what"
                    " torch.export.save writes"
                )
            seen.add(member.filename)
            kept.writestr(member.filename, _safe(path, member.filename, archive.read(member)))
    return made.getvalue()


def _safe(path: Path, name: str, content: bytes) -> bytes:
    inside = name.partition("/")[2] or name  # torch writes all of them below one folder
    inside = name if name.startswith(("data/", "models/", "serialized_", "extra/")) else inside
    if inside.endswith(".json"):
        _check_json(path, inside, content)
        return content
    if _PICKLED.fullmatch(inside):
        return _repickled(path, name, content)
    if _TENSORS.fullmatch(inside):
        return content if content[:2] not in (b"PK", b"\x80\x02") else _repickled(path, name, content)
    if inside.startswith("extra/") or inside in (
        "archive_format",
        "archive_version",
        "byteorder",
        "version",
        ".data/serialization_id",
        ".data/version",
        ".format_version",
    ):
        return content
    raise InputError(f"{path}: {name} may hold code, expected --trust to load it")


def _repickled(path: Path, name: str, content: bytes) -> bytes:
    if not content:
        return content
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            value = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged pickle makes the unpickler raise anything
        raise InputError(f"{path}: {name} holds more than tensors, expected --trust to load it") from error
    made = io.BytesIO()
    torch.save(value, made)
    return made.getvalue()


def _check_json(path: Path, name: str, content: bytes) -> None:
    for key, text in _texts(json.loads(content)):
        if key == "expr_str" and not _SIZES.fullmatch(text):
            raise InputError(
                f"{path}: {name} holds the size {text[:40]!r}, expected arithmetic; --trust loads it"
            )
        if key == "target" and not _TARGETS.fullmatch(text):
            raise InputError(
                f"{path}: {name} calls {text[:60]!r}, expected operators of torch; --trust loads it"
            )
        if key == "path_name" and not re.fullmatch(r"[\w.-]*(weight|tensor)_\d+", text):
            raise InputError(f"{path}: {name} refers to {text[:60]!r}, expected tensors; --trust loads it")


def _texts(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield key, value
    elif isinstance(value, dict):
        for name, part in value.items():
            yield from _texts(part, name)
    elif isinstance(value, list):
        for part in value:
            yield from _texts(part, key)


def _input_of(path: Path, program: Any) -> tuple[dict[str, Any], int | None]:
    """What the program's signature tells of its input, and the number of images that it fixes."""
    names = set(program.graph_signature.user_inputs)
    given = [node for node in program.graph.nodes if node.op == "placeholder" and node.name in names]
    if len(given) != 1:
        raise InputError(f"{path}: takes {len(given)} inputs, expected one: the images")
    shape = [length if isinstance(length, int) else None for length in given[0].meta["val"].shape]
    return contract_by_shape(shape), shape[0] if shape else None
