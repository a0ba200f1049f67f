"""Both states of every image, clean and confounded, decoded and resized once and kept on disk."""

from __future__ import annotations

import hashlib
import inspect
import json
import mmap
import os
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args

import joblib
import numpy as np
import pandas as pd
import torch
from filelock import FileLock
from monai.transforms import Compose
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from srcmatters import __version__, confounders
from srcmatters.confounders import Confounderd
from srcmatters.errors import InputError, find_input_error
from srcmatters.training.radiographs import file_digest

State = Literal["clean", "confounded"]
_MAP_NORESERVE = 0x4000  # of Linux; Python's mmap module names it from 3.13 on
STATES: tuple[State, ...] = get_args(State)


def default_cache_dir() -> Path:
    """``$SRCMATTERS_CACHE``, or ``~/.cache/srcmatters``."""
    return Path(os.environ.get("SRCMATTERS_CACHE", Path.home() / ".cache" / "srcmatters"))


class StateCache:
    """The preprocessed images of a case table in both states.

    Decoding, the confounder and resizing are deterministic, so their result is the same for every source,
    p_art and fold: it is computed once, written as one array and memory-mapped afterwards. The file's name
    is a hash of the case table, the files' sizes and times, the transforms with their parameters and code:
    whatever changes the pixels changes the name. Two processes that need the same array wait for one.

    Args:
        cases: case table; ``image`` holds absolute paths.
        preprocessing: transforms of a dictionary with image (path), case_id and carries; it holds a
            :class:`Confounderd` with ``carries_key="carries"``, or none for a study without a confounder.
        cache_dir: where arrays are kept, None: :func:`default_cache_dir`.
        num_workers: processes that decode; 0 decodes in this one.

    Attributes:
        images: (states, cases, C, H, W[, D]) float32 tensor, memory-mapped; one state without a confounder.
        digests: SHA-256 of each image file's content.

    Raises:
        InputError: an image cannot be read, or not all of them come out with the same shape; names the file.
    """

    def __init__(
        self,
        cases: pd.DataFrame,
        preprocessing: Compose,
        cache_dir: str | Path | None = None,
        num_workers: int = 0,
    ) -> None:
        self.cases = cases
        self.preprocessing = preprocessing.flatten()
        # The draw belongs to the case; a fixed state makes the fingerprint of the transforms stable as well.
        self.preprocessing.set_random_state(0)
        self.num_workers = num_workers
        self.confounder_at = _confounder_position(self.preprocessing)
        folder = Path(cache_dir) if cache_dir is not None else default_cache_dir()
        folder = folder / "images"
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"cache_dir: {folder} cannot be written ({error.strerror})") from error
        self.path = folder / f"{self._key()}.npy"
        with FileLock(self.path.with_suffix(".lock")):
            if not self.path.exists():
                self._build()
        record = json.loads(self.path.with_suffix(".json").read_text())
        self.digests: list[str] = record["digests"]
        self.images = _map(self.path)

    @property
    def states(self) -> int:
        """2 with a confounder, 1 without."""
        return 1 if self.confounder_at is None else 2

    def state(self, state: State) -> torch.Tensor:
        """(cases, C, H, W[, D]) of one state; without a confounder both are the same."""
        return self.images[min(STATES.index(state), self.states - 1)]

    def digest(self) -> str:
        """SHA-256 over the content of all images and their labels, whatever they are called."""
        content = sorted(zip(self.digests, self.cases["label"].tolist(), strict=True))
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()

    def _key(self) -> str:
        files = [(path, os.stat(path).st_size, os.stat(path).st_mtime_ns) for path in self.cases["image"]]
        ids = self.cases["case_id"].tolist()
        parts = (files, ids, transform_fingerprint(self.preprocessing), __version__, torch.__version__)
        return hashlib.sha256(repr(parts).encode()).hexdigest()[:32]

    def _build(self) -> None:
        # The lock is ours, so any other unfinished array of this name was left by a killed process.
        for left in self.path.parent.glob(f"{self.path.stem}.partial-*"):
            left.unlink()
        partial = self.path.with_suffix(f".partial-{os.getpid()}")
        digests: list[str] = []
        try:
            array: np.memmap | None = None
            for index, (states, digest) in enumerate(self._items()):
                if array is None:
                    shape = (self.states, len(self.cases), *states.shape[1:])
                    array = np.lib.format.open_memmap(partial, "w+", np.float32, shape)
                    # A full disk must be an error now, not a bus error when a page is written.
                    with partial.open("r+b") as file:
                        os.posix_fallocate(file.fileno(), 0, partial.stat().st_size)
                if states.shape[1:] != array.shape[2:]:
                    raise InputError(
                        f"{self.cases['image'].iloc[index]}: shape {tuple(states.shape[1:])} after"
                        f" preprocessing, expected {array.shape[2:]} as the images before it"
                    )
                array[:, index] = states.numpy()
                digests.append(digest)
            assert array is not None
            array.flush()
            self.path.with_suffix(".json").write_text(json.dumps({"digests": digests}))
            partial.replace(self.path)
        except OSError as error:
            raise InputError(f"cache_dir: {partial} cannot be written ({error.strerror or error})") from error
        finally:
            partial.unlink(missing_ok=True)

    def _items(self) -> Iterator[tuple[torch.Tensor, str]]:
        # A generator of its own: whether images were cached must not shift what is drawn afterwards.
        own = torch.Generator()
        dataset = _BothStates(self.cases, self.preprocessing, self.confounder_at)
        loader = DataLoader(dataset, batch_size=None, num_workers=self.num_workers, generator=own)
        for item in tqdm(loader, desc="decoding images", unit="image", file=sys.stderr, leave=False):
            # A worker's exception would arrive as the text of a traceback: it is handed over as a value.
            if isinstance(item, InputError):
                raise item
            yield item


