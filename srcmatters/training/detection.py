"""No training on a confounder that preprocessing has erased."""

from __future__ import annotations

import hashlib
import inspect
import json
import os
from dataclasses import asdict

import torch

from srcmatters.evaluation import detectability as probe_module
from srcmatters.evaluation.detectability import (
    MINIMUM_DETECTABILITY,
    Detectability,
    detectability,
    require_detectable,
)
from srcmatters.training.state_cache import StateCache

__all__ = ["MINIMUM_DETECTABILITY", "check_detectability"]


def check_detectability(cache: StateCache, confounder: str, force: bool = False) -> Detectability | None:
    """Measure on the preprocessed images whether the confounder is there; kept beside the cached images.

    Args:
        cache: both states of every case.
        confounder: its name, for the message.
        force: train even if it is not.

    Returns:
        The measurement, None where nothing is put into the images.

    Raises:
        InputError: the probe's AUC is below :data:`MINIMUM_DETECTABILITY` and ``force`` is not set.
    """
    if cache.states == 1:
        return None
    patients = [str(name) for name in cache.cases["patient_id"]]
    probe = inspect.getsource(probe_module)
    digest = hashlib.sha256(json.dumps([probe, patients]).encode()).hexdigest()[:8]
    path = cache.path.with_suffix(f".detectability-{digest}.json")
    if path.exists():
        result = Detectability(**json.loads(path.read_text()))
    else:
        folds = min(5, len(set(patients)))
        with torch.random.fork_rng(devices=[]):
            result = detectability(cache.state("clean"), cache.state("confounded"), patients, folds=folds)
        partial = path.with_suffix(f".partial-{os.getpid()}")
        partial.write_text(json.dumps(asdict(result)))
        partial.replace(path)
    require_detectable(result, confounder, force)
    return result
