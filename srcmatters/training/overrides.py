"""The configuration as the user gave it: unknown ids are refused, and what ran can be run again."""

from __future__ import annotations

import contextlib
import functools
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from monai.bundle import ConfigParser, ConfigWorkflow

from srcmatters.errors import InputError, did_you_mean
from srcmatters.packaged_bundles import bundles_folder
from srcmatters.training.settings_help import settings_help

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
    return dict(_running_workflow().parser.config)  # type: ignore[call-overload]


def _running_workflow() -> ConfigWorkflow:
    frame = sys._getframe()
    while frame is not None:
        workflow = frame.f_locals.get("self")
        if isinstance(workflow, ConfigWorkflow):
            return workflow
        frame = frame.f_back  # type: ignore[assignment]
    raise RuntimeError("running_config() only works inside a `$` expression of a MONAI bundle")


def check_overrides() -> dict[str, Any]:
    """Refuse ids that the user added and nothing in the configuration refers to; return the configuration.

    Ids of the packaged bundles are known: an overlay that replaces the network leaves ids of the old one
    behind, to which nothing refers any more.

    ``--help`` comes here, too, as an id that nothing refers to: it prints the settings and ends the program.

    Raises:
        InputError: naming the id and the nearest one that exists; or MONAI's own tracking is switched on.
    """
    config = running_config()
    if config.get("help") is True:
        print(settings_help(Path(_running_workflow().config_root_path) / "train.yaml"))
        sys.exit()
    _refuse_second_tracking(config)
    used = set(_references(config)) | _ENTRY_POINTS
    unused = [name for name in config if name not in used]
    if unused:
        bundles = _bundle_ids()
        known = sorted((used & set(config)) - _ENTRY_POINTS)
        for name in unused:
            if name not in bundles:
                raise InputError(f"--{name}: unknown setting{did_you_mean(name, known)}")
    return config


def _refuse_second_tracking(config: dict[str, Any]) -> None:
    """MONAI's ``--tracking`` would record every run a second time, with paths, in a store of its own."""
    parts = [config.get(part) for part in ("train", "validate")]
    handlers = [handler for part in parts if isinstance(part, dict) for handler in part.get("handlers") or []]
    if not any(
        isinstance(handler, dict) and handler.get("_target_") == "MLFlowHandler" for handler in handlers
    ):
        return
    # MONAI has put a copy of the configuration there already, and says where in an expression.
    written = re.search(r"config_\d{8}_\d{6}\.json", str(config.get("save_execute_config")))
    if written and isinstance(config.get("output_dir"), str | Path):
        (Path(config["output_dir"]) / written[0]).unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            Path(config["output_dir"]).rmdir()
    raise InputError(
        "--tracking: this bundle records its runs in MLflow by itself, expected --tracking_uri with the"
        " address of the store"
    )


@functools.cache
def _bundle_ids() -> frozenset[str]:
    """Every top-level id of the configurations of the packaged bundles."""
    ids: set[str] = set()
    for path in sorted(bundles_folder().glob("*/configs/*.yaml")):
        ids.update(str(name).lstrip("+") for name in yaml.safe_load(path.read_text(encoding="utf-8")))
    return frozenset(ids)


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
