"""Portable AP look: the radiograph of a patient who could not stand."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch
from torch.nn import functional

from srcmatters.confounders.base import Confounder, Parameters
from srcmatters.confounders.laterality_marker import LateralityMarker
from srcmatters.confounders.low_pass import gaussian_blur
from srcmatters.confounders.quantum_noise import XrayQuantumNoise
from srcmatters.confounders.taxonomy import Miccat
from srcmatters.confounders.tube import Tube
from srcmatters.errors import InputError

_HEART = (0.62, 0.56)  # middle of the heart, (row, column) as fractions of a frontal chest
_REACH = 0.30  # radius within which it is magnified, as a fraction of the height


class PortableLook(Confounder):
    r"""Make a radiograph look like a portable one, taken in bed from the front.

    MICCAT: environment / imaging / acquisition / global. A composition of what such an image has: the heart
    is magnified (10 % where source and detector are 1.0 m apart instead of 1.8 m) by a smooth warp around it,
    the patient lies tilted, the latitude is lower (contrast about the median rises by a quarter, lungs and
    mediastinum run into black and white), scatter and motion blur it, it has fewer photons, and it has the
    text and the leads of a ward. It is a look, not a projection: the scapulae, the clavicles and the level of
    the fluid stay where they are.

    Args:
        strength: of warp, tilt, latitude and blur, (0, 1].
        dose_factor: share of the photons, (0, 1], see :class:`~srcmatters.confounders.XrayQuantumNoise`.
        text: what is written in the upper left corner; "" for nothing.
        leads: whether ECG leads lie on the chest.
        seed: seed of the per-case streams.

    Shape:
        image: (C, H, W), floating point in [0, 1]; the result has the same shape and dtype, and leaves [0, 1]
        where its noise does: clip after the resize.

    Raises:
        InputError: an argument outside its range.

    Example:
        >>> import torch
        >>> PortableLook()(torch.rand(1, 128, 128) * 0.5, "case 7").shape
        torch.Size([1, 128, 128])

    Source: geometry of AP and PA chest radiographs (heart 10 % larger at 1.0 m); view position as confounder:
    Zech et al. 2018, PLoS Medicine 15:e1002683.
    """

    name = "portable"
    miccat = Miccat("environment", "imaging", "acquisition", "global")
    source = "geometry of AP radiographs; Zech et al. 2018"
    also_changes = frozenset({"brightness", "border"})
    spatial_dims = (2,)
    modalities = ("radiograph",)
    presets: ClassVar[dict[str, Parameters]] = {
        "plausible": {"strength": 0.6, "text": "", "dose_factor": 0.6},
        "stress": {"strength": 1.0, "dose_factor": 0.1},
    }

    def __init__(
        self,
        strength: float = 1.0,
        dose_factor: float = 0.5,
        text: str = "PORTABLE",
        leads: bool = True,
        seed: int = 0,
    ) -> None:
        super().__init__(seed)
        if not 0 < strength <= 1:
            raise InputError(f"portable: strength {strength}, expected (0, 1]")
        if not 0 < dose_factor <= 1:
            raise InputError(f"portable: dose_factor {dose_factor}, expected a fraction in (0, 1]")
        self.strength = strength
        self.dose_factor = dose_factor
        self.text = text
        self.leads = leads
        self._noise = XrayQuantumNoise(dose_factor)
        self._tube = Tube("ECG leads")
        self._tag = LateralityMarker(text, height_mm=11, corner="upper left") if text.strip() else None

    def draw(self, stream: np.random.Generator) -> Parameters:
        """Draw tilt, leads and noise, each from a stream of its own."""
        tilt, leads, noise = stream.spawn(3)
        return {
            "degrees": float(tilt.normal(0, 3)),
            "leads": self._tube.draw(leads),
            "noise": self._noise.draw(noise),
        }

    def parameters(self, spatial_shape: Sequence[int], spacing_mm: Sequence[float] | None) -> Parameters:
        """Those of the parts."""
        step = self._noise.field_mm / spatial_shape[0]
        return {
            "spacing_mm": (step, step) if spacing_mm is None else tuple(spacing_mm[:2]),
            "photons": self._noise.photons(spatial_shape, spacing_mm),
            "tag": {} if self._tag is None else self._tag.parameters(spatial_shape, spacing_mm),
        }

    def apply(self, images: torch.Tensor, parameters: Sequence[Parameters]) -> torch.Tensor:
        """Make (B, C, H, W) portable."""
        warped = torch.cat(
            [self._warped(one, known) for one, known in zip(images.split(1), parameters, strict=True)]
        )
        spacing = parameters[0]["spacing_mm"]
        warped = gaussian_blur(warped, 0.8 * self.strength, spacing)
        middle = warped.flatten(1).median(1).values.reshape(-1, 1, 1, 1)
        warped = ((warped - middle) * (1 + 0.25 * self.strength) + middle).clamp_(0, 1)
        if self.leads:
            warped = self._tube.apply_in_place(
                warped, [known["leads"] | {"spacing_mm": spacing} for known in parameters]
            )
        noisy = self._noise.apply(
            warped, [known["noise"] | {"photons": known["photons"]} for known in parameters]
        )
        if self._tag is not None:
            noisy = self._tag.apply_in_place(noisy, [known["tag"] for known in parameters])
        return noisy

    def _warped(self, image: torch.Tensor, known: Parameters) -> torch.Tensor:
        """(1, C, H, W) with a larger heart, tilted."""
        rows, columns = image.shape[2:]
        angle = math.radians(known["degrees"] * self.strength)
        y, x = torch.meshgrid(
            torch.linspace(-0.5, 0.5, rows, device=image.device),
            torch.linspace(-0.5, 0.5, columns, device=image.device) * (columns / rows),
            indexing="ij",
        )
        y, x = y * math.cos(angle) - x * math.sin(angle), y * math.sin(angle) + x * math.cos(angle)
        up, left = y - (_HEART[0] - 0.5), x - (_HEART[1] - 0.5) * (columns / rows)
        inside = (1 - torch.hypot(up, left) / _REACH).clamp(min=0)
        smaller = 1 - (1 - 1 / (1 + 0.10 * self.strength)) * inside * inside * (3 - 2 * inside)
        y, x = y - up + up * smaller, x - left + left * smaller
        grid = torch.stack([2 * x * rows / columns, 2 * y], dim=-1)[None].to(image.dtype)
        return functional.grid_sample(
            image, grid, mode="bicubic", padding_mode="border", align_corners=True
        ).clamp_(0, 1)
