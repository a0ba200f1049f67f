"""The cells of a study: their overrides, their names, and the order in which they are most useful."""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from srcmatters import __version__
from srcmatters.confounders import confounder_summaries
from srcmatters.errors import InputError, did_you_mean
from srcmatters.files import sha256_of
from srcmatters.runs.private_settings import BOOKKEEPING
from srcmatters.sources import is_own, network_name, read_constructor
from srcmatters.studies.bundle_files import read_config_files
from srcmatters.studies.executors.base import CellTask
from srcmatters.studies.schema import AXES
from srcmatters.studies.study_file import Choice, Study

_HASH_LENGTH = 8
#: Share of carriers under a null control, whatever the study's: half of the training images have the
#: confounder. At 1 all would have it, and what a network makes of images without it would be anybody's guess.
CONTROL_SHARE = 0.5


@dataclass(frozen=True)
class Cell:
    """One point of the grid.

    Args:
        cell_id: readable axes and a hash of the resolved configuration.
        axes: the point; ``control`` is part of it.
        overrides: of the bundle's configuration, places left out.
        images: what its decoded images depend on; cells that agree share them.
        features: what its features depend on.
        training: what its training run depends on, where other cells of the grid may share it, else empty.
    """

    cell_id: str
    axes: Mapping[str, Any]
    overrides: Mapping[str, Any]
    images: str
    features: str
    training: str = ""


def bundle_config(study: Study) -> dict[str, Any]:
    """Top-level ids of the bundle's configuration with their values, overlays applied.

    Raises:
        InputError: see :func:`srcmatters.studies.bundle_files.read_config_files`.
    """
    return read_config_files(study.config_files())


def expand(study: Study) -> list[Cell]:
    """Every cell of a study, in the order in which they run.

    The extremes of p_art come first, over all folds, and within a fold all sources of a confounder follow
    each other: what is there early compares sources. Null controls run last, at :data:`CONTROL_SHARE` only.

    The hash in a cell's name covers the bundle's configuration files, the overrides, the content of the case
    table and of a source that is a file, and the version of this package. It does not cover the content of
    the images, nor where things go (:data:`srcmatters.runs.private_settings.BOOKKEEPING`).

    Raises:
        InputError: an override of an id that the bundle does not have.
    """
    config = bundle_config(study)
    _check_overrides(study, config)
    fixed = _fixed(study)
    common = [
        _without_places(config),
        _named(fixed),
        _data_digest(fixed, config),
        study.depth,
        __version__,
    ]
    cells = [_cell(point, fixed, config, common) for point in _points(study)]
    return sorted(cells, key=_usefulness(study))


def count_trainings(cells: Collection[Cell], finished: Collection[Cell] = ()) -> int:
    """Training runs that some cells need: one for all that share it, none where a finished cell has it."""
    there = {cell.training for cell in finished} - {""}
    shared = {cell.training for cell in cells} - {""} - there
    return len(shared) + sum(not cell.training for cell in cells)


def _check_overrides(study: Study, config: Mapping[str, Any]) -> None:
    origins = {name: "overrides" for name in study.overrides}
    origins |= {axis: f"axes.{axis}" for axis in study.axes}
    for axis, choices in study.axes.items():
        for choice in choices:
            origins |= {name: f"axes.{axis}, {choice.name}" for name in choice.overrides}
    for name, where in origins.items():
        if name.partition("::")[0].lstrip("+~") not in config:
            known = [item for item in config if item not in BOOKKEEPING]
            near = did_you_mean(name, known, f"an id of {study.config_files()[0]}")
            raise InputError(f"{study.file}, {where}: {study.bundle.name} has no {name!r}{near}")


