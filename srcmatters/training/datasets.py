"""Batches out of the cache: indexing where the images lie, nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from monai.data import DistributedWeightedRandomSampler
from torch.utils.data import (
    DataLoader,
    Dataset,
    DistributedSampler,
    RandomSampler,
    Sampler,
    SequentialSampler,
    WeightedRandomSampler,
)

from srcmatters.errors import InputError
from srcmatters.preprocessing.state_cache import StateCache
from srcmatters.training.mitigation.training_cases import carrier_groups


class CaseDataset(Dataset[dict[str, Any]]):
    """Some cases of a cache, each in the state that it has in this study.

    Args:
        cache: both states of every case.
        rows: positions in the cache's case table.
        carries: (number of cases in the table,) bool; who carries the confounder. None: nobody.
        device: the chosen cases are held there, each in its state; on a CPU they stay memory-mapped.
        both_states: a batch has the confounded state of all cases as well; of a pair that with the first
            confounder, the second as it is.
        second: (number of cases in the table,) bool, who carries the second confounder of a pair.

    A batch is a dictionary: image (B, C, H, W[, D]) float32, label (B,) int64, case_id list of str; with both
    states also confounded (like image) and carries (B,) bool.

    Attributes:
        carries: (rows,) bool, which of them carry the confounder, of a pair the first.
        second: (rows,) bool, which of them carry the second of a pair; None: there is none.
    """

    def __init__(
        self,
        cache: StateCache,
        rows: Sequence[int] | np.ndarray,
        carries: np.ndarray | None = None,
        device: torch.device | str = "cpu",
        both_states: bool = False,
        second: np.ndarray | None = None,
    ) -> None:
        self.rows = np.asarray(rows)
        self.cache = cache
        self.data = cache.cases.iloc[self.rows].reset_index(drop=True)
        self.labels = torch.tensor(self.data["label"].to_numpy(), device=device)
        carried = np.zeros(len(cache.cases), bool) if carries is None else np.asarray(carries, bool)
        self.carries = carried[self.rows]
        self.second = None if second is None else second[self.rows]
        states, confounded = states_of(self.carries, self.second, cache)
        state = torch.from_numpy(states)
        positions = torch.from_numpy(self.rows.astype(np.int64))
        if torch.device(device).type == "cpu":
            self._images, self._state, self._position = cache.images, state, positions
        else:
            self._images = cache.images[state, positions].to(device).unsqueeze(0)
            self._state, self._position = torch.zeros_like(state), torch.arange(len(positions))
        self._confounded = None
        if both_states:
            if cache.states < 2:
                raise InputError(
                    "mitigation: this arm puts the confounder into images, and no image has one; expected"
                    " none, balanced or dfr"
                )
            self._confounded_state = torch.from_numpy(confounded)
            self._confounded = cache.images
            if torch.device(device).type != "cpu":
                self._confounded = cache.images[self._confounded_state, positions].to(device).unsqueeze(0)
                self._confounded_state = torch.zeros_like(self._confounded_state)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        batch = self.__getitems__([index])
        return {key: values[0] for key, values in batch.items()}

    def __getitems__(self, indices: Sequence[int]) -> dict[str, Any]:
        """A batch: DataLoader asks for all of its items at once."""
        selected = torch.as_tensor(indices)
        batch: dict[str, Any] = {
            "image": self._images[self._state[selected], self._position[selected]],
            "label": self.labels[selected.to(self.labels.device)],
            "case_id": [str(self.data["case_id"].iloc[index]) for index in indices],
        }
        if self._confounded is not None:
            at = self._confounded_state[selected], self._position[selected]
            batch["confounded"] = self._confounded[at]
            batch["carries"] = torch.from_numpy(self.carries)[selected].to(self.labels.device)
        return batch


def states_of(
    carries: np.ndarray, second: np.ndarray | None, cache: StateCache
) -> tuple[np.ndarray, np.ndarray]:
    """(cases,) int64, the state that each case is in, and the one with the confounder, of a pair the first.

    Args:
        carries: (cases,) bool.
        second: (cases,) bool, who carries the second confounder of a pair; None: all in one or no confounder.
        cache: of these images.
    """
    last = cache.states - 1
    if second is None:
        return carries.astype(np.int64) * last, np.full(len(carries), last)
    behind = 2 * second.astype(np.int64)
    return carries + behind, 1 + behind


def _balanced(dataset: CaseDataset, seed: int, distributed: bool) -> Sampler[int]:
    """Every epoch as many draws as there are cases."""
    counts = torch.bincount(dataset.labels).clamp(min=1)
    weights = (1 / counts)[dataset.labels].double().tolist()
    generator = torch.Generator().manual_seed(seed)
    if distributed:
        return DistributedWeightedRandomSampler(dataset, weights, generator=generator)
    return WeightedRandomSampler(weights, len(dataset), generator=generator)


class GroupBalancedSampler(WeightedRandomSampler):
    """Draw with replacement, every combination of label and carrier equally often; an epoch as many as cases.

    Args:
        dataset: the cases.
        seed: seed of the draw.

    Raises:
        InputError: one of the four groups is empty.
    """

    def __init__(self, dataset: CaseDataset, seed: int) -> None:
        labels = dataset.labels.cpu().numpy()
        groups = carrier_groups(labels, dataset.carries, "balanced")
        weights = (1 / np.bincount(groups))[groups].tolist()
        super().__init__(weights, len(dataset), generator=torch.Generator().manual_seed(seed))


def _as_is(batch: Any) -> Any:
    return batch


def case_loader(
    dataset: CaseDataset,
    batch_size: int,
    shuffle: bool = False,
    seed: int = 0,
    distributed: bool = False,
    balanced: bool = False,
    mitigation: str = "none",
) -> DataLoader[Any]:
    """A DataLoader over ready batches; its order depends on the seed alone.

    Args:
        dataset: the cases.
        batch_size: cases a batch; a last batch of one case is dropped when shuffling, since batch
            normalisation cannot train on it.
        shuffle: draw a new order every epoch.
        seed: seed of the order.
        distributed: each process of a torch.distributed group gets its share.
        balanced: draw with replacement, both labels equally often, whatever their numbers.
        mitigation: "balanced" draws every combination of label and carrier equally often.

    Raises:
        InputError: group balancing in a process group, or of a group without a case.
    """
    generator = torch.Generator().manual_seed(seed)
    sampler: Sampler[int]
    if shuffle and mitigation == "balanced":
        if distributed:
            raise InputError("mitigation: balanced draws in one process, expected --distributed false")
        sampler = GroupBalancedSampler(dataset, seed)
    elif shuffle and balanced:
        sampler = _balanced(dataset, seed, distributed)
    elif distributed:
        sampler = DistributedSampler(dataset, shuffle=shuffle, seed=seed)
    elif shuffle:
        sampler = RandomSampler(dataset, generator=generator)
    else:
        sampler = SequentialSampler(dataset)
    share = len(sampler)  # type: ignore[arg-type]
    drop_last = shuffle and share > batch_size and share % batch_size == 1
    return DataLoader(
        dataset,
        batch_size=batch_size,
        sampler=sampler,
        collate_fn=_as_is,
        drop_last=drop_last,
        generator=generator,
    )
