"""A confounder on a synthetic CT, preprocessed as the CT bundles do it."""

from __future__ import annotations

from collections.abc import Hashable
from functools import cache
from typing import Any

import pandas as pd
import torch
from monai.data import MetaTensor

from srcmatters.cohorts.case_table import POSITION
from srcmatters.confounders import Confounder
from srcmatters.confounders.dictionary_form import through_window
from srcmatters.images import window
from srcmatters.images.windows import window_edges
from srcmatters.phantom import ct_volume, draw_patient, voxel_axes
from srcmatters.phantom.computed_tomography import slab_slices
from srcmatters.preprocessing.confounder_placement import confounder_place
from srcmatters.preprocessing.patches import ResamplePatchd

_SPACING_MM, _SLAB_MM = (1.0, 1.0, 2.0), 12.0
_CASE = "phantom"
_PIXELS = 256


def phantom_states(confounder: Confounder, run: pd.Series) -> tuple[torch.Tensor, torch.Tensor]:
    """One nodule's patch of a synthetic chest, clean and confounded.

    Args:
        confounder: of the run.
        run: its settings; ``patch_mm`` and ``window`` are used.

    Returns:
        Two (1, H, W) tensors in [0, 1].
    """
    place = confounder_place(confounder)
    scan, position = _scan()
    windowed = run.get("window")
    name = windowed if isinstance(windowed, str) else "lung"
    patch_mm = run.get("patch_mm")
    extent = float(patch_mm) if pd.notna(patch_mm) and patch_mm else None
    cut = ResamplePatchd("image", (_PIXELS, _PIXELS), extent)

    def state(carries: bool) -> torch.Tensor:
        def put(image: Any, here: str) -> Any:
            if place != here:
                return image
            if not carries:
                return confounder.clean(image, _CASE)
            if confounder.before_window and here == "scan":
                return through_window(confounder, image, _CASE, window_edges(name))
            return confounder(image, _CASE)

        shown = put(window(put(scan, "scan"), name), "windowed")
        case: dict[Hashable, Any] = {"image": shown}
        case.update(position)
        return put(cut(case)["image"].clamp(0, 1), "patch")

    return state(False), state(True)


@cache
def _scan() -> tuple[MetaTensor, dict[str, float]]:
    """A slab of a synthetic chest in HU around its nodule, and where that is."""
    patient = draw_patient(1, 0, 0.5, label=1)
    assert patient.nodule is not None
    centre = patient.nodule.centre_mm
    slices = slab_slices(centre[2], _SLAB_MM, _SPACING_MM)
    volume = torch.from_numpy(ct_volume(patient, _SPACING_MM, slices)).float()[None]
    columns, depths, heights = voxel_axes(_SPACING_MM)
    affine = torch.zeros(4, 4, dtype=torch.float64)
    affine[1, 0], affine[0, 1], affine[2, 2], affine[3, 3] = (
        -_SPACING_MM[0],
        -_SPACING_MM[1],
        _SPACING_MM[2],
        1,
    )
    affine[:3, 3] = torch.tensor([-columns[0], -depths[0], heights[slices.start]])
    return MetaTensor(volume, affine=affine), dict(zip(POSITION, centre, strict=True))
