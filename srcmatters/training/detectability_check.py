"""No training on a confounder that preprocessing has erased."""

from __future__ import annotations

import hashlib
import inspect
import json
from dataclasses import asdict
from pathlib import Path

import torch
from filelock import FileLock

from srcmatters.evaluation import detectability as probe_module
from srcmatters.evaluation.detectability import (
    MINIMUM_DETECTABILITY,
    Detectability,
    detectability,
    require_detectable,
)
from srcmatters.preprocessing.state_cache import PAIR_STATES, State, StateCache
from srcmatters.preprocessing.stored_arrays import replace_text

__all__ = ["MINIMUM_DETECTABILITY", "check_detectability"]


def check_detectability(cache: StateCache, confounder: str, force: bool = False) -> Detectability | None:
    """Measure on the preprocessed images whether the confounder is there; kept beside the cached images.

    Args:
        cache: both states of every case.
        confounder: its name, for the message.
        force: train even if it is not.

    Returns:
        The measurement, of a pair that of the confounder that is seen less; None where nothing is put into
        the images.

    Raises:
        InputError: the probe's AUC is below :data:`MINIMUM_DETECTABILITY` and ``force`` is not set.
    """
    if cache.states == 1:
        return None
    if cache.states == len(PAIR_STATES):
        parts = zip(PAIR_STATES[1:], confounder.split("+"), strict=False)
        return min((_checked(cache, state, name, force) for state, name in parts), key=lambda one: one.auc)
    return _checked(cache, "confounded", confounder, force)


def _checked(cache: StateCache, state: State, confounder: str, force: bool) -> Detectability:
    patients = [str(name) for name in cache.cases["patient_id"]]
    probe = inspect.getsource(probe_module)
    digest = hashlib.sha256(json.dumps([probe, patients]).encode()).hexdigest()[:8]
    part = "" if state == "confounded" else f"{state}-"
    path = cache.path.with_suffix(f".detectability-{part}{digest}.json")
    if not path.exists():
        with FileLock(
            path.with_suffix(".lock")
        ):  # whoever needs it as well waits instead of measuring it again
            if not path.exists():
                _measure(cache, state, patients, path)
    result = Detectability(**json.loads(path.read_text()))
    require_detectable(result, confounder, force)
    return result


def _measure(cache: StateCache, state: State, patients: list[str], path: Path) -> None:
    folds = min(5, len(set(patients)))
    with torch.random.fork_rng(devices=[]):
        result = detectability(cache.state("clean"), cache.state(state), patients, folds=folds)
    replace_text(path, json.dumps(asdict(result)))
