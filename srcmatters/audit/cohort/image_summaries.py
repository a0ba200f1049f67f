"""What the audit of a case table keeps of every image, so that it is decoded once and not at every run."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from srcmatters import __version__
from srcmatters.audit.case_images import CaseImages, Refused
from srcmatters.errors import InputError
from srcmatters.evaluation import ladder_steps
from srcmatters.images import file_signature
from srcmatters.images.perceptual_hash import perceptual_hash
from srcmatters.preprocessing.fingerprint import code_files, library_versions
from srcmatters.preprocessing.stored_arrays import cache_folder, scratch_file

#: Images that are kept together: what an interrupted audit decodes again at most.
CHUNK = 64
_STEP = "step "


@dataclass(frozen=True)
class ImageSummary:
    """One image.

    Args:
        steps: features of each step of the ladder that looks at images.
        perceptual_hash: (4,) see :func:`srcmatters.images.perceptual_hash.perceptual_hash`.
        digest: SHA-256 of its file.
    """

    steps: dict[str, np.ndarray]
    perceptual_hash: np.ndarray
    digest: str


def image_summaries(
    images: CaseImages, cache_dir: str | Path | None = None
) -> Iterator[ImageSummary | Refused]:
    """Every case in order, from the cache where its file, the way of reading it and the code are the same.

    Images are kept 64 at a time, each part whole or not at all; a part with an image that cannot be read is
    not kept.

    Args:
        images: of the case table.
        cache_dir: None: ``$SRCMATTERS_CACHE`` or ``~/.cache/srcmatters``.

    Raises:
        InputError: an image of fewer than 16 pixels a side, or a cache that cannot be written.
    """
    folder, code = cache_folder(cache_dir, "cohort_audits"), _code()
    with tqdm(total=len(images), desc="images", unit="image", leave=False, disable=None) as bar:
        for start in range(0, len(images), CHUNK):
            rows = range(start, min(start + CHUNK, len(images)))
            path = _path(folder, images, rows, code)
            if path is not None and path.is_file():
                yield from _read(path)
                bar.update(len(rows))
                continue
            part: list[ImageSummary | Refused] = []
            for row in rows:
                part.append(_summary(images, row))
                bar.update()
            readable = [one for one in part if isinstance(one, ImageSummary)]
            if path is not None and len(readable) == len(part):
                _write(path, readable)
            yield from part


def _summary(images: CaseImages, row: int) -> ImageSummary | Refused:
    try:
        image, digest = images.grey(row), images.digest(row)
    except (InputError, OSError) as error:
        return Refused(str(error))
    return ImageSummary(ladder_steps.steps_of_image(image), perceptual_hash(image.numpy()), digest)


def _code() -> str:
    """Hash of the code and libraries that what is kept depends on."""
    digest = hashlib.sha256(repr((__version__, library_versions())).encode())
    for path in code_files():
        digest.update(path.read_bytes())
    for module in (ladder_steps, inspect.getmodule(CaseImages)):
        assert module is not None
        digest.update(inspect.getsource(module).encode())
    return digest.hexdigest()


def _path(folder: Path, images: CaseImages, rows: Sequence[int], code: str) -> Path | None:
    """Where some images are kept; None where a file is not there."""
    try:
        files = [
            (path := str(images.cases["image"][row]), file_signature(path), images.described(row))
            for row in rows
        ]
    except OSError:
        return None
    key = hashlib.sha256(repr((code, images.how_to_read, files)).encode()).hexdigest()[:32]
    return folder / f"{key}.npz"


def _write(path: Path, part: Sequence[ImageSummary]) -> None:
    """Steps that an image is too small for are empty rows."""
    names = dict.fromkeys(name for one in part for name in one.steps)
    arrays = {
        "digests": np.array([one.digest for one in part]),
        "hashes": np.stack([one.perceptual_hash for one in part]),
    }
    for name in names:
        size = next(len(one.steps[name]) for one in part if name in one.steps)
        nothing = np.full(size, np.nan)
        arrays[_STEP + name] = np.stack([one.steps.get(name, nothing) for one in part])
    with scratch_file(path) as place:
        np.savez(place, **arrays)  # type: ignore[arg-type]
        place.replace(path)


def _read(path: Path) -> Iterator[ImageSummary]:
    with np.load(path, allow_pickle=False) as stored:
        arrays = {name: stored[name] for name in stored.files}
    for row, digest in enumerate(arrays["digests"]):
        steps = {
            name.removeprefix(_STEP): values[row]
            for name, values in arrays.items()
            if name.startswith(_STEP) and not np.isnan(values[row]).all()
        }
        yield ImageSummary(steps, arrays["hashes"][row], str(digest))
