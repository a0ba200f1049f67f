"""Surgical clips: what an operation beside the lung leaves on a radiograph."""

from __future__ import annotations

import math
from typing import ClassVar, Literal, get_args

import numpy as np
from torch.nn import functional

from srcmatters.confounders.base import Parameters
from srcmatters.confounders.devices import Device, Shadow
from srcmatters.confounders.taxonomy import Miccat
from srcmatters.errors import InputError, did_you_mean

Place = Literal["axilla", "neck", "upper abdomen"]
_PLACES = get_args(Place)
_LENGTH_MM, _RADIUS_MM = 6.0, 0.6
#: Middle and spread (row, column) of the clips on a frontal chest; the patient's right is on the left.
_FIELDS = {
    "axilla": ((0.33, 0.085), (0.045, 0.022)),
    "neck": ((0.06, 0.50), (0.02, 0.035)),
    "upper abdomen": ((0.90, 0.34), (0.02, 0.02)),
}


class SurgicalClips(Device):
    r"""Leave the clips of an operation.

    MICCAT: environment / external / device / local. Titanium clips of 6 x 1.2 mm after a dissection of the
    axilla (breast cancer), a thyroidectomy or a cholecystectomy. Each lies at an angle ``e`` to the plane of
    the image: it is ``cos e`` as long and, per pixel, ``1 / cos e`` as dense. Its attenuation is added to
    that of the chest, ``t' = min(t + dp / L, 1)``.

    Args:
        place: "axilla", "neck" or "upper abdomen".
        clips: number of clips, 1 .. 40.
        opacity: how much more or less it absorbs than usual, > 0. At 1 a clip in the plane of the image adds
            1.4 natural-log units of attenuation.
        latitude: natural-log units of attenuation between black and white, 3 to 4.6 for a chest.
        jitter: standard deviation of the place of all clips, as a fraction of the image height, [0, 0.5).
        seed: seed of the per-case streams.

    Shape:
        image: (C, H, W), floating point in [0, 1]; the result has the same shape and dtype.

    Raises:
        InputError: an argument outside its range.

    Example:
        >>> import torch
        >>> image = torch.full((1, 256, 256), 0.3)
        >>> bool((SurgicalClips()(image, "case 7") >= image).all())
        True

    Source: sizes of common clips; MICCAT of Juodelyte et al. 2024.
    """

    name = "surgical_clips"
    miccat = Miccat("environment", "external", "device", "local")
    source = "MICCAT of Juodelyte et al. 2024; sizes of common clips"
    strength_spread = 0.15  # thin metal is white on small pixels and averaged on large ones
    presets: ClassVar[dict[str, Parameters]] = {
        "plausible": {"clips": 6},
        "stress": {"clips": 30, "opacity": 1.5},
    }

    def __init__(
        self,
        place: Place = "axilla",
        clips: int = 10,
        opacity: float = 1.0,
        latitude: float = 4.0,
        jitter: float = 0.01,
        seed: int = 0,
    ) -> None:
        super().__init__(opacity, latitude, jitter, seed)
        if place not in _PLACES:
            raise InputError(f"surgical_clips: place {place!r} is unknown{did_you_mean(str(place), _PLACES)}")
        if not 1 <= clips <= 40:
            raise InputError(f"surgical_clips: clips {clips}, expected 1..40")
        self.place = place
        self.clips = clips

    def draw(self, stream: np.random.Generator) -> Parameters:
        """Draw where each clip lies, and how it is turned in and out of the plane."""
        middle, spread = (np.array(part) for part in _FIELDS[self.place])
        return {
            "places": middle
            + stream.normal(0, self.jitter, 2)
            + spread * stream.standard_normal((self.clips, 2)).clip(-1.8, 1.8),
            "angles": stream.uniform(0, np.pi, self.clips),
            "cosines": np.cos(stream.uniform(0, np.deg2rad(60), self.clips)),
        }

    def cast(self, shadow: Shadow, drawn: Parameters) -> None:
        """Draw the clips."""
        scale = np.array([shadow.shape[0] - 1, shadow.shape[1] - 1])
        for place, angle, cosine in zip(drawn["places"], drawn["angles"], drawn["cosines"], strict=True):
            self._clip(shadow, place * scale, float(angle), float(cosine))

    @staticmethod
    def _clip(shadow: Shadow, middle: np.ndarray, angle: float, cosine: float) -> None:
        """Draw one clip on pixels of at most 0.2 mm, a third of its radius, and average those."""
        finer = math.ceil(shadow.pixel_mm / 0.2)
        size = 2 * math.ceil(_LENGTH_MM * shadow.mm / 2 + 1) + 1
        first = np.round(middle) - size // 2
        fine = Shadow((size * finer, size * finer), (shadow.pixel_mm / finer,) * 2)
        # Round ends: this length of the axis has the metal of a wire that is as long as the clip.
        half = (_LENGTH_MM * cosine - 4 / 3 * _RADIUS_MM) / 2
        along = half * np.array([math.sin(angle), math.cos(angle)]) * fine.mm
        centre = (middle - first + 0.5) * finer - 0.5
        fine.line(np.stack([centre - along, centre + along]), _RADIUS_MM * fine.mm, 1.4 / cosine)
        averaged = functional.avg_pool2d(fine.attenuation[None, None], finer)[0, 0]
        shadow.patch(np.round(middle), averaged)
