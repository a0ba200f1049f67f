"""Lead marker: the letter of lead that lies on the detector, as the X-rays see it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch
from scipy import ndimage

from srcmatters.confounders.base import Parameters
from srcmatters.confounders.devices import FILM_MM, Device, Shadow
from srcmatters.confounders.laterality_marker import _CORNERS, Corner, render_text
from srcmatters.confounders.taxonomy import Miccat
from srcmatters.errors import InputError, did_you_mean

_CAPITAL = 0.729  # height of a capital of DejaVu Sans over the size of its font
_LEAD = 2.2  # natural-log units: half a millimetre of lead in a plastic carrier, behind scatter
_PLACE = (0.10, 0.12)  # of its middle from the edges of the corner, as fractions of height and width


class LeadMarker(Device):
    r"""Put a laterality marker of lead into the beam.

    MICCAT: environment / external / text / local. Unlike :class:`LateralityMarker`, which is painted over the
    finished image, this letter attenuates: ``t' = min(t + a * dp / L, 1)`` with ``dp`` = 2.2 natural-log
    units and ``a`` the coverage of the pixel by the letter, blurred by a Gaussian of ``blur_mm`` (focal spot,
    scatter and the distance to the detector). Over the lung the anatomy shines through, over bone it is
    white. It is put down by hand: place and angle are drawn.

    Args:
        text: what the marker shows, usually R or L with the initials of the technician.
        height_mm: height of a capital in mm, (0, 200]; common markers have 10 to 25.
        blur_mm: standard deviation of the blur of its edge in mm, [0, 20].
        degrees: standard deviation of its rotation, [0, 90].
        corner: near which corner it lies; "random" draws one per case.
        opacity: how much more or less it absorbs than usual, > 0.
        latitude: natural-log units of attenuation between black and white, 3 to 4.6 for a chest.
        jitter: standard deviation of its place, as a fraction of the image height, [0, 0.5).
        seed: seed of the per-case streams.

    Shape:
        image: (C, H, W), floating point in [0, 1]; the result has the same shape and dtype.

    Raises:
        InputError: an argument outside its range.

    Example:
        >>> import torch
        >>> image = torch.full((1, 256, 256), 0.3)
        >>> changed = LeadMarker("L")(image, "case 7") - image
        >>> 0.5 < float(changed.max()) < 0.56
        True

    Source: MICCAT of Juodelyte et al. 2024 (text); markers as confounder: Zech et al. 2018.
    """

    name = "lead_marker"
    miccat = Miccat("environment", "external", "text", "local")
    source = "MICCAT of Juodelyte et al. 2024; Zech et al. 2018"
    presets: ClassVar[dict[str, Parameters]] = {
        "plausible": {"height_mm": 15.0},
        "stress": {"height_mm": 40.0, "opacity": 1.5},
    }

    def __init__(
        self,
        text: str = "R",
        height_mm: float = 20.0,
        blur_mm: float = 0.5,
        degrees: float = 8.0,
        corner: Corner = "upper left",
        opacity: float = 1.0,
        latitude: float = 4.0,
        jitter: float = 0.015,
        seed: int = 0,
    ) -> None:
        super().__init__(opacity, latitude, jitter, seed)
        if not text.strip():
            raise InputError(f"lead_marker: text {text!r}, expected at least one visible character")
        if not 0 < height_mm <= 200:
            raise InputError(f"lead_marker: height_mm {height_mm}, expected mm in (0, 200]")
        if not 0 <= blur_mm <= 20:
            raise InputError(f"lead_marker: blur_mm {blur_mm}, expected mm in [0, 20]")
        if not 0 <= degrees <= 90:
            raise InputError(f"lead_marker: degrees {degrees}, expected [0, 90]")
        if corner not in _CORNERS:
            hint = did_you_mean(str(corner), _CORNERS)
            raise InputError(f"lead_marker: corner {corner!r} is unknown{hint}")
        self.text = text
        self.height_mm = height_mm
        self.blur_mm = blur_mm
        self.degrees = degrees
        self.corner = corner

    def draw(self, stream: np.random.Generator) -> Parameters:
        """Draw corner, place and rotation."""
        corner = _CORNERS[int(stream.integers(4))]
        return {
            "corner": corner if self.corner == "random" else self.corner,
            "shift": stream.normal(0, self.jitter, 2),
            "degrees": float(stream.normal(0, self.degrees)),
        }

    def does_nothing(self, spatial_shape: Sequence[int], spacing_mm: Sequence[float] | None) -> str | None:
        """A letter of less than 3 pixels is a smudge."""
        row_mm = FILM_MM / spatial_shape[0] if spacing_mm is None else float(spacing_mm[0])
        pixels = self.height_mm / row_mm
        return f"a letter of {pixels:.1f} pixels cannot be read" if pixels < 3 else None

    def cast(self, shadow: Shadow, drawn: Parameters) -> None:
        """Draw the letter on an empty margin, turn it and blur it."""
        coverage = render_text(self.text, max(round(self.height_mm * shadow.mm / _CAPITAL), 1)).numpy()
        sigma = self.blur_mm * shadow.mm
        coverage = np.pad(coverage, math.ceil(4 * sigma) + 1)
        coverage = ndimage.rotate(coverage, drawn["degrees"], order=1).clip(0, 1)
        coverage = ndimage.gaussian_filter(coverage, sigma, mode="constant")
        vertical, horizontal = drawn["corner"].split()
        place = [
            _PLACE[0] if vertical == "upper" else 1 - _PLACE[0],
            _PLACE[1] if horizontal == "left" else 1 - _PLACE[1],
        ]
        scale = np.array([shadow.shape[0] - 1, shadow.shape[1] - 1])
        shadow.patch((np.array(place) + drawn["shift"]) * scale, torch.from_numpy(coverage) * _LEAD)
