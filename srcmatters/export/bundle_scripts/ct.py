"""Boxes of some mm, cut out of CT as in the training of this bundle's network.

``configs/inference.yaml`` names these parts; MONAI's readers and transforms do the rest. They need MONAI,
NumPy and torch.
"""

from __future__ import annotations

import csv
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform

SCANS = (".nii", ".nii.gz", ".mha", ".mhd", ".nrrd")
PLACES = ("x_mm", "y_mm", "z_mm")


def find_scans(folder: str | Path, table: str = "") -> list[dict[str, Any]]:
    """Items of all CT below a folder, or of the candidates that a table names.

    Args:
        folder: with NIfTI, formats of ITK, and folders that each hold one DICOM series.
        table: CSV in it, with a row per candidate: ``image`` (path in the folder) and ``x_mm``, ``y_mm``,
            ``z_mm`` (LPS); empty: the middle of every scan.

    Returns:
        ``image``: path; ``name``: of the row in the scores; ``place``: LPS in mm, empty: the middle.
    """
    if table:
        with (Path(folder) / table).open(newline="") as file:
            rows = list(csv.DictReader(file))
        return [
            {
                "image": str(Path(folder) / row["image"]),
                "name": " ".join([row["image"], *(row[name] for name in PLACES)]),
                "place": [float(row[name]) for name in PLACES],
            }
            for row in rows
        ]
    paths = sorted(str(path) for path in Path(folder).rglob("*") if _is_scan(path))
    return [{"image": path, "name": path, "place": []} for path in paths]


def _is_scan(path: Path) -> bool:
    if path.is_dir():
        return any(_is_dicom(part) for part in path.iterdir())
    return path.name.lower().endswith(SCANS)


def _is_dicom(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"


class ScaleGreyd(MapTransform):
    """Bring 8-bit grey values to [0, 1]; values that are there already stay.

    Raises:
        ValueError: values outside of 0 to 255, as CT in HU has them.
    """

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Apply to the image."""
        item = dict(data)
        for key in self.key_iterator(item):
            image = item[key]
            low, high = float(image.min()), float(image.max())
            if low < 0 or high > 255:
                source = getattr(image, "meta", {}).get("filename_or_obj", "")
                raise ValueError(
                    f"{source}: values from {low:g} to {high:g}, expected 8-bit grey values, not HU"
                )
            if high > 1 or bool((image == image.round()).all()):
                item[key] = image / 255
        return item


class ResampleBoxd(MapTransform):
    """Cut a box out of a scan, resampled to the size of the network's input.

    Along each axis the value at x is the weighted mean of the voxels around it; the weights fall linearly to
    0 at a distance of max(spacing of the result, spacing of the scan). So nothing aliases where the box is
    reduced, and it is linear interpolation where it is enlarged. Beyond the scan its border is repeated.

    Args:
        keys: of images, (1, H, W, D), H from anterior to posterior, W from right to left, D from inferior to
            superior, with the affine that leads from voxels to mm (RAS).
        image_size: pixels a side of the result.
        spatial_dims: 3: a cube; 2: the slice nearest to the middle of the box.
        patch_mm: side of the box in mm; 0: the whole scan.
        place_key: under which an item holds the middle of the box, LPS in mm; empty or missing: the middle
            of the scan.

    Returns:
        (1, S, S) or (1, S, S, S) float32.
    """

    def __init__(
        self,
        keys: KeysCollection,
        image_size: int,
        spatial_dims: int,
        patch_mm: float = 0.0,
        place_key: str = "place",
    ) -> None:
        super().__init__(keys)
        self.image_size, self.spatial_dims = image_size, spatial_dims
        self.patch_mm, self.place_key = patch_mm, place_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Apply to the image."""
        item = dict(data)
        place = item.pop(self.place_key, None)
        for key in self.key_iterator(item):
            item[key] = MetaTensor(self._cut(item[key], place))
        return item

    def _cut(self, image: MetaTensor, place: Sequence[float] | None) -> torch.Tensor:
        lengths = image.shape[1:]
        affine = np.asarray(image.affine, dtype=float)
        centre = [(length - 1) / 2 for length in lengths]
        if place:
            right, anterior, superior = -place[0], -place[1], place[2]
            centre = np.linalg.solve(affine, [right, anterior, superior, 1.0])[:3].tolist()
        steps = np.linalg.norm(affine[:3, :3], axis=0)
        voxels = (
            [self.patch_mm / step for step in steps] if self.patch_mm else [float(one) for one in lengths]
        )
        rows, columns, slices = (self._weights(*axis) for axis in zip(lengths, centre, voxels, strict=True))
        values = image.as_tensor()
        if self.spatial_dims == 2:
            nearest = min(max(round(centre[2]), 0), lengths[2] - 1)
            return torch.einsum("chw,ah,bw->cab", values[..., nearest], rows, columns)
        return torch.einsum("chwd,ah,bw,ed->cabe", values, rows, columns, slices)

    def _weights(self, length: int, centre: float, voxels: float) -> torch.Tensor:
        """(image_size, length) weights of an axis, of which the box takes so many ``voxels``."""
        offsets = torch.arange(self.image_size, dtype=torch.float64) - (self.image_size - 1) / 2
        at = centre + offsets * voxels / self.image_size
        width = max(voxels / self.image_size, 1.0)
        places = torch.arange(int(at.min() - width) - 2, int(at.max() + width) + 3)
        triangle = (1 - (places - at[:, None]).abs() / width).clamp(min=0)
        triangle = triangle / triangle.sum(1, keepdim=True)
        weights = torch.zeros(len(at), length, dtype=torch.float64)
        return weights.index_add(1, places.clamp(0, length - 1), triangle).float()
