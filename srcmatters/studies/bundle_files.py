"""A bundle's configuration files as MONAI reads them, with what they include from other bundles."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from srcmatters.errors import InputError
from srcmatters.files import write_text

_INCLUDE = re.compile(r"%(?P<file>[^%@$]+\.(?:json|ya?ml))(?:::(?P<id>.+))?", re.IGNORECASE)
#: Where a study keeps a configuration whose includes are in place.
CONFIGS, EXPANDED = "configs", "bundle.yaml"


def read_config_file(path: Path) -> dict[str, Any]:
    """Top-level ids of a configuration file with their values; ``%FILE::id`` is replaced by what it names.

    MONAI looks for FILE from where a command is run, which must be the root of the repository. A study finds
    it from anywhere: below the folders that hold ``path``.

    Raises:
        InputError: not YAML, or an include that is not there; names the file and the id.
    """
    return {name: _expanded(value, path, name) for name, value in _read(path).items()}


def has_includes(path: Path) -> bool:
    """Whether a configuration file takes something from another."""
    return _found(_read(path))


def _read(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not YAML ({' '.join(str(error).split())})") from error
    if not isinstance(content, Mapping):
        raise InputError(f"{path}: expected the ids of a bundle with their values")
    return dict(content)


def _found(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(_found(item) for item in value.values())
    if isinstance(value, list):
        return any(_found(item) for item in value)
    return isinstance(value, str) and _INCLUDE.fullmatch(value) is not None


def _expanded(value: Any, path: Path, name: str) -> Any:
    if isinstance(value, Mapping):
        return {key: _expanded(item, path, name) for key, item in value.items()}
    if isinstance(value, list):
        return [_expanded(item, path, name) for item in value]
    include = _INCLUDE.fullmatch(value) if isinstance(value, str) else None
    if include is None:
        return value
    file = Path(include["file"])
    candidates = [*(folder / file for folder in path.absolute().parents), file]
    found = next((place for place in candidates if place.is_file()), None)
    if found is None:
        raise InputError(f"{path}, {name}: {file} does not exist, expected it below a folder of this file")
    part: Any = _read(found)
    for step in (include["id"] or "").split("::"):
        if step and (not isinstance(part, Mapping) or step not in part):
            raise InputError(f"{path}, {name}: {found} has no {include['id']!r}")
        part = part[step] if step else part
    if _found(part):
        raise InputError(f"{path}, {name}: {value} includes something itself, which MONAI does not follow")
    return part


def write_expanded(config: Mapping[str, Any], bundle: Path, study_dir: Path) -> Path:
    """Write a configuration without includes into a study's folder, the bundle's metadata beside it.

    Returns:
        The file, with which cells run wherever their worker is.
    """
    folder = study_dir / CONFIGS
    folder.mkdir(parents=True, exist_ok=True)
    metadata = bundle / "configs" / "metadata.json"
    if metadata.is_file():
        shutil.copy(metadata, folder)
    path = folder / EXPANDED
    write_text(path, yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True))
    return path
