"""Films and scans of any number of pixels and any spacing, and what a bundle makes of them in both states."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from monai.bundle import ConfigParser
from monai.data import MetaTensor
from monai.transforms import Compose
from scipy import ndimage

from srcmatters.confounders import Confounder, Confounderd, create_confounder, known_confounders
from srcmatters.phantom import draw_patient, radiograph, voxel_axes
from srcmatters.phantom.computed_tomography import noiseless_volume, slab_slices
from srcmatters.preprocessing import confounder_place

CONFIGS = Path(__file__).parents[2] / "bundles"
XRAY, SLICE, VOLUME = "xray_classification", "ct_slice_classification", "ct_volume_classification"
DIMS = {SLICE: 2, VOLUME: 3}
NOISE_HU, KERNEL_MM = 12.0, 0.6  # of every scan, whatever its pixels: standard deviation, of a Gaussian
FLAT_HU, FLAT_LEVEL = 0.0, 0.6


@dataclass(frozen=True)
class Grid:
    """How a scan is reconstructed; the field of view follows from pixels and spacing.

    Args:
        pixel_mm, slice_mm: spacing.
        pixels, slices: of the part that is read.
        fine_mm: of the grid that it is sampled from.
    """

    pixel_mm: float
    slice_mm: float
    pixels: int
    slices: int
    fine_mm: float


def made(name: str, **parameters: object) -> Confounder:
    """The confounder of that name."""
    confounder = create_confounder(name, **parameters)
    assert confounder is not None
    return confounder


def takes(bundle: str, name: str) -> bool:
    """Whether a bundle takes the confounder: put on by hand: on its patch; a scanner's: on volumes."""
    confounder = made(name)
    if bundle == XRAY:
        return "radiograph" in confounder.modalities and 2 in confounder.spatial_dims
    on_patch = confounder_place(confounder) == "patch"
    return "CT" in confounder.modalities and (DIMS[bundle] if on_patch else 3) in confounder.spatial_dims


#: Every bundle with every registered confounder that it takes.
CASES = [
    (bundle, name)
    for bundle in (XRAY, SLICE, VOLUME)
    for name in sorted(known_confounders())
    if takes(bundle, name)
]


@cache
def preprocessing(bundle: str, name: str, whole: bool = False) -> Compose:
    """The transforms that train.yaml of a bundle composes; ``whole``: for all of a scan, not a patch."""
    parser = ConfigParser()
    parser.read_config(str(CONFIGS / bundle / "configs" / "train.yaml"))
    parser["confounder_def"] = made(name)
    if whole:
        parser["patch_mm"] = 0
    steps = parser.get_parsed_content("preprocessing")
    assert isinstance(steps, Compose)
    assert sum(isinstance(step, Confounderd) for step in steps.transforms) == 1
    return steps


