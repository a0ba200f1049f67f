"""A network of one's own by what builds it: ``package.Class(width=8)`` or ``file.py:function(width=8)``.

Reading the words runs nothing; :mod:`srcmatters.sources.own_networks` does.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from srcmatters.errors import InputError
from srcmatters.files import sha256_of

_SHORT = 8
_WORDS = re.compile(
    r"(?:(?P<file>[^#()]+\.py):|(?P<stem>[\w.+-]+)-(?P<digest>[0-9a-f]{8}):|(?P<module>[A-Za-z_][\w.]*)\.)"
    r"(?P<function>[A-Za-z_]\w*)(?P<call>\(.*\))?(?:#head=(?P<head>[\w.]+))?",
    re.DOTALL,
)
_EXPECTED = (
    "expected package.module.Class(name=value) or file.py:function(name=value), and #head=LAYER behind it"
    " where the last linear layer is not found"
)
#: Classes of networks that build without code of anybody else.
_KNOWN_MODULE = "monai.networks.nets"


@dataclass(frozen=True)
class Constructor:
    """What builds a network.

    Args:
        module: importable name, or the path of a Python file.
        function: class or function in it.
        arguments: keywords with plain values.
        head: name of the linear layer that returns the logits; None: it is looked for.
        recorded: file name and hash of the code, of a constructor that was read from the record of a run; it
            builds nothing.
    """

    module: str
    function: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    head: str | None = None
    recorded: str | None = None

    @property
    def file(self) -> Path | None:
        """The Python file, None for what is imported by name or was recorded."""
        return Path(self.module) if self.module.endswith(".py") else None

    @property
    def foreign(self) -> bool:
        """Whether building it runs code that is neither this package's nor MONAI's."""
        return self.module != _KNOWN_MODULE

    @property
    def origin(self) -> str:
        """Module, or a file's name with the hash of its content: no path, which may name a person."""
        if self.recorded is not None:
            return self.recorded
        return self.module if self.file is None else f"{self.file.stem}-{code_digest(self.file)}"

    @property
    def name(self) -> str:
        """What results and MLflow call the network."""
        between = ":" if self.file is not None or self.recorded is not None else "."
        return f"{self.origin}{between}{self.call}"

    @property
    def call(self) -> str:
        """Function, arguments and head as they were given."""
        shown = ", ".join(f"{name}={value!r}" for name, value in self.arguments.items())
        return f"{self.function}{f'({shown})' if shown else ''}{f'#head={self.head}' if self.head else ''}"


def code_digest(file: Path) -> str:
    """First digits of the SHA-256 of a Python file, by which results tell two versions of it apart."""
    return sha256_of(file)[:_SHORT]


def is_own(network: str) -> bool:
    """Whether a network is given by what builds it."""
    return "." in network or ":" in network


def read_constructor(network: str) -> Constructor:
    """Read the words, without running anything.

    Raises:
        InputError: not of this form, an argument that is no plain value, or no such file.
    """
    match = _WORDS.fullmatch(network.strip())
    if match is None:
        raise InputError(f"network: got {network!r}, {_EXPECTED}")
    if match["file"] is not None and not Path(match["file"]).is_file():
        raise InputError(f"network: {match['file']} does not exist, expected the Python file of {network!r}")
    recorded = f"{match['stem']}-{match['digest']}" if match["digest"] else None
    module = match["file"] or match["module"] or ""
    return Constructor(module, match["function"], _arguments(match["call"], network), match["head"], recorded)


def network_name(network: str) -> str:
    """What results and MLflow call a network: its name, or its constructor without the place of a file."""
    return read_constructor(network).name if is_own(network) else network


def same_network(first: str, second: str) -> bool:
    """Whether two names mean one network; a head that only one of them names does not tell them apart."""
    names = network_name(first), network_name(second)
    heads = {name.partition("#")[2] for name in names} - {""}
    return len({name.partition("#")[0] for name in names}) == 1 and len(heads) < 2


def _arguments(call: str | None, network: str) -> dict[str, Any]:
    if call is None:
        return {}
    try:
        parsed = ast.parse(f"f{call}", mode="eval").body
        assert isinstance(parsed, ast.Call) and not parsed.args and all(word.arg for word in parsed.keywords)
        return {str(word.arg): ast.literal_eval(word.value) for word in parsed.keywords}
    except (SyntaxError, ValueError, AssertionError) as error:
        reason = f"the arguments {call} of {network!r} are not plain values by name"
        raise InputError(f"network: {reason}, {_EXPECTED}") from error
