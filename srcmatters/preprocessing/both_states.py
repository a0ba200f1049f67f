"""Decode every image of a case table once and finish its preprocessing in each state."""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch
from monai.transforms import Compose
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from srcmatters.cohorts.case_table import POSITION
from srcmatters.confounders import Confounderd, Pair
from srcmatters.confounders.base import DISPLAY
from srcmatters.errors import InputError, find_input_error
from srcmatters.images import file_digest


@dataclass(frozen=True)
class Unreadable:
    """An image file that cannot be decoded, and why, in one line that names the file."""

    reason: str


def confounder_position(preprocessing: Compose) -> int | None:
    """Where in the transforms the confounder is put in, None if there is none.

    Raises:
        InputError: there are several.
    """
    positions = [at for at, step in enumerate(preprocessing.transforms) if isinstance(step, Confounderd)]
    if len(positions) > 1:
        raise InputError(f"preprocessing: {len(positions)} confounders, expected one at most")
    return positions[0] if positions else None


def positions(cases: pd.DataFrame) -> list[dict[str, float]]:
    """Where in its scan each case is: x_mm, y_mm and z_mm, or nothing in a table without these columns."""
    if not set(POSITION) <= set(cases):
        return [{} for _ in range(len(cases))]
    return [dict(zip(POSITION, row, strict=True)) for row in cases[list(POSITION)].to_numpy(dtype=float)]


class BothStates(Dataset[Any]):
    """Every image clean and confounded, in the four states of a pair, or clean alone if nothing is put in.

    An item is (states, SHA-256 of the file), the states of shape (1, 2 or 4, C, H, W[, D]) float32; or
    :class:`Unreadable`, if what comes before the confounder cannot make an image of the file; or an
    :class:`InputError` from what comes after it. Mistakes are handed over as values, since a worker's
    exception would arrive as the text of a traceback.

    Args:
        cases: case table; ``image`` holds absolute paths.
        preprocessing: flat; its :class:`Confounderd`, if any, at ``confounder_at``.
        confounder_at: see :func:`confounder_position`.
    """

    def __init__(self, cases: pd.DataFrame, preprocessing: Compose, confounder_at: int | None) -> None:
        self.images: list[str] = cases["image"].tolist()
        self.case_ids: list[str] = cases["case_id"].tolist()
        self.positions: list[dict[str, float]] = positions(cases)
        self.preprocessing = preprocessing
        self.confounder_at = confounder_at

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, str] | Unreadable | InputError:
        try:
            decoded, digest = self._decode(index)
        except OSError as error:
            return Unreadable(f"{self.images[index]}: cannot be read ({error.strerror or error})")
        except Exception as error:
            mistake = find_input_error(error)
            if mistake is None:
                raise
            return Unreadable(str(mistake))
        try:
            return self._states(decoded), digest
        except Exception as error:
            mistake = find_input_error(error)
            if mistake is None:
                raise
            return mistake

    def _decode(self, index: int) -> tuple[dict[str, Any], str]:
        item = {"image": self.images[index], "case_id": self.case_ids[index], **self.positions[index]}
        digest = file_digest(self.images[index])
        return self.preprocessing(item, end=self.confounder_at), digest

    def _states(self, decoded: dict[str, Any]) -> torch.Tensor:
        if self.confounder_at is None:
            return torch.as_tensor(decoded["image"]).to(torch.float32).unsqueeze(0)
        images = []
        for step in steps_of_states(self.preprocessing.transforms[self.confounder_at]):
            item = self.preprocessing(step(decoded), start=self.confounder_at + 1)
            images.append(torch.as_tensor(item["image"]).to(torch.float32))
        return torch.stack(images)


def steps_of_states(step: Confounderd) -> list[Callable[[Mapping[Any, Any]], Mapping[Any, Any]]]:
    """What makes each state of a decoded image: clean and confounded, or the four states of a pair."""
    confounder = step.confounder
    steps = [_carrying(step, False)]
    for put_in in confounder.states if isinstance(confounder, Pair) else (confounder,):
        own = copy.copy(step)
        own.confounder = put_in
        own.window_hu = step.window_hu if put_in.unit == DISPLAY else None
        steps.append(_carrying(own, True))
    return steps


def _carrying(step: Confounderd, carries: bool) -> Callable[[Mapping[Any, Any]], Mapping[Any, Any]]:
    def put_in(decoded: Mapping[Any, Any]) -> Mapping[Any, Any]:
        return step({**decoded, "carries": carries})

    return put_in


def decode(dataset: BothStates, num_workers: int) -> Iterator[tuple[torch.Tensor, str] | Unreadable]:
    """All items of a dataset in order, with a progress bar.

    Args:
        dataset: what to decode.
        num_workers: processes; 0 decodes in this one.

    Raises:
        InputError: a mistake that no other image would be free of, such as a confounder's parameters.
    """
    # A generator of its own: whether images were cached must not shift what is drawn afterwards.
    own = torch.Generator()
    loader = DataLoader(dataset, batch_size=None, num_workers=num_workers, generator=own)
    for item in tqdm(
        loader, desc="decoding images", unit="image", file=sys.stderr, leave=False, disable=None
    ):
        if isinstance(item, InputError):
            raise item
        yield item
