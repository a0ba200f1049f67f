"""The study file: what is compared with what, declared before anything is computed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from srcmatters.errors import InputError, did_you_mean
from srcmatters.runs.file_names import STUDY_FILE
from srcmatters.runs.mlflow_store import default_tracking_uri
from srcmatters.schemas import first_mistake
from srcmatters.studies.schema import AXES, STUDY_SCHEMA

_FIELDS = ("name", "depth", "protocol", "dataset_dir", "tracking_uri", "retries")


@dataclass(frozen=True)
class Choice:
    """One value of an axis.

    Args:
        name: as the bundle takes it.
        overrides: what else it brings, such as ``confounder_args``.
    """

    name: Any
    overrides: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Study:
    """A grid of overrides of one bundle.

    Args:
        name: of the study, its folder and its MLflow experiment.
        bundle: folder of the bundle.
        axes: values by axis, in the order of the file; an axis without values keeps the bundle's default.
        depth: "finetune" trains every weight, "screen" fits a classifier on frozen features.
        protocol: "corrected" or "paper".
        overrides: fixed for all cells.
        overlays: more configuration files of the bundle.
        controls: null controls that are run besides, at p_art .5.
        analysis: what will be tested, as :class:`srcmatters.evaluation.analysis_plan.AnalysisPlan` takes it.
        retries: how often a cell that failed is tried again.
        tracking_uri: MLflow store; empty or None for none. By default ``$MLFLOW_TRACKING_URI``, or a database
            in ``mlruns``.
        dataset_dir: the target; None keeps the bundle's default.
        file: where it was read from, for messages.
    """

    name: str
    bundle: Path
    axes: Mapping[str, tuple[Choice, ...]]
    depth: str = "finetune"
    protocol: str = "corrected"
    overrides: Mapping[str, Any] = field(default_factory=dict)
    overlays: tuple[str, ...] = ()
    controls: tuple[str, ...] = ()
    analysis: Mapping[str, Any] = field(default_factory=dict)
    retries: int = 1
    tracking_uri: str | None = field(default_factory=default_tracking_uri)
    dataset_dir: str | None = None
    file: Path = Path(STUDY_FILE)

    def config_files(self) -> tuple[Path, ...]:
        """Configuration of the bundle for this depth, overlays last."""
        names = ["train.yaml", *(["screen.yaml"] if self.depth == "screen" else []), *self.overlays]
        return tuple(self.bundle / "configs" / name for name in names)

    def as_file(self) -> dict[str, Any]:
        """The study as its file would say it, what was given on the command line included."""
        axes = {
            axis: [
                choice.name if not choice.overrides else {"name": choice.name, **_spelled(axis, choice)}
                for choice in choices
            ]
            for axis, choices in self.axes.items()
        }
        content = {
            "name": self.name,
            "bundle": str(self.bundle),
            "depth": self.depth,
            "protocol": self.protocol,
            "dataset_dir": self.dataset_dir,
            "axes": axes,
            "overrides": dict(self.overrides),
            "overlays": list(self.overlays),
            "controls": list(self.controls),
            "analysis": dict(self.analysis),
            "retries": self.retries,
            "tracking_uri": self.tracking_uri,
        }
        return {name: value for name, value in content.items() if value is not None or name == "tracking_uri"}


def _spelled(axis: str, choice: Choice) -> dict[str, Any]:
    others = dict(choice.overrides)
    args = others.pop("confounder_args", None) if axis == "confounder" else None
    return {**({"args": args} if args else {}), **({"overrides": others} if others else {})}


def read_study(path: str | Path) -> Study:
    """Read and check a study file.

    Args:
        path: YAML; ``bundle`` is a folder relative to the file.

    Raises:
        InputError: not there, no YAML, or a field that is missing, unknown or wrong; names file and field.
    """
    path = Path(path)
    try:
        content = yaml.load(path.read_text(), _EveryKeyOnce)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}), expected a study file") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not YAML ({' '.join(str(error).split())})") from error
    _check(content, path)
    axes = {
        axis: _unique(path, axis, [_choice(path, axis, value) for value in content["axes"][axis]])
        for axis in AXES
        if axis in content["axes"]
    }
    bundle = (path.parent / content["bundle"]).resolve()
    if not (bundle / "configs" / "train.yaml").is_file():
        raise InputError(f"{path}, bundle: {bundle} holds no configs/train.yaml, expected a bundle's folder")
    fields = {name: content[name] for name in (*_FIELDS, "overrides", "analysis") if name in content}
    fields |= {name: tuple(content.get(name, ())) for name in ("overlays", "controls")}
    study = Study(bundle=bundle, axes=axes, file=path, **fields)
    for config in study.config_files():
        if not config.is_file():
            known = sorted(path.name for path in config.parent.glob("*.yaml"))
            raise InputError(f"{path}: the bundle has no {config.name}{did_you_mean(config.name, known)}")
    return study


def _check(content: Any, path: Path) -> None:
    mistake = first_mistake(STUDY_SCHEMA, content)
    if mistake is not None:
        raise InputError(f"{path}: {mistake}")


def _choice(path: Path, axis: str, value: Any) -> Choice:
    if not isinstance(value, Mapping):
        return Choice(float(value) if axis in ("p_art", "p_neg") else value)
    overrides = dict(value.get("overrides", {}))
    if "args" in value:
        if axis != "confounder":
            raise InputError(
                f"{path}, axes.{axis}: {value['name']!r} has args, which only a confounder takes"
            )
        overrides["confounder_args"] = dict(value["args"])
    return Choice(value["name"], overrides)


def _unique(path: Path, axis: str, choices: list[Choice]) -> tuple[Choice, ...]:
    for place, choice in enumerate(choices):
        if choice in choices[:place]:
            raise InputError(f"{path}, axes.{axis}: {choice.name!r} is there twice")
    return tuple(choices)


def with_options(study: Study, options: Mapping[str, str]) -> Study:
    """The study with what the command line says.

    Args:
        study: as read from its file.
        options: text by name: an axis ("a,b": several values), a field of the study file (depth, protocol,
            dataset_dir, tracking_uri, retries, name, controls), or any id of the bundle's configuration.

    Raises:
        InputError: a value that the file could not hold either.
    """
    axes, overrides, fields = dict(study.axes), dict(study.overrides), dict[str, Any]()
    for name, text in options.items():
        if name in AXES:
            axes[name] = _values(name, text, study.axes.get(name, ()))
        elif name == "controls":
            fields[name] = tuple(part for part in text.split(",") if part and part != "none")
        elif name in _FIELDS:
            fields[name] = int(text) if name == "retries" and text.isdigit() else text
        else:
            overrides[name] = _parsed(name, text)
    changed = replace(study, axes=axes, overrides=overrides, **fields)
    _check(changed.as_file(), Path("command line"))
    for config in changed.config_files():
        if not config.is_file():
            raise InputError(f"--depth: the bundle {study.bundle.name} has no {config.name}")
    return changed


def _parsed(name: str, text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InputError(f"--{name}: got {text!r}, expected a value as YAML has it") from error


class _EveryKeyOnce(yaml.SafeLoader):
    """YAML's last of two equal keys would silently replace the first."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value]
        for place, key in enumerate(keys):
            if key in keys[:place]:
                raise yaml.constructor.ConstructorError(None, None, f"{key} is there twice", node.start_mark)
        return super().construct_mapping(node, deep)


def _values(axis: str, text: str, known: tuple[Choice, ...]) -> tuple[Choice, ...]:
    """Values of the file keep what they bring: `--confounder sex` keeps the sex's arguments."""
    parts = _parsed(axis, text) if text.startswith("[") else [_parsed(axis, part) for part in text.split(",")]
    command_line = Path("command line")
    _check({"name": "x", "bundle": "x", "axes": {axis: parts}}, command_line)
    by_name = {str(choice.name): choice for choice in known}
    choices = [_choice(command_line, axis, part) for part in parts]
    kept = [choice if choice.overrides else by_name.get(str(choice.name), choice) for choice in choices]
    return _unique(command_line, axis, kept)
