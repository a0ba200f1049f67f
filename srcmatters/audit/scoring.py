"""Run a model over every case in every state: once decoded, in bounded memory, resumable."""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from srcmatters.audit.case_images import CaseImages, Refused, inputs_of_states
from srcmatters.audit.doors.model import Model
from srcmatters.audit.doses import Dosed
from srcmatters.csv_tables import csv_text
from srcmatters.errors import InputError
from srcmatters.files import atomic_path

#: Cases whose scores are kept together: what an interrupted audit loses at most.
CHUNK = 32


@dataclass
class Scored:
    """What a model said.

    Args:
        log_odds: (states, cases, outputs); NaN where there is none.
        digests: (cases,) SHA-256 of the files; "" of those that could not be read.
        refused: state (0 is clean), case position and reason of everything that has no score.
        seconds: of the model's passes alone, and of everything.
        changed: (states,) cases whose input in a state is not that of the clean state.
    """

    log_odds: np.ndarray
    digests: list[str]
    refused: list[tuple[int, int, str]] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    changed: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=int))


class Scorer:
    """A model and the images that it is asked about.

    Args:
        model: behind its door.
        images: of the audit.
        batch_size: inputs per forward pass.
        num_workers: processes that decode.
        store: folder for the scores of finished chunks; None: nothing is kept.
        identity: what the scores depend on besides model, contract, cases and states.
    """

    def __init__(
        self,
        model: Model,
        images: CaseImages,
        batch_size: int = 32,
        num_workers: int = 0,
        store: Path | None = None,
        identity: Mapping[str, Any] | None = None,
    ) -> None:
        self.model, self.images = model, images
        self.batch_size, self.num_workers = batch_size, num_workers
        self.store, self.identity = store, dict(identity or {})

    def score(self, states: Sequence[Dosed | None], description: str = "scoring") -> Scored:
        """Log-odds of every case in every state.

        Args:
            states: None first, the clean state.
            description: of the progress bar.

        Raises:
            InputError: no case can be read, or the model fails; names the case.
        """
        started, cases = time.perf_counter(), len(self.images)
        scored = Scored(np.full((len(states), cases, len(self.model.outputs)), np.nan), [""] * cases)
        scored.changed = np.zeros(len(states), dtype=int)
        passes = 0.0
        folder = self._folder(states)
        with _progress(cases, description) as bar:
            for start in range(0, cases, CHUNK):
                rows = range(start, min(start + CHUNK, cases))
                part = _kept(folder, start)
                if part is None:
                    part = self._chunk(rows, states)
                    passes += float(part["seconds"])
                    _keep(folder, start, part)
                scored.log_odds[:, rows.start : rows.stop] = part["log_odds"]
                scored.changed += part["changed"]
                scored.digests[rows.start : rows.stop] = [str(one) for one in part["digests"]]
                scored.refused += [
                    (state, start + place, reason)
                    for state, place, reason in json.loads(str(part["refused"]))
                ]
                bar.update(len(rows))
        scored.seconds = {"model": passes, "all": time.perf_counter() - started}
        if np.isnan(scored.log_odds[0]).all():
            reason = scored.refused[0][2] if scored.refused else "there is no case"
            raise InputError(f"no image can be scored, the first because: {reason}")
        return scored

    def changed(self, rows: np.ndarray, change: Callable[[Tensor, int], Tensor]) -> np.ndarray:
        """Log-odds (rows, outputs) of images that a function changed in the project's own form."""
        result = np.full((len(rows), len(self.model.outputs)), np.nan)
        waiting: list[tuple[int, Tensor]] = []
        for place, row in enumerate(rows):
            try:
                case = self.images.native(int(row))
                case["image"] = change(case["image"], int(row))
                waiting.append((place, self.images.model_input(case, self.model.contract, None)))
            except InputError:
                continue
            if len(waiting) == self.batch_size:
                self._answer(waiting, result)
        if waiting:
            self._answer(waiting, result)
        return result

    def features(self, state: Dosed | None) -> np.ndarray | None:
        """Features (cases, F) before the model's head in a state; None where the door gives none."""
        kept: list[np.ndarray] = []
        for batch in self._batches(range(len(self.images)), [state]):
            features = self.model.features(torch.stack([one for _, _, one in batch]))
            if features is None:
                return None
            kept.append(features)
        return np.concatenate(kept)

    def _answer(self, waiting: list[tuple[int, Tensor]], result: np.ndarray) -> None:
        result[[place for place, _ in waiting]] = self.model.log_odds(
            torch.stack([one for _, one in waiting])
        )
        waiting.clear()

    def _batches(
        self, rows: range, states: Sequence[Dosed | None]
    ) -> Iterator[list[tuple[int, int, Tensor]]]:
        """(state, row, input) of cases whose images can be made; others raise."""
        batch: list[tuple[int, int, Tensor]] = []
        items = inputs_of_states(self.images, rows, self.model.contract, states, self.num_workers)
        for row, item in zip(rows, items, strict=True):
            if isinstance(item, Refused):
                raise InputError(item.reason)
            for state, one in enumerate(item[0]):
                if isinstance(one, Refused):
                    raise InputError(one.reason)
                batch.append((state, row, one))
            if len(batch) >= self.batch_size:
                yield batch
                batch = []
        if batch:
            yield batch

    def _chunk(self, rows: range, states: Sequence[Dosed | None]) -> dict[str, Any]:
        """Scores of some cases in every state."""
        log_odds = np.full((len(states), len(rows), len(self.model.outputs)), np.nan)
        digests = [""] * len(rows)
        refused: list[tuple[int, int, str]] = []
        waiting: list[tuple[int, int, Tensor]] = []
        changed = np.zeros(len(states), dtype=int)
        seconds = 0.0
        items = inputs_of_states(self.images, rows, self.model.contract, states, self.num_workers)
        for place, item in enumerate(items):
            if isinstance(item, Refused):
                refused.append((0, place, item.reason))
                continue
            inputs, digests[place] = item
            for state, one in enumerate(inputs):
                if isinstance(one, Refused):
                    refused.append((state, place, one.reason))
                else:
                    waiting.append((state, place, one))
                    changed[state] += isinstance(inputs[0], Refused) or not torch.equal(one, inputs[0])
            while len(waiting) >= self.batch_size:
                seconds += self._forward(waiting[: self.batch_size], log_odds)
                del waiting[: self.batch_size]
        if waiting:
            seconds += self._forward(waiting, log_odds)
        return {
            "log_odds": log_odds,
            "digests": digests,
            "refused": json.dumps(refused),
            "seconds": seconds,
            "changed": changed,
        }

    def _forward(self, batch: Sequence[tuple[int, int, Tensor]], log_odds: np.ndarray) -> float:
        started = time.perf_counter()
        scores = self.model.log_odds(torch.stack([one for _, _, one in batch]))
        for (state, place, _), score in zip(batch, scores, strict=True):
            log_odds[state, place] = score
        return time.perf_counter() - started

    def _folder(self, states: Sequence[Dosed | None]) -> Path | None:
        """Where the chunks of exactly these scores are kept."""
        if self.store is None:
            return None
        described = {
            "model": self.model.sha256 or self.model.name,
            "contract": repr(self.model.contract),
            "outputs": list(self.model.outputs),
            "cases": csv_text(self.images.cases),
            "states": [None if one is None else [one.name, one.dose, one.arguments] for one in states],
            "kept": ["log_odds", "changed"],
            **self.identity,
        }
        key = hashlib.sha256(json.dumps(described, sort_keys=True, default=str).encode()).hexdigest()[:16]
        return self.store / f"scores-{key}"


def _kept(folder: Path | None, start: int) -> dict[str, Any] | None:
    """A finished chunk."""
    path = None if folder is None else folder / f"{start:07d}.npz"
    if path is None or not path.is_file():
        return None
    with np.load(path, allow_pickle=False) as stored:
        return {name: stored[name] for name in stored.files}


def _keep(folder: Path | None, start: int, part: Mapping[str, Any]) -> None:
    if folder is not None:
        with atomic_path(folder / f"{start:07d}.npz") as place:
            arrays: dict[str, Any] = {name: np.asarray(value) for name, value in part.items()}
            np.savez(place, **arrays)


def _progress(total: int, description: str) -> tqdm:
    """A bar with an estimate of the time left; in a log file a line a minute."""
    interval = 0.1 if sys.stderr.isatty() else 60.0
    return tqdm(
        total=total, desc=description, unit="case", file=sys.stderr, mininterval=interval, leave=False
    )
