"""Sternotomy: the wires and clips that heart surgery leaves."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from srcmatters.confounders.base import Parameters
from srcmatters.confounders.curves import spline
from srcmatters.confounders.devices import Device, Shadow
from srcmatters.confounders.taxonomy import Miccat
from srcmatters.errors import InputError

_MIDLINE = 0.497
_ROWS = (0.27, 0.62)  # first and last wire
_GRAFT = ((0.36, 0.545), (0.44, 0.565), (0.52, 0.59), (0.60, 0.62))  # clips beside the heart


class Sternotomy(Device):
    r"""Close the sternum with wires, and leave clips beside the heart.

    MICCAT: environment / external / device / local. Steel wires of 0.9 mm, each a loop of 14 x 9 mm with a
    twisted knot, along the midline, and titanium clips of 4 x 1.2 mm along a bypass graft. Their attenuation
    is added to that of the chest, ``t' = min(t + dp / L, 1)``.

    Args:
        wires: number of wires, 1 .. 12.
        clips: number of clips, 0 .. 40.
        opacity: how much more or less it absorbs than usual, > 0. At 1 a wire adds 1.6 and a clip 1.4
            natural-log units of attenuation.
        latitude: natural-log units of attenuation between black and white, 3 to 4.6 for a chest.
        jitter: standard deviation of the places, as a fraction of the image height, [0, 0.5).
        seed: seed of the per-case streams.

    Shape:
        image: (C, H, W), floating point in [0, 1]; the result has the same shape and dtype.

    Raises:
        InputError: an argument outside its range.

    Example:
        >>> import torch
        >>> image = torch.full((1, 256, 256), 0.3)
        >>> bool((Sternotomy()(image, "case 7") >= image).all())
        True

    Source: sizes of common wires and clips; MICCAT of Juodelyte et al. 2024.
    """

    name = "sternotomy"
    miccat = Miccat("environment", "external", "device", "local")
    source = "MICCAT of Juodelyte et al. 2024; sizes of common wires and clips"
    strength_spread = 0.15  # wires are white on small pixels and averaged on large ones
    presets: ClassVar[dict[str, Parameters]] = {
        "plausible": {"clips": 6},
        "stress": {"wires": 8, "clips": 24, "opacity": 1.5},
    }

    def __init__(
        self,
        wires: int = 6,
        clips: int = 10,
        opacity: float = 1.0,
        latitude: float = 4.0,
        jitter: float = 0.005,
        seed: int = 0,
    ) -> None:
        super().__init__(opacity, latitude, jitter, seed)
        if not 1 <= wires <= 12:
            raise InputError(f"sternotomy: wires {wires}, expected 1..12")
        if not 0 <= clips <= 40:
            raise InputError(f"sternotomy: clips {clips}, expected 0..40")
        self.wires = wires
        self.clips = clips

    def draw(self, stream: np.random.Generator) -> Parameters:
        """Draw where each wire and clip lies, and how it is turned."""
        along = np.linspace(*_ROWS, self.wires) + stream.normal(0, self.jitter, self.wires)
        across = _MIDLINE + stream.normal(0, self.jitter) + stream.normal(0, self.jitter / 2, self.wires)
        place = stream.uniform(0, len(_GRAFT) - 1, self.clips)
        clips = np.stack([np.interp(place, np.arange(len(_GRAFT)), column) for column in zip(*_GRAFT)], 1)  # noqa: B905
        return {
            "wires": np.stack([along, across], axis=1),
            "turns": stream.normal(0, 0.15, self.wires),
            "clips": clips + stream.normal(0, 2 * self.jitter, clips.shape),
            "angles": stream.uniform(0, np.pi, self.clips),
        }

    def cast(self, shadow: Shadow, drawn: Parameters) -> None:
        """Draw the loops with their knots, then the clips."""
        scale = np.array([shadow.shape[0] - 1, shadow.shape[1] - 1])
        loop = np.array([(0, -7), (-4.5, -4), (-4.5, 4), (0, 7), (4.5, 4), (4.5, -4), (0, -7)]) * shadow.mm
        for place, turn in zip(drawn["wires"], drawn["turns"], strict=True):
            cos, sin = np.cos(turn), np.sin(turn)
            turned = loop @ np.array([[cos, sin], [-sin, cos]])
            shadow.line(spline(turned + place * scale), 0.45 * shadow.mm, 1.6)
            knot = place * scale + np.array([6.0, 1.0]) * shadow.mm
            shadow.block(knot, (2.2 * shadow.mm, 0.8 * shadow.mm), 1.2, float(turn), 0.5 * shadow.mm)
        for place, angle in zip(drawn["clips"], drawn["angles"], strict=True):
            shadow.block(place * scale, (0.6 * shadow.mm, 2 * shadow.mm), 1.4, float(angle))
