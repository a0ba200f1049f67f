"""What artefacts of CT share: whole axial slices in HU of known pixel spacing, one at a time."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence

import torch

from srcmatters.confounders.base import Confounder, Parameters
from srcmatters.confounders.ct_dose_base import AIR_BELOW_HU
from srcmatters.confounders.ct_dose_slices import stored_like
from srcmatters.errors import InputError

BODY_HU = -300.0  # above it lies the patient


class SliceArtefact(Confounder):
    """Something that changes whole axial slices, each on its own, and is stored as the scan is.

    Args:
        default_pixel_mm: pixel spacing of images that carry none.
        seed: seed of the per-case streams.
    """

    unit = "HU"
    modalities = ("CT",)

    def __init__(self, default_pixel_mm: float, seed: int) -> None:
        super().__init__(seed)
        self.check_positive(default_pixel_mm=default_pixel_mm)
        self.default_pixel_mm = default_pixel_mm

    def check_positive(self, **arguments: float) -> None:
        """Refuse what is not a positive number."""
        for field, value in arguments.items():
            if not 0 < value < math.inf:
                raise InputError(f"{self.name}: {field} {value}, expected a positive number")

    @abstractmethod
    def changed(self, hu: torch.Tensor, known: Parameters) -> torch.Tensor:
        """One slice (H, W) float32 with the artefact."""

    def parameters(self, spatial_shape: Sequence[int], spacing_mm: Sequence[float] | None) -> Parameters:
        """The pixel spacing."""
        if spacing_mm is None:
            return {"pixel_mm": self.default_pixel_mm}
        if abs(float(spacing_mm[1]) / float(spacing_mm[0]) - 1) > 0.01:
            raise InputError(f"{self.name}: spacing {tuple(spacing_mm)} mm, expected square pixels")
        return {"pixel_mm": float(spacing_mm[0])}

    def apply(self, images: torch.Tensor, parameters: Sequence[Parameters]) -> torch.Tensor:
        """Change (B, C, H, W[, D]) slice by slice."""
        slices = images[:, 0].unsqueeze(-1) if images.ndim == 4 else images[:, 0]
        cases = []
        for case, known in zip(slices.float(), parameters, strict=True):
            stack = case.movedim(-1, 0)
            made = torch.stack([self.changed(hu, known) for hu in stack])
            cases.append(stored_like(made, stack).movedim(0, -1))
        result = torch.stack(cases).to(images.dtype)
        return result.reshape(len(images), 1, *images.shape[2:]).repeat_interleave(images.shape[1], dim=1)

    def _wrong_values(self, images: torch.Tensor) -> str | None:
        mistake = super()._wrong_values(images)
        if mistake is None and float(images.flatten(1).amin(1).max()) > AIR_BELOW_HU:
            return (
                f"no air (nothing below {AIR_BELOW_HU:g} HU), expected whole slices in HU, not windowed, "
                "8-bit or [0, 1] images"
            )
        return mistake
