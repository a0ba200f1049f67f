"""Both states of every image, clean and confounded, decoded and resized once and kept on disk."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import torch
from filelock import FileLock
from monai.transforms import Compose

from srcmatters import __version__
from srcmatters.confounders import Pair
from srcmatters.errors import InputError, did_you_mean
from srcmatters.images import file_signature
from srcmatters.images.perceptual_hash import perceptual_hash
from srcmatters.preprocessing.both_states import (
    BothStates,
    Unreadable,
    confounder_position,
    decode,
    positions,
)
from srcmatters.preprocessing.fingerprint import library_versions, transform_fingerprint
from srcmatters.preprocessing.stored_arrays import (
    cache_folder,
    default_cache_dir,
    map_array,
    new_array,
    replace_text,
    scratch_file,
)
from srcmatters.preprocessing.unreadable import UNREADABLE

__all__ = ["PAIR_STATES", "STATES", "State", "StateCache", "default_cache_dir"]

State = Literal["clean", "confounded", "first", "second", "both"]
STATES: tuple[State, ...] = ("clean", "confounded")
#: Of a pair; "confounded" is both.
PAIR_STATES: tuple[State, ...] = ("clean", "first", "second", "both")
_NAMED = 5  # unreadable images that are named one by one


class StateCache:
    """The preprocessed images of a case table in both states.

    Decoding, the confounder and resizing are deterministic, so their result is the same for every source,
    p_art and fold: it is computed once, written as one array and memory-mapped afterwards. The file's name
    is a hash of the case table, the files' sizes and times, the transforms with their parameters and code,
    and the versions of the libraries that decode and compute: whatever changes the pixels changes the name.
    Two processes that need the same array wait for one.

    Args:
        cases: case table; ``image`` holds absolute paths.
        preprocessing: transforms of a dictionary with image (path), case_id and carries; it holds a
            :class:`Confounderd` with ``carries_key="carries"``, or none for a study without a confounder.
        cache_dir: where arrays are kept, None: :func:`default_cache_dir`.
        num_workers: processes that decode; 0 decodes in this one.
        unreadable: "fail" stops at the first image that cannot be decoded; "skip" leaves such cases out and
            says which. They are tried again whenever the cache is opened, so one that was mended is back.

    Attributes:
        cases: the cases whose images are here, in the order of the table.
        skipped: (case_id, reason) of each case that was left out.
        images: (states, cases, C, H, W[, D]) float32 tensor, memory-mapped; one state without a confounder,
            four of a pair.
        digests: SHA-256 of each image file's content.

    Raises:
        InputError: an image cannot be read (with "skip": none can), or not all of them come out with the
            same shape; names the file.
    """

    def __init__(
        self,
        cases: pd.DataFrame,
        preprocessing: Compose,
        cache_dir: str | Path | None = None,
        num_workers: int = 0,
        unreadable: str = "fail",
    ) -> None:
        if unreadable not in UNREADABLE:
            raise InputError(f"unreadable: {unreadable!r} is unknown{did_you_mean(unreadable, UNREADABLE)}")
        self.cases = cases
        self.preprocessing = preprocessing.flatten()
        # The draw belongs to the case; a fixed state makes the fingerprint of the transforms stable as well.
        self.preprocessing.set_random_state(0)
        self.num_workers = num_workers
        self.unreadable = unreadable
        self.confounder_at = confounder_position(self.preprocessing)
        self.skipped: list[tuple[str, str]] = []
        self.path = cache_folder(cache_dir, "images") / f"{self._key()}.npy"
        self.images = torch.empty(0)
        self.digests: list[str] = []

    @classmethod
    def open(
        cls,
        cases: pd.DataFrame,
        preprocessing: Compose,
        cache_dir: str | Path | None = None,
        num_workers: int = 0,
        unreadable: str = "fail",
    ) -> StateCache:
        """The images of a case table, decoded now (minutes) unless they are on disk already.

        The arguments and errors are those of the class.
        """
        cache = cls(cases, preprocessing, cache_dir, num_workers, unreadable)
        with FileLock(cache.path.with_suffix(".lock")):
            cache._open()
        cache._say_what_was_skipped()
        return cache

    @property
    def states(self) -> int:
        """2 with a confounder, 4 with a pair of them, 1 without."""
        if self.confounder_at is None:
            return 1
        step = self.preprocessing.transforms[self.confounder_at]
        return len(PAIR_STATES if isinstance(step.confounder, Pair) else STATES)

    @property
    def state_names(self) -> tuple[State, ...]:
        """What the states are called, in their order."""
        return PAIR_STATES if self.states == len(PAIR_STATES) else STATES[: self.states]

    def index(self, state: State) -> int:
        """Place of a state: 0 is clean, the last confounded, which is the same without a confounder."""
        if state in STATES:
            return STATES.index(state) * (self.states - 1)
        return self.state_names.index(state)

    def state(self, state: State) -> torch.Tensor:
        """(cases, C, H, W[, D]) of one state; without a confounder both are the same."""
        return self.images[self.index(state)]

    def digest(self) -> str:
        """SHA-256 over the content of all images and their labels, whatever they are called."""
        content = sorted(zip(self.digests, self.cases["label"].tolist(), strict=True))
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()

    def pixel_digest(self, state: State) -> str:
        """SHA-256 over the pixels of one state, case by case; computed once and kept beside the array."""
        index = self.index(state)
        kept = self.path.with_suffix(f".{self.state_names[index]}.sha256")
        with FileLock(self.path.with_suffix(".lock")):
            if not kept.exists():
                digest = hashlib.sha256(repr(tuple(self.images[index].shape)).encode())
                for image in self.images[index]:
                    digest.update(image.numpy())
                replace_text(kept, digest.hexdigest())
            return kept.read_text()

    def perceptual_hashes(self) -> np.ndarray:
        """(cases, 4) uint64, hashes of how the clean images look; computed once and kept beside the array."""
        kept = self.path.with_suffix(".phash.npy")
        with FileLock(self.path.with_suffix(".lock")):
            if not kept.exists():
                hashes = np.stack([perceptual_hash(image.numpy()) for image in self.state("clean")])
                with scratch_file(kept) as partial:
                    with partial.open("wb") as file:
                        np.save(file, hashes)
                    partial.replace(kept)
            hashes = np.load(kept)
        return hashes

    def _key(self) -> str:
        files = [(path, file_signature(path)) for path in self.cases["image"]]
        ids = self.cases["case_id"].tolist()
        where = [tuple(position.values()) for position in positions(self.cases)]
        transforms = transform_fingerprint(self.preprocessing)
        parts = (files, ids, where, transforms, __version__, library_versions())
        return hashlib.sha256(repr(parts).encode()).hexdigest()[:32]

    def _open(self) -> None:
        """Find or make the array, of all cases or of those that can be read."""
        complete, table = self.path, self.cases
        dataset = BothStates(table, self.preprocessing, self.confounder_at)
        if self.unreadable == "skip" and not complete.exists():
            known = _read_unreadable(_unreadable_list(complete))
            still = {at: why for at, why in known.items() if isinstance(dataset[at], Unreadable)}
            self._leave_out(table, still)
        if not self.path.exists():
            self.path = complete
            self._build(table, dataset)
        record = json.loads(self.path.with_suffix(".json").read_text())
        self.digests = record["digests"]
        self.images = map_array(self.path)

    def _leave_out(self, table: pd.DataFrame, failed: dict[int, str]) -> None:
        """Take unreadable cases out of the table; what is left has an array of its own."""
        if not failed:
            return
        readable = [at for at in range(len(table)) if at not in failed]
        self.skipped = [(str(table["case_id"].iloc[at]), failed[at]) for at in sorted(failed)]
        self.cases = table.iloc[readable].reset_index(drop=True)
        digest = hashlib.sha256(repr(sorted(failed)).encode()).hexdigest()[:8]
        self.path = self.path.with_stem(f"{self.path.stem}-without-{digest}")

    def _build(self, table: pd.DataFrame, dataset: BothStates) -> None:
        self.cases, self.skipped = table, []
        complete = self.path
        with scratch_file(complete) as partial:
            digests, failed = self._decode_into(partial, dataset)
            if failed:
                self._leave_out(table, failed)
                partial = _shortened(partial, len(digests))
                _unreadable_list(complete).write_text(json.dumps(failed))
            self.path.with_suffix(".json").write_text(json.dumps({"digests": digests}))
            partial.replace(self.path)

    def _decode_into(self, partial: Path, dataset: BothStates) -> tuple[list[str], dict[int, str]]:
        """Fill an array with what can be read, one case behind the other; who is missing in it, and why."""
        array: np.memmap | None = None
        digests: list[str] = []
        failed: dict[int, str] = {}
        for index, item in enumerate(decode(dataset, self.num_workers)):
            if isinstance(item, Unreadable):
                failed[index] = self._tolerated(item, index, len(dataset))
                continue
            states, digest = item
            if array is None:
                array = new_array(partial, (self.states, len(dataset), *states.shape[1:]))
            if states.shape[1:] != array.shape[2:]:
                raise InputError(
                    f"{dataset.images[index]}: shape {tuple(states.shape[1:])} after"
                    f" preprocessing, expected {array.shape[2:]} as the images before it"
                )
            array[:, len(digests)] = states.numpy()
            digests.append(digest)
        if array is None:
            raise InputError(f"cases: none of {len(dataset)} images can be read; the first: {failed[0]}")
        array.flush()
        return digests, failed

    def _tolerated(self, item: Unreadable, index: int, count: int) -> str:
        """Why an image is left out, if that is allowed."""
        if self.unreadable == "fail":
            raise InputError(
                f"{item.reason}; image {index + 1} of {count}: mend it or take it out of the case table, or"
                " leave out what cannot be read with --unreadable skip"
            )
        return item.reason

    def _say_what_was_skipped(self) -> None:
        if not self.skipped:
            return
        count = len(self.skipped)
        lines = [f"{count} of {count + len(self.cases)} images cannot be read and are left out:"]
        lines += [f"  {reason}" for _, reason in self.skipped[:_NAMED]]
        if count > _NAMED:
            lines.append(f"  and {count - _NAMED} more")
        print("\n".join(lines), file=sys.stderr)


def _unreadable_list(complete: Path) -> Path:
    """Where the images that an earlier attempt left out are listed."""
    return complete.with_suffix(".unreadable.json")


def _read_unreadable(path: Path) -> dict[int, str]:
    if not path.exists():
        return {}
    return {int(at): why for at, why in json.loads(path.read_text()).items()}


def _shortened(partial: Path, count: int) -> Path:
    """A copy of an array with its first ``count`` cases alone."""
    array = np.load(partial, mmap_mode="r")
    shorter = partial.with_name(f"{partial.name}-shorter")
    kept = new_array(shorter, (array.shape[0], count, *array.shape[2:]))
    kept[:] = array[:, :count]
    kept.flush()
    return shorter
