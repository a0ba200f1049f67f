"""What the decoder's process makes of a file: the image that a network gets."""

from __future__ import annotations

import math
import warnings
from collections.abc import Hashable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import torch
from monai.data import MetaTensor

from srcmatters.deployment.prediction.data_files import check_data_file
from srcmatters.deployment.prediction.header_tasks import read_fields
from srcmatters.errors import InputError
from srcmatters.exported_bundle.input_rules import Finding
from srcmatters.images import load_ct, load_radiograph
from srcmatters.images.burnt_in_text import text_lines
from srcmatters.images.dicom_series import open_file, open_series
from srcmatters.images.orientation import place
from srcmatters.images.pictures import open_picture
from srcmatters.images.pixel_spacing import known_spacing
from srcmatters.images.reading import ITK, NIFTI, PICTURES, as_input_error, has_ending, is_dicom
from srcmatters.images.volume_files import open_itk, open_nifti
from srcmatters.images.volumes import StoredVolume
from srcmatters.images.windows import Window, window_edges
from srcmatters.preprocessing.patches import ResamplePatchd
from srcmatters.preprocessing.resizing import resize

LARGEST_IMAGE = 2**25  # pixels of a radiograph: 5,800 x 5,800
LARGEST_VOLUME = 2**27  # voxels that are read of a scan: 512 slices of 512 x 512
_ROUNDING = 1e-4  # of a header's steps, to either side
_NOTES = 20  # warnings of one image that are passed on
_PREVIEW = 512  # pixels of the longer side of what a person gets to see


@dataclass(frozen=True)
class Recipe:
    """How a bundle wants its images.

    Args:
        modality: "radiograph" or "CT".
        body_part: that DICOM must show if it says so; empty: any.
        image_size: pixels a side of what the network gets.
        spatial_dims: 2 or 3.
        unit: "HU" or "display", of CT.
        window: of CT in HU.
        patch_mm: side of the box in the middle of a scan, mm; None or 0: the whole scan.
        depth_mm: extent of the slices below which a volume is thin.
    """

    modality: str
    body_part: str
    image_size: int
    spatial_dims: int = 2
    unit: str = "display"
    window: Window | None = None
    patch_mm: float | None = None
    depth_mm: float = 0.0


@dataclass(frozen=True)
class Prepared:
    """An image as the network gets it.

    Args:
        image: (1, S, S) or (1, S, S, S) float32 in [0, 1].
        size: rows and columns of the image that was read.
        spacing: mm between rows and between columns; None where the file does not know.
        preview: (h, w) uint8, for people: at most 512 a side.
        notes: what the loader warned of, and what was found in the pixels.
        text_lines: that seem to be burnt in.
    """

    image: np.ndarray
    size: tuple[int, int]
    spacing: tuple[float, float] | None
    preview: np.ndarray
    notes: tuple[Finding, ...] = ()
    text_lines: int = 0