def _fixed(study: Study) -> dict[str, Any]:
    """Overrides of all cells; paths are absolute, so that a worker anywhere finds them."""
    fixed = {**study.overrides, "protocol": study.protocol}
    if study.dataset_dir is not None:
        fixed["dataset_dir"] = study.dataset_dir
    for name in ("dataset_dir", "cache_dir"):
        path = Path(str(fixed.get(name, "")))
        if name in fixed and (path.is_dir() or name == "cache_dir") and fixed[name]:
            fixed[name] = str(path.absolute())
    return fixed


def _points(study: Study) -> Iterator[tuple[dict[str, Choice], str]]:
    axes = {axis: study.axes[axis] for axis in AXES if axis in study.axes}
    for control in ("none", *study.controls):
        if control != "none":
            axes["p_art"] = (Choice(CONTROL_SHARE),)
            # As many negatives carry under a control as positives, whatever p_neg: one cell stands for all.
            axes |= {"p_neg": axes["p_neg"][:1]} if "p_neg" in axes else {}
            axes |= {"mitigation": (Choice("none"),)} if "mitigation" in axes else {}
        for values in itertools.product(*axes.values()):
            yield dict(zip(axes, values, strict=True)), control


def _cell(
    point: tuple[Mapping[str, Choice], str],
    fixed: Mapping[str, Any],
    config: Mapping[str, Any],
    common: Sequence[Any],
) -> Cell:
    choices, control = point
    overrides = {**fixed}
    for axis, choice in choices.items():
        overrides |= {**choice.overrides, axis: choice.name}
    axes = {axis: choice.name for axis, choice in choices.items()}
    source, digest = _source_digest(str(axes.get("source", "")))
    if is_own(str(overrides.get("network", ""))):
        overrides["network"] = _absolute(overrides["network"])
    axes |= {name: network_name(str(value)) for name, value in axes.items() if name == "network"}
    if digest:
        overrides["source"] = source
        axes["source"] = Path(source).stem
    if "control" in config:
        overrides["control"] = axes["control"] = control
    elif control != "none":
        raise InputError(f"controls: this bundle has no setting 'control', expected none of {control!r}")
    identity = {**_named(overrides), "source": digest or axes.get("source")}
    tag = hashlib.sha256(_plain([common, identity]).encode()).hexdigest()[:_HASH_LENGTH]
    shown = [f"{_PREFIX.get(axis, '')}{_short(value)}" for axis, value in axes.items() if value != "none"]
    name = re.sub(r"[^\w.+-]+", "_", "-".join([*shown, tag]))
    # What the bundle itself names as deciding what the network sees: of CT window, unit, patch and slab too.
    own = config.get("image_settings", {"image_size": None})
    image_ids = ("dataset_dir", "confounder", "confounder_args", "protocol", "seed", *own)
    images = {name: overrides.get(name, config.get(name)) for name in image_ids}
    features = {**images, "network": overrides.get("network", config.get("network")), "source": source}
    training = _shared_training({**config, **overrides}, identity)
    return Cell(name, axes, overrides, _plain(images), _plain(features), training)


def _shared_training(settings: Mapping[str, Any], identity: Mapping[str, Any]) -> str:
    """What a fine-tuning in which nobody carries the confounder depends on; empty for every other cell.

    Not in the paper's protocol, whose noise is in clean images, too. A worker decides by the images and
    weights themselves, see :mod:`srcmatters.training.shared_training`.
    """
    added = settings.get("confounder") == "none" or settings.get("confounder") in confounder_summaries()
    alone = settings.get("mitigation", "none") == "none" and settings.get("control", "none") == "none"
    finetuned = "trainings_dir" in settings and "features" not in settings
    nobody = settings.get("p_art") == 0 and settings.get("p_neg", 0) == 0
    corrected = settings.get("protocol") != "paper"
    if not (finetuned and added and alone and nobody and corrected):
        return ""
    return _plain({name: value for name, value in identity.items() if name not in _OF_THE_CONFOUNDER})


