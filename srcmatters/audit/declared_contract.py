"""What a user declares of a model's input, and the contract that it makes with what the files say."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from srcmatters.audit.contract import InputContract
from srcmatters.audit.value_ranges import ValueRange
from srcmatters.errors import InputError
from srcmatters.images.windows import Window

_LONGEST_SIDE = 16384  # pixels; a batch of larger inputs fits no memory
_NATIVE = "native"


@dataclass(frozen=True)
class ContractOptions:
    """Declared fields of an :class:`~srcmatters.audit.contract.InputContract`; None: not declared.

    Args:
        size: "native", "224", "224x224" or "32x32x32", or a tuple.
        outputs: which outputs are the findings, each an index, the name of a class that the model's files
            tell, or TENSOR:INDEX where it returns several tensors.
        findings: what to call them; as many as outputs.
        batch: "torch" or "numpy": what a Python function is handed.
        (the others): see there.
    """

    modality: str | None = None
    size: str | tuple[int, ...] | None = None
    resize: str | None = None
    channels: str | None = None
    layout: str | None = None
    value_range: ValueRange | None = None
    inverted: bool | None = None
    transposed: bool | None = None
    window: Window | None = None
    patch_mm: float | None = None
    slab_mm: float | None = None
    outputs: tuple[str | int, ...] = ()
    output_kind: str | None = None
    findings: tuple[str, ...] = ()
    batch: str | None = None

    def __post_init__(self) -> None:
        if self.findings and len(self.findings) != max(len(self.outputs), 1):
            got, count = len(self.findings), max(len(self.outputs), 1)
            raise InputError(f"finding: got {got} names for {count} outputs, expected one each")


#: Fields that options declare under their own names; size and outputs need reading first.
_PLAIN = (
    "modality",
    "resize",
    "channels",
    "layout",
    "value_range",
    "inverted",
    "transposed",
    "window",
    "patch_mm",
    "slab_mm",
    "output_kind",
)


def settled_contract(options: ContractOptions, read: Mapping[str, Any], origin: str) -> InputContract:
    """The contract of a model but for its outputs, which a first pass settles.

    Args:
        options: what the user declares, which comes first.
        read: fields that the model's own files tell.
        origin: name of the model, for messages.

    Raises:
        InputError: a field holds what it cannot, or neither says the size.
    """
    declared = {name: getattr(options, name) for name in _PLAIN if getattr(options, name) is not None}
    if options.size is not None:
        declared["size"] = parse_size(options.size)
    values = {**read, **declared}
    # What the files say of CT means nothing for what is declared a radiograph, and the reverse.
    if values.get("modality", "radiograph") == "radiograph":
        values = {
            name: value
            for name, value in values.items()
            if name in declared or name not in ("window", "patch_mm", "slab_mm")
        }
    if "size" not in values:
        raise InputError(
            f"{origin}: its file does not tell the size of its input, expected --size, as in --size 224;"
            " --size native: as many pixels as the image has"
        )
    origins = {one.name: "assumed" for one in fields(InputContract) if one.name != "origin"}
    origins |= dict.fromkeys(read, "read") | dict.fromkeys(declared, "declared")
    try:
        return InputContract(**values, origin=origins)
    except InputError as error:
        raise InputError(f"{origin}: {error}") from error


def parse_size(size: str | tuple[int, ...]) -> tuple[int, ...] | None:
    """Pixels of "224", "224x192" or "32x32x32"; None for "native".

    Raises:
        InputError: none of these.
    """
    if isinstance(size, str) and size.strip().lower() == _NATIVE:
        return None
    if isinstance(size, str) and re.fullmatch(r"\s*\d+(\s*[x,]\s*\d+){0,2}\s*", size):
        size = tuple(int(length) for length in re.findall(r"\d+", size))
    if isinstance(size, str) or not all(isinstance(length, int) and length > 0 for length in size):
        raise InputError(f"size: got {size!r}, expected ROWSxCOLUMNS, as in 224x224, 224, or native")
    if max(size, default=0) > _LONGEST_SIDE:
        raise InputError(f"size: got {max(size)}, expected at most {_LONGEST_SIDE} pixels a side")
    return size * 2 if len(size) == 1 else tuple(size)