def prepare(path: Path, recipe: Recipe) -> Prepared:
    """Load an image and make of it what the network gets, as in the training.

    Args:
        path: a file; of CT, also the folder of a series.
        recipe: of the bundle.

    Raises:
        InputError: not readable, or not what the bundle takes; one line that names the file.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with as_input_error(path, recipe.modality):
            if has_ending(path, ITK):
                check_data_file(path)
            made = _radiograph(path, recipe) if recipe.modality == "radiograph" else _scan(path, recipe)
    if not np.isfinite(made.image).all():
        raise InputError(f"{path}: it holds NaN or infinite values once it is rescaled, expected finite ones")
    messages = [str(one.message) for one in caught if str(one.message).startswith(str(path))]
    warned = [("loader", one) for one in list(dict.fromkeys(messages))[:_NOTES]]
    return replace(made, notes=(*made.notes, *warned))


def _radiograph(path: Path, recipe: Recipe) -> Prepared:
    _check_picture(path, recipe.modality)
    image = load_radiograph(path, recipe.modality, recipe.body_part)
    plain = image.as_tensor().unsqueeze(0)
    small = resize(plain, (recipe.image_size, recipe.image_size))[0]
    rows, columns = image.shape[1:]
    shrink = min(1.0, _PREVIEW / max(rows, columns))
    shown = resize(plain, (max(1, round(rows * shrink)), max(1, round(columns * shrink))))[0, 0]
    lines = text_lines(plain[0, 0].numpy())
    note = f"text seems to be burnt into the image ({lines} line{'s' * (lines > 1)})"
    notes = (("burnt_in_text", note),) if lines else ()
    return Prepared(small.numpy(), (rows, columns), _in_plane(image), _grey(shown), notes, lines)


def _check_picture(path: Path, modality: str) -> None:
    """Hold the size that a file declares against what is read, before anything is decoded."""
    if is_dicom(path):
        fields = read_fields(path)
        shape: tuple[int, ...] = (fields["Rows"], fields["Columns"])
    elif has_ending(path, NIFTI):
        shape = tuple(nibabel.load(path).shape)  # type: ignore[attr-defined]
    elif has_ending(path, PICTURES):
        with open_picture(path) as picture:
            shape = picture.size
    else:
        return  # the limit of memory holds for the rest
    if math.prod(shape) > LARGEST_IMAGE:
        raise InputError(
            f"{path}: {' x '.join(map(str, shape))} pixels, expected at most {LARGEST_IMAGE} of a {modality}"
        )


def _scan(path: Path, recipe: Recipe) -> Prepared:
    position: dict[str, float] = {}
    slab = None
    if has_ending(path, PICTURES):
        _check_picture(path, recipe.modality)
    else:
        position, slab = _middle(path, recipe)
    image = load_ct(path, recipe.unit, slab, modality="CT", body_part=recipe.body_part)
    if recipe.unit == "HU":
        low, high = window_edges(recipe.window or "lung")
        # In place: a whole scan in memory is enough.
        image.as_tensor().sub_(low).div_(high - low).clamp_(0, 1)
    size = [recipe.image_size] * recipe.spatial_dims
    cut = ResamplePatchd("image", size, recipe.patch_mm)
    item: dict[Hashable, Any] = {"image": image, "name": str(path)}
    item.update(position)
    patch = torch.as_tensor(cut(item)["image"])
    notes = _thin(image, recipe)
    shown = patch[0] if patch.ndim == 3 else patch[0, :, :, patch.shape[3] // 2]
    rows, columns = image.shape[1:3]
    return Prepared(patch.float().numpy(), (rows, columns), _in_plane(image), _grey(shown), notes)


def _thin(image: MetaTensor, recipe: Recipe) -> tuple[Finding, ...]:
    """Say that a box is mostly empty, or a volume a single slice."""
    if recipe.spatial_dims != 3:
        return ()
    slices, step = image.shape[3], float(image.pixdim[2])
    if slices > 1 and slices * step >= recipe.depth_mm * (1 - _ROUNDING):
        return ()
    expected = f"at least {recipe.depth_mm:g} mm" if recipe.depth_mm else "a volume"
    return (("thin_ct", f"{slices} slices of {step:g} mm, expected {expected}"),)


def _middle(path: Path, recipe: Recipe) -> tuple[dict[str, float], tuple[float, float] | None]:
    """The middle of a scan (LPS, mm), and the slab around it that the patch needs; None: all of it."""
    stored = _open(path)
    placement = place(stored.path, stored.affine, stored.shape)
    shape = [stored.shape[axis] for axis in placement.order]
    middle = [(length - 1) / 2 for length in shape]
    if recipe.spatial_dims == 2:
        middle[2] = min(max(round(middle[2]), 0), shape[2] - 1)  # the slice that training takes
    right, anterior, z, _ = placement.affine @ [*middle, 1.0]
    position = {"x_mm": -right, "y_mm": -anterior, "z_mm": z}
    steps = np.linalg.norm(placement.affine[:3, :3], axis=0)
    whole = recipe.spatial_dims == 3 and not recipe.patch_mm
    reach = 0.0
    if recipe.spatial_dims == 3 and recipe.patch_mm:
        # The filter reaches beyond the box by a voxel or a pixel of the result, whichever is longer.
        reach = recipe.patch_mm / 2 + 2 * max(steps[2], recipe.patch_mm / recipe.image_size)
    slices = shape[2] if whole else min(shape[2], 2 * reach / steps[2] + 3)
    if shape[0] * shape[1] * slices > LARGEST_VOLUME:
        raise InputError(
            f"{path}: {' x '.join(map(str, shape))} voxels, expected at most {LARGEST_VOLUME} to be read"
        )
    return position, None if whole else (z - reach, z + reach)


def _open(path: Path) -> StoredVolume:
    if path.is_dir():
        return open_series(path, None, None, "fail")[0]
    if is_dicom(path):
        return open_file(path, None, "fail")[0]
    return open_nifti(path) if has_ending(path, NIFTI) else open_itk(path)


def _in_plane(image: MetaTensor) -> tuple[float, float] | None:
    """mm between rows and between columns; None where the loader says that the file does not know."""
    spacing = known_spacing(image)
    return None if spacing is None else (spacing[0], spacing[1])


def _grey(image: torch.Tensor) -> np.ndarray:
    return (image.clamp(0, 1) * 255).round().to(torch.uint8).numpy()
