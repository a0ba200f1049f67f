"""Cases and images of a run as the objects that hold them have them, whatever the configuration asked for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from srcmatters.cohorts.case_table import FOLDER_NAME
from srcmatters.cohorts.study_cases import StudyCases
from srcmatters.confounders import Confounder, create_taught_confounder
from srcmatters.errors import InputError
from srcmatters.images import LoadCTd, Windowd
from srcmatters.images.windows import window_edges
from srcmatters.preprocessing import ResamplePatchd
from srcmatters.preprocessing.state_cache import StateCache

Settings = dict[str, Any]


def target_name(setting: object, config: Mapping[str, Any], cache: StateCache) -> str:
    """The folder that the cases were read from, or the name that the user has given to it.

    Args:
        setting: ``target``.
        config: the configuration; a target that is not called like its ``dataset_dir`` was named by the user.
        cache: images of the cases.
    """
    folder = cache.cases.attrs.get(FOLDER_NAME)
    by_default = Path(str(config.get("dataset_dir", setting))).name == str(setting)
    return str(folder) if folder is not None and by_default else str(setting)


def case_settings(
    settings: Mapping[str, Any],
    cache: StateCache,
    chosen: StudyCases,
    fold: int,
    config: Mapping[str, Any],
) -> Settings:
    """Target, share, folds and seed of the cases, and size and units of their images.

    Args:
        settings: as they were asked for.
        cache: both states of every case.
        chosen: the cases of the run.
        fold: of the test.
        config: the configuration.

    Raises:
        InputError: the confounder that is in the images, or the fold, is another than the one asked for.
    """
    choice = chosen.choice
    if choice is None:
        raise InputError("chosen: nothing tells how these cases were chosen, expected cohorts.choose_cases")
    names = ("p_art", "p_neg", "train_size", "fold", "num_folds", "validation_folds", "seed", "assignment",
             "protocol", "control")  # fmt: skip
    ran = {name: getattr(choice, name) for name in names}
    if fold != choice.fold:
        raise InputError(f"fold: the test has {fold}, the cases {choice.fold}; expected --fold alone")
    _check_confounder({**settings, **ran}, cache, choice.sampled)
    if choice.sampled is not None:
        ran["confounder_args"] = dict(choice.confounder_args)
    ran["target"] = target_name(settings["target"], config, cache)
    return {**ran, "image_size": image_size_of(cache), **scan_settings(settings, cache)}


def image_size_of(cache: StateCache) -> int | list[int]:
    """Pixels or voxels a side, one number where all are equal."""
    shape = cache.images.shape[3:]
    return int(shape[0]) if len(set(shape)) == 1 else [int(side) for side in shape]


def _check_confounder(settings: Settings, cache: StateCache, sampled: str | None) -> None:
    name, args = settings["confounder"], settings["confounder_args"]
    inside = None
    if cache.confounder_at is not None:
        inside = cache.preprocessing.transforms[cache.confounder_at].confounder
    if sampled is not None:
        if sampled != name or inside is not None:
            raise InputError(f"confounder: {sampled} was sampled, not {name!r}; expected --confounder alone")
        return
    expected = create_taught_confounder(name, settings["protocol"], settings["seed"], **args)
    if _arguments(expected) != _arguments(inside):
        what = "nothing" if inside is None else type(inside).__name__
        raise InputError(
            f"confounder: {what} is put into the images, which --confounder {name} with these"
            " --confounder_args, --seed and --protocol does not make; expected these settings alone"
        )


def _arguments(value: object) -> object:
    """Class and public attributes of a confounder and of those inside it, without what it keeps for speed."""
    if isinstance(value, Confounder):
        public = {
            name: part for name, part in vars(value).items() if name != "R" and not name.startswith("_")
        }
        return type(value), {name: _arguments(part) for name, part in public.items()}
    if isinstance(value, list | tuple):
        return [_arguments(part) for part in value]
    return value.tobytes() if isinstance(value, np.ndarray) else value


def scan_settings(settings: Mapping[str, Any], cache: StateCache) -> Settings:
    """Unit, window, patch and slab of CT, where the settings have them.

    Args:
        settings: as they were asked for.
        cache: images of the scans.
    """
    ran: Settings = {}
    for step in cache.preprocessing.transforms:
        if isinstance(step, LoadCTd):
            ran |= {"unit": step.unit, "gaps": step.gaps, "slab_mm": step.slab_mm or 0}
        elif isinstance(step, ResamplePatchd):
            extent = step.extent_mm
            if extent is None or len(set(extent)) == 1:
                ran["patch_mm"] = 0 if extent is None else extent[0]
            else:
                ran["patch_mm"] = list(extent)
        elif isinstance(step, Windowd):
            edges = (step.scaler.a_min, step.scaler.a_max)
            setting = settings.get("window", "lung")
            low, high = edges
            ran["window"] = setting if window_edges(setting) == edges else [(low + high) / 2, high - low]
    return {name: value for name, value in ran.items() if name in settings}
