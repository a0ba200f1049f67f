"""Pacemaker: the can below the collar bone and its leads into the heart."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

import numpy as np

from srcmatters.confounders.base import Parameters
from srcmatters.confounders.curves import Curve, spline
from srcmatters.confounders.devices import Device, Shadow
from srcmatters.confounders.taxonomy import Miccat
from srcmatters.errors import InputError

Place = Callable[[float, float], np.ndarray]  # mm down and right of the middle of the can -> pixels
# From the vein below the collar bone over the superior vena cava, (row, column) as fractions of the image.
_VEIN = ((0.185, 0.665), (0.205, 0.575), (0.245, 0.487), (0.32, 0.452), (0.42, 0.445))
_VENTRICLE = ((0.53, 0.455), (0.625, 0.505), (0.675, 0.575), (0.69, 0.625))
_ATRIUM = ((0.50, 0.437), (0.555, 0.43), (0.565, 0.40), (0.525, 0.385))


class Pacemaker(Device):
    r"""Implant a pacemaker with its leads.

    MICCAT: environment / external / device / local. A titanium can of 46 x 50 mm with battery and circuit, an
    almost transparent header with the connector pins, a loop of spare lead, and leads through the superior
    vena cava to the apex of the right ventricle and, if there are two, to the right atrium, each with a ring
    and a tip electrode. Their attenuation is added to that of the chest, ``t' = min(t + dp / L, 1)``.

    Args:
        leads: 1 (ventricle) or 2 (and atrium).
        position: (row, column) of the middle of the can as fractions of height and width, (0, 1).
        opacity: how much more or less it absorbs than usual, > 0. At 1 the battery adds 3.0, the case 1.1 and
            a lead 0.7 natural-log units of attenuation.
        latitude: natural-log units of attenuation between black and white, 3 to 4.6 for a chest.
        jitter: standard deviation of the place of can and leads, as a fraction of the image height, [0, 0.5).
        seed: Seed of the per-case streams.

    Shape:
        image: (C, H, W), floating point in [0, 1]; the result has the same shape and dtype.

    Raises:
        InputError: an argument outside its range.

    Example:
        >>> import torch
        >>> image = torch.full((1, 256, 256), 0.3)
        >>> bool(Pacemaker()(image, "case 7").amax() == 1)
        True

    Source: sizes of common dual-chamber pacemakers; a device as confounder as in Juodelyte et al. 2024,
    MICCAT.
    """

    name = "pacemaker"
    miccat = Miccat("environment", "external", "device", "local")
    source = "MICCAT of Juodelyte et al. 2024; sizes of common devices"
    also_changes = frozenset({"brightness", "border", "clipping"})
    presets: ClassVar[dict[str, Parameters]] = {
        "plausible": {"leads": 1},
        "stress": {"opacity": 1.5},
    }

    def __init__(
        self,
        leads: int = 2,
        position: Sequence[float] = (0.25, 0.80),
        opacity: float = 1.0,
        latitude: float = 4.0,
        jitter: float = 0.01,
        seed: int = 0,
    ) -> None:
        super().__init__(opacity, latitude, jitter, seed)
        if leads not in (1, 2):
            raise InputError(f"pacemaker: leads {leads}, expected 1 or 2")
        if len(position) != 2 or not all(0 < fraction < 1 for fraction in position):
            raise InputError(f"pacemaker: position {position}, expected (row, column) as fractions in (0, 1)")
        self.leads = leads
        self.position = (float(position[0]), float(position[1]))

    def draw(self, stream: np.random.Generator) -> Parameters:
        """Draw where the can lies, how it is turned (in degrees), and the course of the leads."""
        return {
            "centre": np.array(self.position) + stream.normal(0, self.jitter, 2),
            "degrees": float(stream.normal(-12, 8)),
            "vein": np.array(_VEIN) + stream.normal(0, self.jitter / 2, (len(_VEIN), 2)),
            "ventricle": np.array(_VENTRICLE) + stream.normal(0, self.jitter / 2, (len(_VENTRICLE), 2)),
            "atrium": np.array(_ATRIUM) + stream.normal(0, self.jitter / 2, (len(_ATRIUM), 2)),
        }

    def cast(self, shadow: Shadow, drawn: Parameters) -> None:
        """Draw the can with its header, then the leads."""
        rows, columns = shadow.shape
        mm = shadow.mm
        to_pixels = np.array([rows - 1, columns - 1])
        centre, angle = drawn["centre"] * to_pixels, np.deg2rad(drawn["degrees"])
        down, right = np.array([np.cos(angle), -np.sin(angle)]), np.array([np.sin(angle), np.cos(angle)])

        def at(y: float, x: float) -> np.ndarray:
            return centre + mm * (y * down + x * right)

        def block(y: float, x: float, half: tuple[float, float], opacity: float, corner: float) -> None:
            shadow.block(at(y, x), (half[0] * mm, half[1] * mm), opacity, angle, corner * mm)

        block(0, 0, (20, 25), 0.85, 15)  # case
        block(0, 0, (18.9, 23.9), 0.25, 14)
        block(5.5, -5, (11.5, 15.5), 1.9, 6)  # battery
        block(5, 16.5, (9, 4), 0.9, 1.5)  # circuit
        block(-11, 3, (3, 13), 0.7, 1)
        block(-24, 2, (5.5, 16), 0.22, 4)  # header
        for lead in range(self.leads):
            y = -26 + 5 * lead
            for x in (-5, 6):
                block(y, x, (1.7, 2.2), 1.5, 0.5)  # connector
            self._lead(
                shadow,
                mm,
                at,
                y,
                drawn["vein"] * to_pixels,
                drawn["atrium" if lead else "ventricle"] * to_pixels,
            )

    @staticmethod
    def _lead(shadow: Shadow, mm: float, at: Place, y: float, vein: Curve, heart: Curve) -> None:
        """One lead: pin, loop around the can, vein, chamber; a ring and a tip at its end."""
        loop = [
            at(y, 12),
            at(y, -14),
            at(-22 + y / 8, -27),
            at(2 + y / 4, -31),
            at(22 + y / 4, -14),
            at(25 + y / 4, 12),
            at(4, 30 - y / 8),
            at(-24, 27 + y / 8),
            at(-36 + y / 8, 4),
        ]
        curve = spline(np.concatenate([np.stack(loop), vein, heart]))
        shadow.line(curve, 0.85 * mm, 0.7)
        left = np.linalg.norm(np.diff(curve[::-1], axis=0), axis=1).cumsum() / mm  # mm from the tip
        tip, ring = curve[::-1][:-1][left < 3], curve[::-1][:-1][(left > 11) & (left < 16)]
        for electrode in (tip, ring):
            if len(electrode) > 1:
                shadow.line(electrode, 1.3 * mm, 1.6)
