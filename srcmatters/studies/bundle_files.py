"""A bundle's configuration files as MONAI merges them, without importing it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from srcmatters.errors import InputError


def read_config_files(paths: Iterable[Path]) -> dict[str, Any]:
    """The ids of a bundle with their values, overlays applied in order.

    As in MONAI an id replaces the one before it, ``a::b`` replaces a part of it, and ``+a`` adds to it.

    Args:
        paths: configuration files, overlays last.

    Raises:
        InputError: not YAML or no mapping of ids; names the file.
    """
    merged: dict[str, Any] = {}
    for path in paths:
        for name, value in _read(path).items():
            *above, last = name.removeprefix("+").split("::")
            place: Any = merged
            for step in above:
                place = place[int(step)] if isinstance(place, list) else place.setdefault(step, {})
            key = int(last) if isinstance(place, list) else last
            before = place.get(key) if isinstance(place, dict) else place[key]
            if name.startswith("+") and isinstance(before, dict):
                value = {**before, **value}
            elif name.startswith("+") and isinstance(before, list):
                value = [*before, *value]
            place[key] = value
    return merged


def _read(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not YAML ({' '.join(str(error).split())})") from error
    if not isinstance(content, Mapping):
        raise InputError(f"{path}: expected the ids of a bundle with their values")
    return dict(content)
