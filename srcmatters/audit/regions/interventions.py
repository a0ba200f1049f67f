"""What is done to a region of every case, and what the model says of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from srcmatters.audit.regions.fills import filled, transplanted
from srcmatters.audit.regions.masks import borrowed, dilated, matched_region

#: Image and region of a case position.
Look = Callable[[int, Tensor | None], tuple[np.ndarray, np.ndarray | None]]
Change = Callable[[Tensor, int], Tensor]


@dataclass
class Interventions:
    """Changes of images that act on the region of each case.

    A case without a region of its own borrows that of another case, at the same relative place, so that both
    labels are treated alike.

    Args:
        look: image (H, W[, D]) and region of a case position; the image is given, or None to read it.
        rows: case positions.
        labels: (cases,) 0 or 1, by case position.
        seed: of what is drawn.
    """

    look: Look
    rows: np.ndarray
    labels: np.ndarray
    seed: int = 0

    def __post_init__(self) -> None:
        self._own: dict[int, bool] = {}

    def remove(self, fill: str, grown: float = 0.0) -> Change:
        """Fill the region; ``grown`` by this many of its radii."""

        def change(image: np.ndarray, region: np.ndarray, _: int) -> np.ndarray:
            radius = float(np.sqrt(np.max(region.sum((0, 1))) / np.pi))
            return filled(image, dilated(region, round(grown * radius)), fill)

        return self._on_region(change)

    def keep_only(self, level: float) -> Change:
        """Nothing but the region; the rest has the grey value ``level`` in every case."""

        def change(image: np.ndarray, region: np.ndarray, _: int) -> np.ndarray:
            return np.where(region, image, image.dtype.type(level))

        return self._on_region(change)

    def remove_matched(self, fill: str) -> Change:
        """Fill a region of the same shape elsewhere; the image as it is where there is no room."""

        def change(image: np.ndarray, region: np.ndarray, position: int) -> np.ndarray:
            other = matched_region(region, np.random.default_rng([self.seed, position]))
            return image if other is None else filled(image, other, fill)

        return self._on_region(change)

    def swap(self) -> Change:
        """Put the region of another case of the same label in place of a case's own."""

        def change(image: np.ndarray, region: np.ndarray, position: int) -> np.ndarray:
            stream = np.random.default_rng([self.seed, position, 1])
            same = self.rows[(self.labels[self.rows] == self.labels[position]) & (self.rows != position)]
            for donor in stream.permutation(same)[:20]:
                donor_image, donor_region = self.look(int(donor), None)
                if donor_region is not None and donor_region.any() and region.any():
                    return transplanted(image, region, donor_image, donor_region)
            return image

        return self._on_region(change)

    def owned(self) -> int:
        """Cases, of those that were changed, that have a region of their own."""
        return sum(self._own.values())

    def _on_region(self, change: Callable[[np.ndarray, np.ndarray, int], np.ndarray]) -> Change:
        def apply(image: Tensor, position: int) -> Tensor:
            plane, region = self.look(position, image)
            self._own[position] = region is not None
            if region is None:
                region = self._borrowed(plane.shape, position)
            if region is None:
                return image
            result = image.clone()
            changed = change(plane, region, position)
            result[0] = torch.from_numpy(np.ascontiguousarray(changed)).to(result.dtype)
            return result

        return apply

    def _borrowed(self, shape: tuple[int, ...], position: int) -> np.ndarray | None:
        stream = np.random.default_rng([self.seed, position, 2])
        for donor in stream.permutation(self.rows)[:50]:
            _, region = self.look(int(donor), None)
            if region is not None:
                return borrowed(region, shape)
        return None
