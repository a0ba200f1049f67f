"""Confounders in a MONAI pipeline: the dictionary form, and the clipping that follows a resize."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform, RandomizableTransform

from srcmatters.confounders.arguments import ShowsArguments, image_tensor
from srcmatters.confounders.base import DISPLAY, Confounder, acquisition_of
from srcmatters.confounders.ct_dose_slices import stored_like
from srcmatters.errors import InputError
from srcmatters.images.pixel_spacing import known_spacing
from srcmatters.images.windows import window_edges

_TRUE, _FALSE = ("true", "yes", "1"), ("false", "no", "0")
_POSITION = ("x_mm", "y_mm", "z_mm")


class Confounderd(ShowsArguments, MapTransform, RandomizableTransform):
    """Dictionary form: puts a confounder into the images under ``keys``.

    What a scanner does to HU is stored as the clean scan is: whole numbers where that has nothing else, not
    below -1024 HU, padding as it was (:func:`~srcmatters.confounders.ct_dose_slices.stored_like`). Fractions
    of a HU, and an overshoot that no file can hold, would tell the state.

    Args:
        keys: which items are images.
        confounder: the array form.
        case_key: item with the identifier of the case, which names the random stream.
        carries_key: item that says whether this case carries the confounder: a truth value, 0 or 1, or their
            text as a table read from a file holds it ("True", "no", "1", ...); None: every case does. A case
            that does not gets the confounder's clean state, which is the image itself for all but the
            published noise model.
        window: of images in HU, a name or (centre, width): a confounder of display values sees them through
            it, see :func:`through_window`; None: the images have the confounder's unit.
        allow_missing_keys: skip keys that are absent.

    Raises:
        InputError: the item under ``carries_key`` says neither yes nor no.
    """

    def __init__(
        self,
        keys: KeysCollection,
        confounder: Confounder,
        case_key: str = "case_id",
        carries_key: str | None = None,
        window: str | Sequence[float] | None = None,
        allow_missing_keys: bool = False,
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        RandomizableTransform.__init__(self, prob=1.0)
        self.confounder = confounder
        self.case_key = case_key
        self.carries_key = carries_key
        through = window is not None and confounder.unit == DISPLAY
        self.window_hu = window_edges(window) if through and window is not None else None

    def set_random_state(
        self, seed: int | None = None, state: np.random.RandomState | None = None
    ) -> Confounderd:
        """Set the state used for cases without an identifier."""
        super().set_random_state(seed, state)
        self.confounder.set_random_state(seed, state)
        return self

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return a copy of ``data`` in which the images carry the confounder."""
        result = dict(data)
        case_id = result.get(self.case_key)
        carries = self.carries_key is None or _truth(self.carries_key, result[self.carries_key], case_id)
        for key in self.key_iterator(result):
            image = image_tensor(result[key])
            if not carries:
                result[key] = self.confounder.clean(image, case_id)
            elif self.window_hu is not None:
                result[key] = through_window(self.confounder, image, case_id, self.window_hu)
            else:
                result[key] = self._stored(self.confounder(image, case_id, _voxel(image, result)), image)
        return result

    def _stored(self, changed: torch.Tensor, scan: torch.Tensor) -> torch.Tensor:
        """What became of a scan (C, H, W[, D]) in HU, as its file would hold it."""
        confounder = self.confounder
        if confounder.unit == DISPLAY or not confounder.stored_as_its_scan:
            return changed
        if not (isinstance(scan, MetaTensor) and isinstance(changed, MetaTensor)):
            return changed
        if scan.meta.get("unit") != "HU":
            return changed
        stored = stored_like(_planes(changed), _planes(scan))
        if scan.ndim == 4:
            stored = stored.unflatten(0, (len(scan), scan.shape[3])).movedim(1, -1)
        return MetaTensor(stored, meta=changed.meta, applied_operations=changed.applied_operations)


class ClipDisplayd(MapTransform):
    """Clip display values to [0, 1], after the resize.

    Noise of few photons leaves [0, 1] at a radiograph's own size. Clipping there would brighten what is dark
    and darken what is bright; after the resize, which averages it, almost nothing is left to clip. Images
    without such a confounder are in [0, 1] and stay as they are.

    Args:
        keys: which items are images, in display values.
    """

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return a copy of ``data`` with the images clipped."""
        result = dict(data)
        for key in self.key_iterator(result):
            result[key] = torch.clamp(result[key], 0, 1)
        return result


def through_window(
    confounder: Confounder, image: torch.Tensor, case_id: str | None, window_hu: Sequence[float]
) -> torch.Tensor:
    """Apply a confounder of display values to an image in HU, before it is windowed.

    The confounder gets ``(HU - low) / (high - low)``, which is not clipped: what the window will cut off is
    still there.

    Args:
        confounder: of display values.
        image: (C, H, W[, D]) in HU.
        case_id: whose random stream is used.
        window_hu: (low, high): HU shown as black and as white.

    Returns:
        As ``image``, in HU.
    """
    low, high = window_hu
    shown = (image - low) / (high - low)
    case_ids = [confounder._name(case_id)]
    changed = confounder.batch(
        shown.unsqueeze(0),
        case_ids,
        known_spacing(image),
        check=False,  # display values would be refused outside [0, 1]
        acquisitions=[acquisition_of(image)],
    )[0]
    return changed * (high - low) + low


def _planes(image: MetaTensor) -> torch.Tensor:
    """(C, H, W[, D]) to (C * D, H, W)."""
    plain = image.as_tensor()
    return plain if plain.ndim == 3 else plain.movedim(-1, 1).flatten(0, 1)


def _truth(key: str, value: Any, case_id: object) -> bool:
    if isinstance(value, str):
        text = value.strip().lower()
        if text in (*_TRUE, *_FALSE):
            return text in _TRUE
    elif isinstance(value, bool | np.bool_) or value in (0, 1):
        return bool(value)
    raise InputError(f"case {case_id}: {key} is {value!r}, expected a truth value (True, False, 0 or 1)")


def _voxel(image: torch.Tensor, case: Mapping[Hashable, Any]) -> tuple[float, ...] | None:
    """Voxel of a case with x_mm, y_mm and z_mm (LPS, mm) in a volume; None where it has none."""
    place: list[Any] = [case.get(name) for name in _POSITION]
    if not isinstance(image, MetaTensor) or image.ndim != 4 or any(value is None for value in place):
        return None
    x, y, z = (float(value) for value in place if value is not None)
    if not np.isfinite([x, y, z]).all():
        return None
    # The affine maps voxels to RAS, DICOM's coordinates are LPS.
    voxel = np.linalg.inv(np.asarray(image.affine, dtype=float)) @ np.array([-x, -y, z, 1.0])
    return tuple(float(index) for index in voxel[:3])
