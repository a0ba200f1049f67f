"""A training run that several cells of a study have in common is carried out once.

At p_art 0 nobody in the training and validation sets carries the confounder, so that the runs of all
confounders that are put into images train the same network on the same pixels in the same order. The first
one trains, the others take over its weights and test them under their own confounder.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import monai
import numpy as np
import torch
from filelock import FileLock

from srcmatters import __version__
from srcmatters.cohorts.study_cases import StudyCases
from srcmatters.errors import InputError
from srcmatters.files import atomic_path
from srcmatters.preprocessing.state_cache import StateCache
from srcmatters.runs.code_version import git_commit
from srcmatters.runs.file_names import TRAINING, WEIGHTS
from srcmatters.runs.private_settings import BOOKKEEPING

#: What is put into images that no network trains on.
_OF_THE_TEST = (
    "confounder",
    "confounder_args",
    "p_art",
    "force",
    "tested",
    "run_name",
    "overwrite",
    "tested",
)
History = list[dict[str, float]]


@dataclass(frozen=True)
class Trained:
    """A training run that is complete.

    Args:
        key: hash of everything that it depends on.
        trained_by: name of the output folder of the run that trained.
        history: one dictionary per epoch, see :class:`srcmatters.training.handlers.EpochLog`.
    """

    key: str
    trained_by: str
    history: History


def training_key(
    ran: Mapping[str, Any],
    config: Mapping[str, Any],
    cache: StateCache,
    chosen: StudyCases,
    initial_weights: str,
) -> str | None:
    """Hash of everything that the weights of a training run depend on.

    Args:
        ran: settings, read off the objects that train.
        config: configuration of the run, overrides included.
        cache: both states of every case.
        chosen: the cases of the run.
        initial_weights: hash of the network's weights before training.

    Returns:
        64 hexadecimal digits; None where the training depends on the confounder: a training or validation
        case carries it, or a mitigation may put it into images.
    """
    split = chosen.split
    if {**config, **ran}.get("mitigation", "none") != "none":
        return None
    seen = np.concatenate([split.train, split.validation])
    if chosen.states(seen, cache.states).any():
        return None
    labels = cache.cases["label"].to_numpy()
    parts = [
        {name: value for name, value in ran.items() if name not in _OF_THE_TEST},
        {name: value for name, value in config.items() if name not in {*BOOKKEEPING, *_OF_THE_TEST}},
        [[rows.tolist(), labels[rows].tolist()] for rows in (split.train, split.validation)],
        cache.pixel_digest("clean"),
        initial_weights,
        [__version__, git_commit(), torch.__version__, monai.__version__],
    ]
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


class SharedTraining:
    """Complete training runs by their key, in a folder that the cells of a study have in common.

    Args:
        folder: of the training runs; created if need be.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    def run(self, key: str, working: Path, train: Callable[[], History]) -> Trained:
        """Train, or take over the weights of the run that has trained the same.

        Whoever comes while another process trains the same waits for it. A process that is killed leaves
        nothing, and the next one trains.

        Args:
            key: see :func:`training_key`.
            working: folder in which ``model.pt`` is when this returns, and ``training.json`` which says who
                trained it.
            train: trains, writes ``model.pt`` into ``working`` and returns the epochs.

        Raises:
            InputError: a record in the folder that is damaged.
        """
        place = self.folder / key
        self.folder.mkdir(parents=True, exist_ok=True)
        with FileLock(place.with_suffix(".lock")):
            if place.is_dir():
                trained = _read(place / TRAINING)
                (working / WEIGHTS).unlink(missing_ok=True)
                _link(place / WEIGHTS, working / WEIGHTS)
            else:
                trained = Trained(key, working.parent.name, train())
                with atomic_path(place) as scratch:
                    scratch.mkdir()
                    _link(working / WEIGHTS, scratch / WEIGHTS)
                    (scratch / TRAINING).write_text(json.dumps(asdict(trained), indent=2) + "\n")
        (working / TRAINING).write_text(
            json.dumps({"key": key, "trained_by": trained.trained_by}, indent=2) + "\n"
        )
        return trained


def _read(path: Path) -> Trained:
    try:
        return Trained(**json.loads(path.read_text()))
    except (OSError, ValueError, TypeError) as error:
        raise InputError(
            f"{path}: not readable as a training run ({error}); remove {path.parent} to train again"
        ) from error


def _link(source: Path, target: Path) -> None:
    """The same file under a second name, which takes no space; a copy where the disk knows no such names."""
    with suppress(OSError):
        os.link(source, target)
        return
    shutil.copyfile(source, target)
