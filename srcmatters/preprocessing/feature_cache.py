"""What a frozen network sees in every image, computed once for all p_art, folds and seeds."""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import inspect
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock
from torch import nn
from tqdm import tqdm

from srcmatters.errors import InputError
from srcmatters.preprocessing.state_cache import State, StateCache
from srcmatters.preprocessing.stored_arrays import cache_folder, map_array, new_array, scratch_file
from srcmatters.sources.network_facts import HEADS, check_network

# Small enough to stay in a CPU's cache; a GPU wants more at once.
_BATCH = {"cpu": 8}
_BATCH_ELSEWHERE = 64


class FeatureCache:
    """The input of the classification head for every case in every state.

    The network is in evaluation mode, so there is no dropout, and what its head holds plays no part. The
    features of a state are kept under a hash of its pixels, of the network's weights and structure, and of
    the code that computes them. So the clean state of the same images is shared by all confounders, and two
    processes that need the same features wait for one.

    Args:
        cache: both states of every case.
        network: a classifier of :func:`srcmatters.sources.create_classifier`; it is put into evaluation mode
            and moved to ``device``.
        name: name of the network, which tells where its head is.
        cache_dir: where arrays are kept, None: ``$SRCMATTERS_CACHE`` or ``~/.cache/srcmatters``.
        device: where the network runs.

    Raises:
        InputError: an unknown network, or no space left.
    """

    def __init__(
        self,
        cache: StateCache,
        network: nn.Module,
        name: str,
        cache_dir: str | Path | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        self.cache = cache
        self.network = network
        self.name = name
        self.head = head_of(network, name)
        self.device = torch.device(device)
        folder = cache_folder(cache_dir, "features")
        network_digest = backbone_digest(network, name)
        self._features = [self._open(folder, state, network_digest) for state in cache.state_names]

    def state(self, state: State) -> np.ndarray:
        """(cases, F) float32 of one state; without a confounder both are the same. Do not change it."""
        return self._features[self.cache.index(state)]

    def as_assigned(self, rows: np.ndarray, carries: np.ndarray) -> np.ndarray:
        """(rows, F) float32, of each case the state that it has in this study.

        Args:
            rows: positions in the case table.
            carries: (cases of the table,) bool, who carries the confounder.
        """
        return np.where(carries[rows, None], self.state("confounded")[rows], self.state("clean")[rows])

    def in_states(self, rows: np.ndarray, states: np.ndarray) -> np.ndarray:
        """(rows, F) float32, of each case the state of that number.

        Args:
            rows: positions in the case table.
            states: (rows,) places in the cache's ``state_names``.
        """
        return np.stack([self._features[state][row] for row, state in zip(rows, states, strict=True)])

    def _open(self, folder: Path, state: State, network_digest: str) -> np.ndarray:
        parts = (self.cache.pixel_digest(state), network_digest, self.device.type)
        key = hashlib.sha256(repr(parts).encode()).hexdigest()[:32]
        path = folder / f"{key}.npy"
        if not path.exists():
            with FileLock(path.with_suffix(".lock")):
                if not path.exists():
                    self._compute(path, state)
        return map_array(path).numpy()

    @torch.inference_mode()
    def _compute(self, path: Path, state: State) -> None:
        images = self.cache.state(state)
        size = _BATCH.get(self.device.type, _BATCH_ELSEWHERE)
        with scratch_file(path) as partial, self._ready_network() as seen:
            array = new_array(partial, (len(images), self.head.in_features))
            starts = range(0, len(images), size)
            for start in tqdm(starts, desc=f"{state} features", file=sys.stderr, leave=False, disable=None):
                batch = images[start : start + size].to(self.device)
                flat = batch.ndim == 4
                self.network(batch.contiguous(memory_format=torch.channels_last) if flat else batch)
                array[start : start + size] = seen.pop().float().cpu().numpy()
            if not np.isfinite(array).all():
                raise InputError("source: the features of the images hold NaN or infinite values")
            array.flush()
            partial.replace(path)

    @contextmanager
    def _ready_network(self) -> Iterator[list[torch.Tensor]]:
        """The network without dropout on its device; the input of its head arrives in the list."""
        self.network.to(self.device)
        if self.cache.images.ndim == 5:
            self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.network.eval()
        seen: list[torch.Tensor] = []
        hook = self.head.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
        try:
            yield seen
        finally:
            hook.remove()


def head_of(network: nn.Module, name: str) -> nn.Linear:
    """The classification head of a classifier.

    Args:
        network: of :func:`srcmatters.sources.create_classifier`: input normalisation, then the network.
        name: name of the network.

    Raises:
        InputError: an unknown network.
    """
    head = network.get_submodule(_head_path(network, name))
    assert isinstance(head, nn.Linear)
    return head


def _head_path(network: nn.Module, name: str) -> str:
    own = getattr(network, "head_path", None)
    if own is None:
        check_network(name)
        own = HEADS[name].rstrip(".")
    return f"1.{own}"


def backbone_digest(network: nn.Module, name: str) -> str:
    """SHA-256 over everything that the features depend on: weights, structure and code, but not the head.

    Args:
        network: of :func:`srcmatters.sources.create_classifier`.
        name: name of the network.
    """
    head = f"{_head_path(network, name)}."
    digest = hashlib.sha256(repr((str(network), _code(network))).encode())
    for key, tensor in network.state_dict().items():
        if not key.startswith(head):
            digest.update(f"{key} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.detach().cpu().contiguous().numpy())
    return digest.hexdigest()


def _code(network: nn.Module) -> list[str]:
    """Source of the modules that the network is built from, and versions of the libraries."""
    names = {type(part).__module__ for part in network.modules()}
    ours = [_source(name) for name in sorted(names) if not name.startswith(("torch.", "monai."))]
    return [*ours, _source(__name__), torch.__version__, importlib.metadata.version("monai")]


@functools.cache
def _source(module: str) -> str:
    try:
        return inspect.getsource(sys.modules[module])
    except (OSError, TypeError):  # compiled
        return module
