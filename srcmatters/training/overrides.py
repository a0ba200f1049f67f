"""The configuration as the user gave it: unknown ids are refused, and what ran can be run again."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from monai.bundle import ConfigParser, ConfigWorkflow

from srcmatters.errors import InputError, did_you_mean

# What MONAI itself reads from a configuration, and what a person may run.
_ENTRY_POINTS = {
    "_meta_",
    "imports",
    "bundle_root",
    "initialize",
    "run",
    "training",
    "evaluating",
    "finalize",
    "prepared",
    "val_interval",
    "inferer",
    "network",
    "train",
    "validate",
    "project",
    "workflow_type",
}
_REFERENCE = re.compile(r"[@%](\w+)")


def running_config() -> dict[str, Any]:
    """The configuration of the bundle that is being initialised, overrides included.

    MONAI hands a `$` expression the values it refers to but not the configuration it stands in, and accepts
    overrides of ids that do not exist in silence. The workflow is on the call stack, whether it was started
    by `python -m monai.bundle run`, by `create_workflow` or with an args file.

    Raises:
        RuntimeError: not called from a bundle's configuration.
    """
    frame = sys._getframe()
    while frame is not None:
        workflow = frame.f_locals.get("self")
        if isinstance(workflow, ConfigWorkflow):
            return dict(workflow.parser.config)  # type: ignore[call-overload]
        frame = frame.f_back  # type: ignore[assignment]
    raise RuntimeError("running_config() only works inside a `$` expression of a MONAI bundle")


def check_overrides() -> dict[str, Any]:
    """Refuse ids that nothing in the configuration refers to, and return the configuration.

    Raises:
        InputError: naming the id and the nearest one that exists.
    """
    config = running_config()
    used = set(_references(config)) | _ENTRY_POINTS
    for name in config:
        if name not in used:
            known = sorted((used & set(config)) - _ENTRY_POINTS)
            raise InputError(f"--{name}: unknown setting{did_you_mean(name, known)}")
    return config


def _references(config: Any) -> Iterator[str]:
    """Every top-level id that some item refers to."""
    if isinstance(config, dict):
        for value in config.values():
            yield from _references(value)
    elif isinstance(config, (list, tuple)):
        for value in config:
            yield from _references(value)
    elif isinstance(config, str) and config[:1] in ("@", "$", "%"):
        yield from _REFERENCE.findall(config)


def write_config(config: dict[str, Any], path: Path, **replaced: Any) -> None:
    """Write a configuration so that `python -m monai.bundle run --config_file` can run it again.

    Args:
        config: as returned by :func:`check_overrides`.
        path: the YAML file.
        replaced: top-level ids with the value they had, where the expression must not be evaluated anew.
    """
    kept = {name: value for name, value in config.items() if name != "_meta_"} | replaced
    plain = yaml.safe_load(yaml.safe_dump(_plain(kept)))
    ConfigParser.export_config_file(plain, str(path), fmt="yaml", sort_keys=False, allow_unicode=True)


def _plain(value: Any) -> Any:
    """Tuples and paths, which an override may hold, as YAML has them."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value
