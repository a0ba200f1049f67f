"""What is put in place of a region: the mean of the rest, a blur, in-painting, or another's region."""

from __future__ import annotations

import numpy as np
from scipy import ndimage
from skimage.restoration import inpaint_biharmonic

FILLS = ("mean", "blur", "inpaint")
_MOST_PIXELS = 1500  # that are solved for at once; a larger region is in-painted on a coarser grid
_RING = 4  # pixels around a region that a transplanted one is adjusted to


def filled(image: np.ndarray, region: np.ndarray, fill: str) -> np.ndarray:
    """An image whose region holds nothing of itself any more.

    Args:
        image: (H, W[, D]).
        region: bool, of the same shape; empty or everything leaves the image as it is.
        fill: "mean" of the pixels outside; "blur" of them, as wide as the region (normalised convolution);
            "inpaint": biharmonic in-painting, slice by slice.

    Returns:
        (H, W[, D]), equal to the image outside the region.
    """
    if not region.any() or region.all():
        return image.copy()
    result = image.astype(np.float64).copy()
    if fill == "mean":
        result[region] = image[~region].mean()
        return result.astype(image.dtype)
    put = _blurred if fill == "blur" else _inpainted
    if image.ndim == 2:
        return put(result, region).astype(image.dtype)
    for depth in np.flatnonzero(region.any((0, 1))):
        inside = region[..., depth]
        if not inside.all():
            result[..., depth] = put(result[..., depth], inside)
        else:
            result[..., depth] = image[~region].mean()
    return result.astype(image.dtype)


def _blurred(plane: np.ndarray, region: np.ndarray) -> np.ndarray:
    """Outside pixels blurred into the region, weighted by nearness alone."""
    sigma = max(np.sqrt(region.sum() / np.pi), 1.0)
    weight = ndimage.gaussian_filter((~region).astype(float), sigma)
    blurred = ndimage.gaussian_filter(np.where(region, 0.0, plane), sigma)
    nearby = weight > 1e-6
    values = np.where(nearby, blurred / np.maximum(weight, 1e-6), plane[~region].mean())
    return np.where(region, values, plane)


def _inpainted(plane: np.ndarray, region: np.ndarray) -> np.ndarray:
    low, high = float(plane[~region].min()), float(plane[~region].max())
    step = int(np.ceil(np.sqrt(region.sum() / _MOST_PIXELS)))
    if step == 1:
        solved = inpaint_biharmonic(plane, region, split_into_regions=True)
        return np.where(region, np.clip(solved, low, high), plane)
    # The blur holds nothing of the region, so the coarse grid does not either.
    coarse = _blurred(plane, region)[::step, ::step]
    inside = region[::step, ::step]
    if inside.all() or not inside.any():
        return _blurred(plane, region)
    solved = inpaint_biharmonic(coarse, inside, split_into_regions=True)
    fine = ndimage.zoom(solved, step, order=1, grid_mode=False)
    missing = [max(0, want - got) for want, got in zip(plane.shape, fine.shape, strict=True)]
    padded = np.pad(fine, [(0, pixels) for pixels in missing], "edge")
    return np.where(region, np.clip(padded[: plane.shape[0], : plane.shape[1]], low, high), plane)


def transplanted(
    image: np.ndarray, region: np.ndarray, donor: np.ndarray, donor_region: np.ndarray
) -> np.ndarray:
    """An image whose region shows the region of another case, resized to its box.

    Grey values are shifted so that the surroundings of both regions have the same mean.

    Args:
        image: (H, W[, D]).
        region: bool, not empty.
        donor: image of the other case, any size.
        donor_region: bool, not empty.
    """
    target, source = (_box_of(one) for one in (region, donor_region))
    piece = donor[source].astype(float)
    shape = region[target].shape
    scale = [new / old for new, old in zip(shape, piece.shape, strict=True)]
    piece = ndimage.zoom(piece, scale, order=1, grid_mode=True, mode="nearest")
    shift = image[_ring(region)].mean() - donor[_ring(donor_region)].mean()
    result = image.copy()
    inside = region[target]
    result[target][inside] = (piece + shift)[inside].astype(image.dtype)
    return result


def _box_of(region: np.ndarray) -> tuple[slice, ...]:
    return tuple(ndimage.find_objects(region.astype(np.uint8))[0])


def _ring(region: np.ndarray) -> np.ndarray:
    """Pixels around a region; all others where it reaches everywhere."""
    ring = ndimage.binary_dilation(region, iterations=_RING) & ~region
    return ring if ring.any() else np.ones_like(region)