def both_states(
    bundle: str, name: str, image: MetaTensor, place: dict[str, float] | None = None, whole: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """What the network sees, after everything that follows the loader; grey levels of 255."""
    steps = preprocessing(bundle, name, whole)
    clean, confounded = (
        255
        * steps({"image": image, "case_id": "a", "carries": carries, **(place or {})}, start=1)["image"][
            0
        ].numpy()
        for carries in (False, True)
    )
    return clean, confounded


@cache
def _phantom_film() -> np.ndarray:
    return radiograph(draw_patient(2, 0), 512).astype(np.float32) / 255


@cache
def film(kind: str, size: int, field_mm: float = 400.0) -> MetaTensor:
    """A "flat" film, a "ramp" or a "phantom" of a known field, whatever the size."""
    if kind == "flat":
        values = np.full((size, size), FLAT_LEVEL, np.float32)
    elif kind == "ramp":
        values = np.tile(np.linspace(0.15, 0.85, size, dtype=np.float32), (size, 1))
    else:
        enlarged = ndimage.zoom(_phantom_film(), size / 512, order=1, mode="nearest", grid_mode=True)
        values = np.clip(enlarged, 0, 1)
    step = field_mm / size
    meta = {"spacing_known": True, "filename_or_obj": "a.dcm"}
    affine = torch.diag(torch.tensor([step, step, 1.0, 1.0], dtype=torch.float64))
    return MetaTensor(torch.from_numpy(values)[None], affine=affine, meta=meta)


def case() -> dict[str, float]:
    """Position of the nodule of the phantom, LPS."""
    nodule = draw_patient(1, 0, 0.5, label=1).nodule
    assert nodule is not None
    return dict(zip(("x_mm", "y_mm", "z_mm"), map(float, nodule.centre_mm), strict=True))


@cache
def _fine_scan(
    kind: str, fine_mm: float, slice_mm: float, slices: int
) -> tuple[np.ndarray, list[np.ndarray]]:
    """What the scanner saw on a fine grid (H, W, D), with the sharpness and the noise of its kernel; y, x, z.

    "flat" and "ramp" are a cylinder of 290 mm in air, "phantom" is a chest.
    """
    step = (fine_mm, fine_mm, slice_mm)
    x, y, z = voxel_axes(step)
    around = slab_slices(case()["z_mm"], slices * slice_mm, step)
    if kind == "phantom":
        padded = slice(around.start - 1, around.stop + 1)  # point masses reach into the next slice
        seen = noiseless_volume(draw_patient(1, 0, 0.5, label=1), step, padded)[:, :, 1:-1]
    else:
        rows, columns = np.meshgrid(y - y.mean(), x, indexing="ij")
        inside = FLAT_HU + (columns * 2 - 400 if kind == "ramp" else 0 * columns)
        plane = np.where(np.hypot(rows, columns) < 145, inside, -1000.0)
        seen = np.repeat(plane[:, :, None], slices, axis=2)
    sigma = (KERNEL_MM / fine_mm, KERNEL_MM / fine_mm, 0)
    grain = ndimage.gaussian_filter(np.random.default_rng(5).standard_normal(seen.shape), sigma)
    blurred = ndimage.gaussian_filter(seen, sigma, mode="nearest")
    return blurred + grain * (NOISE_HU / grain.std()), [y, x, z[around]]


@cache
def scan(kind: str, grid: Grid) -> MetaTensor:
    """One and the same scan on a grid of its own: whole HU, around the middle of the patient."""
    fine, (y, x, z) = _fine_scan(kind, grid.fine_mm, grid.slice_mm, grid.slices)
    offset = (np.arange(grid.pixels) - (grid.pixels - 1) / 2) * grid.pixel_mm
    rows, columns = offset + y.mean(), offset + x.mean()
    places = np.meshgrid((rows - y[0]) / grid.fine_mm, (columns - x[0]) / grid.fine_mm, indexing="ij")
    planes = [
        ndimage.map_coordinates(plane, places, order=3, mode="constant", cval=-1000)
        for plane in np.moveaxis(fine, -1, 0)
    ]
    hu = np.rint(np.clip(np.stack(planes, axis=-1), -1024, 3071)).astype(np.float32)
    affine = torch.zeros(4, 4, dtype=torch.float64)
    affine[1, 0] = affine[0, 1] = -grid.pixel_mm
    affine[2, 2], affine[3, 3] = grid.slice_mm, 1
    affine[:3, 3] = torch.tensor([-columns[0], -rows[0], float(z[0])])
    meta = {"spacing_known": True, "unit": "HU", "acquisition": {}, "filename_or_obj": "a.nii.gz"}
    return MetaTensor(torch.from_numpy(hu)[None], affine=affine, meta=meta)


def rim(values: np.ndarray, width: int) -> np.ndarray:
    """Mask of the border in the plane."""
    mask = np.ones_like(values, dtype=bool)
    mask[width:-width, width:-width] = False
    return mask


def whole_levels(values: np.ndarray) -> float:
    """Share of the values that are whole grey levels."""
    return float((np.abs(values - np.round(values)) < 1e-3).mean())