_OF_THE_CONFOUNDER = ("confounder", "confounder_args", "p_art", "force", "tested")
#: In which the cells of a study run, after p_art's extremes and before its values in between.
_ORDER = ("seed", "fold", "confounder", "network", "adaptation", "train_size")
_PREFIX = {"p_art": "p", "p_neg": "n", "train_size": "size", "fold": "fold", "seed": "seed"}


def _short(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else Path(str(value)).name


def _plain(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=str)


def _without_places(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name not in BOOKKEEPING}


def _named(values: Mapping[str, Any]) -> dict[str, Any]:
    """Settings without places: of a network of one's own the hash of its file."""
    kept = _without_places(values)
    return kept | {name: network_name(str(value)) for name, value in kept.items() if name == "network"}


@cache
def _file_digest(path: str, size: int, changed: int) -> str:  # noqa: ARG001
    return sha256_of(path)


def _digest(path: Path) -> str:
    status = path.stat()
    return _file_digest(str(path), status.st_size, status.st_mtime_ns)


def _source_digest(source: str) -> tuple[str, str]:
    """The absolute path and content hash of a source that is a file; of one with a name, no hash."""
    path = Path(source)
    return (str(path.absolute()), _digest(path)) if path.is_file() else (source, "")


def _absolute(network: str) -> str:
    """What builds a network of one's own, its file found from any folder."""
    constructor = read_constructor(network)
    return network if constructor.file is None else f"{constructor.file.absolute()}:{constructor.call}"


def _data_digest(fixed: Mapping[str, Any], config: Mapping[str, Any]) -> list[str]:
    folder = Path(str(fixed.get("dataset_dir", config.get("dataset_dir", ""))))
    table = folder / str(fixed.get("cases", config.get("cases", "")))
    return [folder.name, _digest(table) if table.is_file() else ""]


def _usefulness(study: Study) -> Any:
    """Sort key: what a comparison of sources needs first."""
    place = {
        axis: {_short(_shown(axis, choice.name)): number for number, choice in enumerate(choices)}
        for axis, choices in study.axes.items()
    }
    shares = sorted(choice.name for choice in study.axes.get("p_art", ()))
    extremes = (shares[0], shares[-1]) if shares else ()
    controls = ("none", *study.controls)

    def key(cell: Cell) -> tuple[int, ...]:
        # A control has no arm, which the axis may not have either.
        at = {axis: order.get(_short(cell.axes[axis]), 0) for axis, order in place.items() if axis != "p_art"}
        tier = 0 if cell.axes.get("p_art") in extremes else 1
        order = [at.get(axis, 0) for axis in _ORDER]
        share = -shares.index(cell.axes["p_art"]) if cell.axes.get("p_art") in shares else 0
        return (controls.index(cell.axes.get("control", "none")), tier, *order, share, at.get("source", 0))

    return key


def _shown(axis: str, name: Any) -> Any:
    if axis == "network":
        return network_name(str(name))
    return Path(str(name)).stem if Path(str(name)).is_file() else name


def task_of(
    cell: Cell, study: Study, study_dir: Path, config: Mapping[str, Any], run_id: str | None
) -> CellTask:
    """The cell as an executor takes it.

    Args:
        cell: of the study.
        study: it belongs to.
        study_dir: where results go.
        config: see :func:`bundle_config`.
        run_id: MLflow run of the study, None without tracking.
    """
    places = {
        "output_dir": str(study_dir / "cells" / cell.cell_id),
        "bundle_root": str(study.bundle),
        "experiment_name": study.name,
        "tracking_uri": study.tracking_uri or "",
        "parent_run_id": run_id,
        "trainings_dir": str(study_dir / "trainings") if cell.training else None,
        "run_tags": {"study": study.name, "cell": cell.cell_id, "control": cell.axes.get("control", "none")},
    }
    overrides = {**cell.overrides, **{name: value for name, value in places.items() if name in config}}
    paths = tuple(str(path) for path in study.config_files())
    return CellTask(cell.cell_id, str(study_dir), paths, overrides, axes=dict(cell.axes))
