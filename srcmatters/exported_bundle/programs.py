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
from torch import nn

from srcmatters.errors import InputError, find_input_error, first_line

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


class ProgramClassifier(nn.Module):
    """A classifier out of a torch.export file: input normalisation and network, by the names of parts.

    Args:
        program: with the modules that it was exported of.
    """

    def __init__(self, program: nn.Module) -> None:
        super().__init__()
        self.program = program

    def __getitem__(self, place: int) -> nn.Module:
        return self.program.get_submodule(str(place))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(B, 2) logits of (B, 1, H, W[, D]) images."""
        return self.program(images)


def read_program(path: Path) -> ProgramClassifier:
    """A classifier out of a file that `srcmatters export` wrote, without running code but its operations.

    Raises:
        InputError: the file is missing or damaged, or holds code.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            logging.getLogger("torch.export").setLevel(logging.ERROR)
            program = torch.export.load(io.BytesIO(rewritten(path)))
            return ProgramClassifier(torch.export.unflatten(program))
    except Exception as error:  # whatever a damaged file makes of it
        mistake = find_input_error(error)
        if mistake is not None:
            raise mistake from error
        raise InputError(f"{path}: no torch.export file that can be loaded ({first_line(error)})") from error


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
