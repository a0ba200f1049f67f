"""Dead pixels: elements and lines of a detector that do not measure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch

from srcmatters.confounders.base import LocalConfounder, Parameters
from srcmatters.confounders.devices import FILM_MM
from srcmatters.confounders.taxonomy import Miccat
from srcmatters.errors import InputError


class DeadPixels(LocalConfounder):
    r"""Take a radiograph with a detector that has defects.

    MICCAT: environment / imaging / acquisition / local. Clusters of elements and whole readout lines that no
    correction map covers show no signal (white) or too much (black). With the share ``a`` of a pixel that
    they cover, ``t' = (1 - a) t + a v``. The defects belong to the detector, not to the patient: every image
    has them at the same place.

    Args:
        clusters: number of clusters, 0 .. 1000.
        cluster_mm: side of a cluster in mm, > 0.
        lines: number of dead columns, 0 .. 100.
        line_mm: their width in mm, > 0; an element has 0.1 to 0.2.
        detector: which detector: another number has its defects elsewhere.
        seed: seed of the per-case streams; this confounder draws nothing.

    Shape:
        image: (C, H, W), floating point in [0, 1]; the result has the same shape and dtype.

    Raises:
        InputError: an argument outside its range, or neither clusters nor lines.

    Example:
        >>> import torch
        >>> bool((DeadPixels()(torch.full((1, 128, 128), 0.5), "case 7") != 0.5).any())
        True

    Source: MICCAT of Juodelyte et al. 2024.
    """

    name = "dead_pixels"
    miccat = Miccat("environment", "imaging", "acquisition", "local")
    source = "MICCAT of Juodelyte et al. 2024"
    spatial_dims = (2,)
    modalities = ("radiograph",)
    presets: ClassVar[dict[str, Parameters]] = {
        "plausible": {"clusters": 8, "lines": 0},
        "stress": {"clusters": 100, "cluster_mm": 1.5, "lines": 4, "line_mm": 1.0},
    }

    def __init__(
        self,
        clusters: int = 30,
        cluster_mm: float = 0.8,
        lines: int = 1,
        line_mm: float = 0.4,
        detector: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__(seed)
        for field, count, most in (("clusters", clusters, 1000), ("lines", lines, 100)):
            if not 0 <= count <= most:
                raise InputError(f"dead_pixels: {field} {count}, expected 0..{most}")
        if clusters == lines == 0:
            raise InputError("dead_pixels: clusters 0 and lines 0, expected some of them")
        for field, value in (("cluster_mm", cluster_mm), ("line_mm", line_mm)):
            if not 0 < value < math.inf:
                raise InputError(f"dead_pixels: {field} {value}, expected a positive size in mm")
        if detector < 0:
            raise InputError(f"dead_pixels: detector {detector}, expected 0 or more")
        self.clusters = clusters
        self.cluster_mm = cluster_mm
        self.lines = lines
        self.line_mm = line_mm
        self.detector = detector
        stream = np.random.default_rng([74, detector])
        self.places = stream.uniform(0, 1, (clusters, 2))
        self.columns = stream.uniform(0.1, 0.9, lines)
        self.values = stream.integers(0, 2, clusters + lines).astype(float)

    def parameters(self, spatial_shape: Sequence[int], spacing_mm: Sequence[float] | None) -> Parameters:
        """Pixel size in mm."""
        unknown = (FILM_MM / spatial_shape[0],) * 2
        return {"pixel_mm": unknown if spacing_mm is None else tuple(map(float, spacing_mm[:2]))}

    def apply_in_place(self, images: torch.Tensor, parameters: Sequence[Parameters]) -> torch.Tensor:
        """Blend the defects into (B, C, H, W)."""
        rows, columns = images.shape[2:]
        rows_mm, columns_mm = parameters[0]["pixel_mm"]
        for (down, across), value in zip(self.places, self.values[: self.clusters], strict=True):
            first, share_down = _covered(down * rows, self.cluster_mm / rows_mm, rows)
            left, share_across = _covered(across * columns, self.cluster_mm / columns_mm, columns)
            share = (share_down[:, None] * share_across[None]).to(images)
            region = images[:, :, first : first + share.shape[0], left : left + share.shape[1]]
            region.lerp_(share.new_full((), value), share.expand_as(region))
        for across, value in zip(self.columns, self.values[self.clusters :], strict=True):
            left, share = _covered(across * columns, self.line_mm / columns_mm, columns)
            region = images[:, :, :, left : left + len(share)]
            region.lerp_(share.new_full((), value).to(images), share.to(images).expand_as(region))
        return images


def _covered(middle: float, width: float, length: int) -> tuple[int, torch.Tensor]:
    """First pixel, and the share of it and of those that follow, that an interval of pixels covers."""
    low, high = max(middle - width / 2, 0.0), min(middle + width / 2, float(length))
    first = min(math.floor(low), length - 1)
    edges = torch.arange(first, max(math.ceil(high), first + 1), dtype=torch.float64)
    return first, (edges + 1).clamp(max=high) - edges.clamp(min=low)
