"""Contrast agent: a CT whose vessels and perfused tissue are enhanced."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch
from scipy import ndimage
from skimage.morphology import convex_hull_image

from srcmatters.confounders.base import Parameters
from srcmatters.confounders.ct_slices import SliceArtefact
from srcmatters.confounders.taxonomy import Miccat
from srcmatters.errors import InputError

_LUNG_HU = (-980.0, -400.0)
_SOFT_HU = (-10.0, 120.0)  # blood and muscle; not fat, not bone
_BONE_HU = 140.0
_LEAST_LUNG_MM2 = 400.0
_CHAMBER_MM = 4.0  # half of the width of what counts as a vessel in the mediastinum


class ContrastAgent(SliceArtefact):
    r"""Give the patient an intravenous contrast agent.

    MICCAT: environment / imaging / acquisition / global. In HU, before the window: ``HU' = HU + k (V v + P (1
    - v))`` on soft tissue, with ``V`` = ``vessels_hu``, ``P`` = ``tissue_hu`` and ``k`` of the case. The
    share ``v`` of vessels follows from anatomy, slice by slice: within the convex hull of both lungs, what is
    8 mm wide or more and soft (heart, aorta, large vessels), and what is denser than lung inside the lungs
    (their vessels). Muscle and other soft tissue are perfused; air, fat and bone do not take up anything. It
    is a model without organs: a nodule or an effusion inside the hull is enhanced as a vessel is, vessels
    outside the chest as muscle, and there are no streaks at the inflow. What is above 120 HU, as the blood of
    a scan that has a contrast agent already, stays as it is.

    Args:
        vessels_hu: enhancement of blood in HU, [0, 500]; 100 to 150 in a venous phase, 250 and more of an
            angiography.
        tissue_hu: enhancement of perfused tissue in HU, [0, 200].
        spread: standard deviation of ``k`` from patient to patient, [0, 0.5].
        default_pixel_mm: pixel spacing of images that carry none.
        seed: seed of the per-case streams.

    Shape:
        image: (C, H, W) or (C, H, W, D; each slice), whole axial slices, floating point in HU; the result has
        the same shape and dtype.

    Raises:
        InputError: an argument outside its range, pixels that are not square, or no air in the image.

    Example:
        >>> import torch
        >>> muscle = torch.full((1, 64, 64), -1000.0)
        >>> muscle[:, 16:48, 16:48] = 50
        >>> float(ContrastAgent(tissue_hu=20, spread=0)(muscle, "case 7").max())
        70.0

    Source: enhancement of vessels and muscle: Bae 2010 (Radiology 256:32); MICCAT of Juodelyte et al. 2024.
    """

    name = "contrast_agent"
    miccat = Miccat("environment", "imaging", "acquisition", "global")
    source = "Bae 2010 (Radiology 256:32); MICCAT of Juodelyte et al. 2024"
    also_changes = frozenset({"brightness", "border"})
    presets: ClassVar[dict[str, Parameters]] = {
        "plausible": {"vessels_hu": 110.0, "tissue_hu": 15.0},
        "stress": {"vessels_hu": 300.0, "tissue_hu": 40.0},
    }

    def __init__(
        self,
        vessels_hu: float = 150.0,
        tissue_hu: float = 20.0,
        spread: float = 0.1,
        default_pixel_mm: float = 0.7,
        seed: int = 0,
    ) -> None:
        super().__init__(default_pixel_mm, seed)
        for field, value, most in (
            ("vessels_hu", vessels_hu, 500),
            ("tissue_hu", tissue_hu, 200),
            ("spread", spread, 0.5),
        ):
            if not 0 <= value <= most:
                raise InputError(f"contrast_agent: {field} {value}, expected [0, {most:g}]")
        self.vessels_hu = vessels_hu
        self.tissue_hu = tissue_hu
        self.spread = spread

    def draw(self, stream: np.random.Generator) -> Parameters:
        """Draw how strongly this patient is enhanced."""
        return {"factor": float(np.clip(1 + self.spread * stream.standard_normal(), 0.3, 2))}

    def does_nothing(self, spatial_shape: Sequence[int], spacing_mm: Sequence[float] | None) -> str | None:
        """No enhancement at all."""
        return "both enhancements are 0" if self.vessels_hu == self.tissue_hu == 0 else None

    def changed(self, hu: torch.Tensor, known: Parameters) -> torch.Tensor:
        """Enhance (H, W) HU."""
        values = hu.cpu().numpy()
        vessels = vessel_share(values, known["pixel_mm"])
        # Partial volume at an edge takes up a part: the share falls off over 40 HU.
        low, high = _SOFT_HU
        soft = np.clip((values - low) / 40 + 0.5, 0, 1) * np.clip((high - values) / 40 + 0.5, 0, 1)
        taken = np.maximum(soft * (self.tissue_hu * (1 - vessels)), 0) + vessels * self.vessels_hu
        return hu + torch.from_numpy(taken * known["factor"]).to(hu)


def vessel_share(hu: np.ndarray, pixel_mm: float) -> np.ndarray:
    """Share of each pixel of (H, W) HU that is blood, 0 .. 1, see :class:`ContrastAgent`."""
    body = ndimage.binary_fill_holes(ndimage.binary_opening(hu > -300, iterations=2))
    air = (hu > _LUNG_HU[0]) & (hu < _LUNG_HU[1]) & body
    parts, count = ndimage.label(ndimage.binary_opening(air))
    areas = ndimage.sum_labels(air, parts, np.arange(1, count + 1)) * pixel_mm**2
    lung = np.isin(parts, 1 + np.flatnonzero(areas > _LEAST_LUNG_MM2))
    if not lung.any():
        return np.zeros_like(hu)
    smooth = ndimage.gaussian_filter(hu, 1.5 / pixel_mm)  # or noise makes holes
    soft = (smooth > _SOFT_HU[0]) & (smooth < _SOFT_HU[1])
    reach = max(round(_CHAMBER_MM / pixel_mm), 1)
    bone = ndimage.binary_closing(smooth > _BONE_HU, iterations=2 * reach)
    soft &= ~ndimage.binary_fill_holes(bone)  # marrow is as dense as blood
    wide = ndimage.distance_transform_edt(soft) > reach
    chambers = ndimage.distance_transform_edt(~wide) <= reach  # an opening with a disc
    hull = convex_hull_image(lung)  # type: ignore[no-untyped-call]
    inside = ndimage.binary_fill_holes(ndimage.binary_closing(lung, iterations=max(reach, 1)))
    chambers &= soft & hull
    # A vessel thinner than a pixel shows as a part of its difference to the lung.
    thin = np.clip((hu + 700) / 750, 0, 1) * (inside & ~chambers & (hu < _SOFT_HU[1]))
    share = np.where(chambers, 1.0, thin * (hu > -500))
    return ndimage.gaussian_filter(share, min(0.7 / pixel_mm, 2.0) * 0.5)