class _BothStates(Dataset):
    """Decodes an image once and finishes its preprocessing in each state."""

    def __init__(self, cases: pd.DataFrame, preprocessing: Compose, confounder_at: int | None) -> None:
        self.images: list[str] = cases["image"].tolist()
        self.case_ids: list[str] = cases["case_id"].tolist()
        self.preprocessing = preprocessing
        self.confounder_at = confounder_at

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, str] | InputError:
        item: dict[str, Any] = {"image": self.images[index], "case_id": self.case_ids[index]}
        try:
            digest = file_digest(self.images[index])
            if self.confounder_at is None:
                return self._finish(item, 0).unsqueeze(0), digest
            decoded = self.preprocessing(item, end=self.confounder_at)
            states = [self._finish({**decoded, "carries": carries}) for carries in (False, True)]
            return torch.stack(states), digest
        except OSError as error:
            return InputError(f"{self.images[index]}: cannot be read ({error.strerror or error})")
        except Exception as error:
            mistake = find_input_error(error)
            if mistake is None:
                raise
            return mistake

    def _finish(self, item: dict[str, Any], start: int | None = None) -> torch.Tensor:
        start = self.confounder_at if start is None else start
        image = self.preprocessing(item, start=start)["image"]
        return torch.as_tensor(image).to(torch.float32)


def _map(path: Path) -> torch.Tensor:
    """A tensor on a file, copied on write: nobody can change the cached file by accident.

    numpy's own copy-on-write mapping is counted against memory in full and refused for a file larger than it;
    with MAP_NORESERVE only pages that are written count.
    """
    stored = np.load(path, mmap_mode="r")
    with path.open("rb") as file:
        pages = mmap.mmap(
            file.fileno(), 0, flags=mmap.MAP_PRIVATE | _MAP_NORESERVE, prot=mmap.PROT_READ | mmap.PROT_WRITE
        )
    values = np.frombuffer(pages, dtype=stored.dtype, count=stored.size, offset=stored.offset)
    return torch.from_numpy(values.reshape(stored.shape))


def _confounder_position(preprocessing: Compose) -> int | None:
    """Where in the transforms the confounder is put in, None if there is none."""
    found = [at for at, step in enumerate(preprocessing.transforms) if isinstance(step, Confounderd)]
    if len(found) > 1:
        raise InputError(f"preprocessing: {len(found)} confounders, expected one at most")
    return found[0] if found else None


def transform_fingerprint(preprocessing: Compose) -> str:
    """Hash of transforms: their classes, their parameters, and the code that they are written in.

    Confounders share code (streams, projection), so all of their package counts.
    """
    modules = {inspect.getmodule(type(step)) for step in preprocessing.transforms}
    sources = {inspect.getsource(module) for module in modules if module is not None}
    shared = {path.read_text() for path in Path(confounders.__file__).parent.glob("*.py")}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # joblib warns of what it pickles with its fallback
        return joblib.hash((preprocessing, sorted(sources | shared)))
