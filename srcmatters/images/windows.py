"""Windows of CT by name: which Hounsfield units are black and which are white."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import ScaleIntensityRange, ScaleIntensityRanged

from srcmatters.errors import InputError, did_you_mean

#: Centre and width in HU, as they are usual at the workstation (Radiopaedia, "Windowing (CT)").
WINDOWS: dict[str, tuple[float, float]] = {
    "lung": (-600, 1500),
    "mediastinum": (50, 400),
    "bone": (400, 1800),
    "abdomen": (50, 400),
    "brain": (40, 80),
}
Window = str | Sequence[float]


def window_edges(window: Window) -> tuple[float, float]:
    """The HU that become 0 and 1.

    Args:
        window: a name from :data:`WINDOWS`, or (centre, width) in HU.

    Raises:
        InputError: an unknown name, or no two numbers with a width above 0.
    """
    if isinstance(window, str):
        if window not in WINDOWS:
            raise InputError(f"window: {window!r} is unknown{did_you_mean(window, WINDOWS)}")
        window = WINDOWS[window]
    try:
        centre, width = (float(number) for number in window)
        valid = math.isfinite(centre) and 0 < width < math.inf
    except (TypeError, ValueError):
        valid = False
    if not valid:
        raise InputError(f"window: got {window!r}, expected a name or (centre, width) in HU, width above 0")
    return centre - width / 2, centre + width / 2


def window(hu: torch.Tensor, name_or_pair: Window) -> torch.Tensor:
    """Show CT through a window.

    Args:
        hu: HU, any shape.
        name_or_pair: a name from :data:`WINDOWS`, or (centre, width) in HU.

    Returns:
        float32 in [0, 1], the same shape; what is below or above the window is 0 or 1.

    Raises:
        InputError: no such window, or the image is known to be in display units.
    """
    low, high = window_edges(name_or_pair)
    _refuse_display(hu)
    return torch.as_tensor(ScaleIntensityRange(low, high, 0.0, 1.0, clip=True)(hu))


class Windowd(ScaleIntensityRanged):
    """Dictionary form of :func:`window`.

    Args:
        keys: which items are images in HU.
        window: a name from :data:`WINDOWS`, or (centre, width) in HU.
        allow_missing_keys: skip keys that are absent.
    """

    def __init__(
        self, keys: KeysCollection, window: Window = "lung", allow_missing_keys: bool = False
    ) -> None:
        low, high = window_edges(window)
        super().__init__(keys, low, high, 0.0, 1.0, clip=True, allow_missing_keys=allow_missing_keys)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return a copy of ``data`` with the images in [0, 1]."""
        for key in self.key_iterator(dict(data)):
            _refuse_display(data[key])
        return super().__call__(data)


def _refuse_display(image: Any) -> None:
    if isinstance(image, MetaTensor) and image.meta.get("unit") == "display":
        name = image.meta.get("filename_or_obj", "image")
        raise InputError(f"{name}: in display units, expected HU: such an image has no window")
