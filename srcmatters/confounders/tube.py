"""Tubes and leads: what lies on or in a patient who is ill enough to need it."""

from __future__ import annotations

from typing import ClassVar, Literal, get_args

import numpy as np

from srcmatters.confounders.base import Parameters
from srcmatters.confounders.curves import Curve, spline
from srcmatters.confounders.devices import Device, Shadow
from srcmatters.confounders.taxonomy import Miccat
from srcmatters.errors import InputError, did_you_mean

Kind = Literal["chest drain", "nasogastric tube", "endotracheal tube", "ECG leads"]
_KINDS = get_args(Kind)

# Usual course on a frontal chest radiograph, (row, column) as fractions of the image; the patient's right is
# on the left. The first point is where it enters.
_COURSES: dict[str, tuple[tuple[tuple[float, float], ...], ...]] = {
    "chest drain": (
        ((0.66, 0.04), (0.64, 0.13), (0.55, 0.215), (0.42, 0.235), (0.30, 0.27), (0.225, 0.335)),
    ),
    "nasogastric tube": (
        (
            (-0.02, 0.505),
            (0.18, 0.50),
            (0.38, 0.51),
            (0.58, 0.525),
            (0.72, 0.565),
            (0.82, 0.64),
            (0.90, 0.63),
        ),
    ),
    "endotracheal tube": (((-0.02, 0.51), (0.08, 0.505), (0.18, 0.495), (0.27, 0.495)),),
    "ECG leads": (
        ((1.02, 0.24), (0.80, 0.16), (0.52, 0.30), (0.34, 0.20), (0.24, 0.245)),
        ((1.02, 0.28), (0.84, 0.30), (0.58, 0.55), (0.36, 0.70), (0.25, 0.775)),
        ((1.02, 0.31), (0.93, 0.42), (0.86, 0.62), (0.78, 0.70), (0.70, 0.845)),
    ),
}
_DIAMETERS_MM = {
    "chest drain": 8.0,
    "nasogastric tube": 5.0,
    "endotracheal tube": 10.0,
    "ECG leads": 1.3,
}
_SNAP_MM = 5.0  # radius of the metal snap of an electrode


class Tube(Device):
    r"""Lay a drain, a tube or ECG leads over a chest radiograph.

    MICCAT: environment / external / device / local. Each is a smooth curve through its usual course, moved a
    little per case. A tube is a hollow plastic cylinder with a radio-opaque stripe in its wall, so its edges
    and the stripe show; a lead is a thin solid wire that ends in the metal snap of an electrode. The path of
    each ray through the material is added to the attenuation, ``t' = min(t + dp / L, 1)``: brighter, not
    white. A tube on the patients who have been treated is the best known confounder of chest radiographs
    (a drain gives away the pneumothorax).

    Args:
        kind: "chest drain" (patient's right side), "nasogastric tube", "endotracheal tube" or "ECG leads"
            (3).
        diameter_mm: outer diameter, (0, 90]; None takes the usual one: 8 mm, 5 mm, 10 mm and 1.3 mm. An image
            of unknown pixel spacing is taken for 430 mm high.
        opacity: how much more or less it absorbs than usual, > 0. At 1 the stripe adds 0.8 and a lead 0.7
            natural-log units of attenuation.
        latitude: natural-log units of attenuation between black and white, 3 to 4.6 for a chest.
        jitter: standard deviation of the course, as a fraction of the image height, [0, 0.5).
        seed: Seed of the per-case streams.

    Shape:
        image: (C, H, W), floating point in [0, 1]; the result has the same shape and dtype.

    Raises:
        InputError: an unknown ``kind`` or an argument outside its range.

    Example:
        >>> import torch
        >>> image = torch.full((1, 256, 256), 0.3)
        >>> bool((Tube("ECG leads")(image, "case 7") >= image).all())
        True

    Source: Oakden-Rayner et al. 2020 (drains); courses and sizes as in everyday clinical use.
    """

    name = "tube"
    miccat = Miccat("environment", "external", "device", "local")
    source = "after Oakden-Rayner et al. 2020, arXiv 1909.12475"
    presets: ClassVar[dict[str, Parameters]] = {
        "plausible": {},
        "stress": {"diameter_mm": 12.0, "opacity": 2.0},
    }

    def __init__(
        self,
        kind: Kind = "chest drain",
        diameter_mm: float | None = None,
        opacity: float = 1.0,
        latitude: float = 4.0,
        jitter: float = 0.012,
        seed: int = 0,
    ) -> None:
        super().__init__(opacity, latitude, jitter, seed)
        if kind not in _KINDS:
            raise InputError(f"tube: kind {kind!r} is unknown{did_you_mean(str(kind), _KINDS)}")
        if diameter_mm is not None and not 0 < diameter_mm <= 90:
            raise InputError(f"tube: diameter_mm {diameter_mm}, expected mm in (0, 90]")
        self.kind = kind
        self.diameter_mm = _DIAMETERS_MM[kind] if diameter_mm is None else diameter_mm

    def draw(self, stream: np.random.Generator) -> Parameters:
        """Draw how far the course is from the usual one: all of it, and each of its points."""
        courses = []
        for course in _COURSES[self.kind]:
            knots = np.array(course)
            shift = stream.normal(0, self.jitter, 2) + stream.normal(0, self.jitter / 2, knots.shape)
            courses.append(knots + shift)
        return {"courses": courses}

    def cast(self, shadow: Shadow, drawn: Parameters) -> None:
        """Draw the tube, or the leads with their electrodes."""
        rows, columns = shadow.shape
        radius = self.diameter_mm * shadow.mm / 2
        for course in drawn["courses"]:
            curve = spline(course * (rows - 1, columns - 1))
            if self.kind == "ECG leads":
                shadow.line(curve, radius, 0.7)
                self._electrode(shadow, curve)
            else:
                shadow.line(curve, radius, 0.55, hollow=0.72)
                shadow.line(self._beside(curve, 0.5 * radius), 0.17 * radius, 0.8)

    def _electrode(self, shadow: Shadow, curve: Curve) -> None:
        """The snap: a stud in a ring in the clip of the wire, on a faint gel pad."""
        size = _SNAP_MM * shadow.mm
        end, before = curve[-1], curve[-6]
        for radius, opacity in ((2.4 * size, 0.05), (size, 0.9), (0.5 * size, 1.0)):
            shadow.block(end, (radius, radius), opacity, corner=radius)
        back = (before - end) / max(float(np.linalg.norm(before - end)), 1e-6)
        angle = float(np.arctan2(-back[1], back[0]))
        shadow.block(end + back * 1.9 * size, (1.1 * size, 0.35 * size), 0.8, angle, 0.2 * size)

    @staticmethod
    def _beside(curve: Curve, offset: float) -> Curve:
        """The curve moved sideways by ``offset`` pixels."""
        along = np.gradient(curve, axis=0)
        along /= np.maximum(np.linalg.norm(along, axis=1, keepdims=True), 1e-6)
        return curve + offset * along[:, ::-1] * (1, -1)
