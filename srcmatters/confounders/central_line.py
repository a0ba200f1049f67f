"""Central venous line, with or without a port."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from srcmatters.confounders.base import Parameters
from srcmatters.confounders.curves import spline
from srcmatters.confounders.devices import Device, Shadow
from srcmatters.confounders.taxonomy import Miccat

# From the right subclavian vein to the cavo-atrial junction; the patient's right is on the left.
_COURSE = ((0.275, 0.235), (0.245, 0.30), (0.225, 0.37), (0.25, 0.425), (0.33, 0.445), (0.43, 0.447))
_PORT = (0.285, 0.225)


class CentralLine(Device):
    r"""Put a central venous line into the superior vena cava.

    MICCAT: environment / external / device / local. A catheter of 2.3 mm of radio-opaque polyurethane from
    the right subclavian vein to the junction of vena cava and atrium, its hub at the skin; or a port, a
    titanium chamber of 28 mm under the skin with a septum. Their attenuation is added to that of the chest,
    ``t' = min(t + dp / L, 1)``.

    Args:
        port: whether the line ends in a port instead of a hub.
        opacity: how much more or less it absorbs than usual, > 0. At 1 the catheter adds 0.7 and the port
            1.3 natural-log units of attenuation.
        latitude: natural-log units of attenuation between black and white, 3 to 4.6 for a chest.
        jitter: standard deviation of the course, as a fraction of the image height, [0, 0.5).
        seed: seed of the per-case streams.

    Shape:
        image: (C, H, W), floating point in [0, 1]; the result has the same shape and dtype.

    Raises:
        InputError: an argument outside its range.

    Example:
        >>> import torch
        >>> image = torch.full((1, 256, 256), 0.3)
        >>> bool((CentralLine()(image, "case 7") >= image).all())
        True

    Source: courses and sizes of common catheters and ports; MICCAT of Juodelyte et al. 2024.
    """

    name = "central_line"
    miccat = Miccat("environment", "external", "device", "local")
    source = "MICCAT of Juodelyte et al. 2024; sizes of common devices"
    presets: ClassVar[dict[str, Parameters]] = {
        "plausible": {},
        "stress": {"port": True, "opacity": 1.5},
    }

    def __init__(
        self,
        port: bool = False,
        opacity: float = 1.0,
        latitude: float = 4.0,
        jitter: float = 0.01,
        seed: int = 0,
    ) -> None:
        super().__init__(opacity, latitude, jitter, seed)
        self.port = port

    def draw(self, stream: np.random.Generator) -> Parameters:
        """Draw how far the course is from the usual one."""
        knots = np.array(_COURSE)
        shift = stream.normal(0, self.jitter, 2) + stream.normal(0, self.jitter / 3, knots.shape)
        return {"course": knots + shift, "degrees": float(stream.normal(0, 15))}

    def cast(self, shadow: Shadow, drawn: Parameters) -> None:
        """Draw the line, then its hub or port."""
        scale = np.array([shadow.shape[0] - 1, shadow.shape[1] - 1])
        curve = spline(drawn["course"] * scale)
        shadow.line(curve, 1.15 * shadow.mm, 0.7, hollow=0.5)
        start = drawn["course"][0] * scale
        angle = float(np.deg2rad(drawn["degrees"]))
        if self.port:
            middle = start + (np.array(_PORT) - np.array(_COURSE[0])) * scale
            shadow.block(middle, (14 * shadow.mm,) * 2, 0.9, corner=14 * shadow.mm)
            shadow.block(middle, (11 * shadow.mm,) * 2, 0.4, corner=11 * shadow.mm)
            shadow.block(middle, (6 * shadow.mm,) * 2, -0.5, corner=6 * shadow.mm)  # the septum
        else:
            shadow.block(start, (2.5 * shadow.mm, 7 * shadow.mm), 0.5, angle, 2 * shadow.mm)
