"""A run's configuration runs code when it is evaluated: unasked only what a packaged bundle says."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from srcmatters.errors import InputError, first_line
from srcmatters.packaged_bundles import bundles_folder
from srcmatters.runs.file_names import CONFIG
from srcmatters.sources import is_own, read_constructor

_REFERENCE = re.compile(r"@(\w+)")
_IMPORT = re.compile(r"\$\s*(?:import|from)\s")
#: Items whose value MONAI imports and calls, or acts upon.
_CALLED = ("_target_", "_mode_")


class CodeOfItsOwn(InputError):
    """A configuration that would run something no packaged bundle has."""


def evaluated(folder: Path, *names: str, trust: bool = False) -> list[Any]:
    """Parts of a run's configuration, evaluated as ``python -m monai.bundle run`` does.

    Args:
        folder: of the run.
        names: top-level ids.
        trust: evaluate expressions and classes that no packaged bundle has as well.

    Raises:
        CodeOfItsOwn: it holds code of its own and is not trusted.
        InputError: it cannot be read. Evaluation raises whatever
            a configuration may raise.
    """
    from monai.bundle import ConfigParser

    file = folder / CONFIG
    try:
        config = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"{file}: not readable ({first_line(error)})") from error
    if not isinstance(config, dict):
        raise InputError(f"{file}: got a {type(config).__name__}, expected a mapping")
    strange = None if trust else foreign_code(config, names)
    if strange is not None:
        raise CodeOfItsOwn(
            f"{file}: it runs code that no packaged bundle has ({strange[:80]!r}); --trust evaluates it, for"
            " a run that you made yourself"
        )
    parser = ConfigParser(config=config)
    return [parser.get_parsed_content(name) for name in names]


def foreign_code(config: Mapping[str, Any], names: Iterable[str]) -> str | None:
    """The first thing that evaluating some ids would run and no packaged bundle says; None if there is none.

    What counts are expressions, names of classes and functions, and macros, letter by letter. MONAI evaluates
    every import of a configuration and loads the file of every macro, wherever they stand; of the rest what
    the ids refer to.

    Args:
        config: as a YAML file has it.
        names: top-level ids.
    """
    known = _packaged_code()
    everywhere = (code for code in _code(config) if code.startswith("%") or _IMPORT.match(code))
    own = str(config.get("network", ""))
    if "network" in _needed(config, names) and is_own(own) and read_constructor(own).foreign:
        return own
    needed = (code for name in _needed(config, names) for code in _code(config.get(name)))
    return next((code for code in (*everywhere, *needed) if code not in known), None)


def _needed(config: Mapping[str, Any], names: Iterable[str]) -> list[str]:
    """The ids and all that they refer to."""
    needed, left = [], list(names)
    while left:
        name = left.pop()
        if name in config and name not in needed:
            needed.append(name)
            left += [other for text in _texts(config[name]) for other in _REFERENCE.findall(text)]
    return needed


def _code(value: Any) -> Iterator[str]:
    """Expressions, macros, and what is called by name."""
    if isinstance(value, Mapping):
        for name, entry in value.items():
            if name in _CALLED:
                yield f"{name}: {entry}"
            yield from _code(entry)
    elif isinstance(value, list):
        for entry in value:
            yield from _code(entry)
    elif isinstance(value, str) and value[:1] in ("$", "%"):
        yield value


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        for entry in value.values():
            yield from _texts(entry)
    elif isinstance(value, list):
        for entry in value:
            yield from _texts(entry)
    elif isinstance(value, str):
        yield value


@functools.cache
def _packaged_code() -> frozenset[str]:
    """All code of the configurations of the packaged bundles."""
    files = sorted(bundles_folder().glob("*/configs/*.yaml"))
    return frozenset(code for file in files for code in _code(yaml.safe_load(file.read_text("utf-8"))))
