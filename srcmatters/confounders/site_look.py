"""Site look: the tone curve, or the histogram, of another department."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import ClassVar

import numpy as np
import torch

from srcmatters.confounders.base import Confounder, Parameters
from srcmatters.confounders.taxonomy import Miccat
from srcmatters.errors import InputError

_LEVELS = 256
#: Display value to display value: darker lungs and a brighter mediastinum, as a steep curve shows them.
STEEP: tuple[tuple[float, float], ...] = ((0, 0), (0.2, 0.1), (0.4, 0.33), (0.6, 0.64), (0.8, 0.9), (1, 1))


class SiteLook(Confounder):
    r"""Show the image as another department shows its images.

    MICCAT: environment / imaging / acquisition / global. Either a tone curve ``g``, ``t' = (1 - s) t + s
    g(t)``, or the histogram of a reference set, ``t' = (1 - s) t + s Q(F(t))`` with the image's cumulative
    distribution ``F`` and the quantiles ``Q`` of the reference. Black and white stay black and white: letters
    and shutters do not move. Brightness and contrast are what it changes.

    Args:
        curve: (display value, display value shown) rising from (0, 0) to (1, 1); linear in between.
        reference: quantiles of a reference set at equal steps from 0 to 1, rising in [0, 1], two or more, see
            :func:`reference_quantiles`; wins over ``curve``.
        strength: ``s``, (0, 1].
        seed: seed of the per-case streams; this confounder draws nothing.

    Shape:
        image: (C, H, W) or (C, H, W, D), floating point in [0, 1]; the result has the same shape and dtype.

    Raises:
        InputError: a curve or quantiles that do not rise, or a strength outside its range.

    Example:
        >>> import torch
        >>> float(SiteLook(((0, 0), (0.5, 0.2), (1, 1)))(torch.full((1, 8, 8), 0.25))[0, 0, 0])
        0.10000000149011612

    Source: histogram specification, Gonzalez and Woods, Digital Image Processing, chapter 3; sites as
    confounders: Zech et al. 2018, PLoS Medicine 15:e1002683.
    """

    name = "site_look"
    miccat = Miccat("environment", "imaging", "acquisition", "global")
    source = "Zech et al. 2018; histogram specification"
    also_changes = frozenset({"brightness", "border"})
    presets: ClassVar[dict[str, Parameters]] = {"plausible": {"strength": 0.4}, "stress": {"strength": 1.0}}

    def __init__(
        self,
        curve: Sequence[Sequence[float]] = STEEP,
        reference: Sequence[float] | None = None,
        strength: float = 1.0,
        seed: int = 0,
    ) -> None:
        super().__init__(seed)
        self.curve = tuple((float(row[0]), float(row[1])) for row in curve if len(row) == 2)
        rising = all(a[0] < b[0] and a[1] <= b[1] for a, b in pairwise(self.curve))
        ends = self.curve[:1] == ((0.0, 0.0),) and self.curve[-1:] == ((1.0, 1.0),)
        if len(self.curve) != len(curve) or not rising or not ends:
            raise InputError(f"site_look: curve {curve}, expected rising pairs from (0, 0) to (1, 1)")
        self.reference = None if reference is None else tuple(map(float, reference))
        if self.reference is not None:
            steps = all(a <= b for a, b in pairwise(self.reference))
            if len(self.reference) < 2 or not steps or self.reference[0] < 0 or self.reference[-1] > 1:
                raise InputError("site_look: reference, expected rising quantiles in [0, 1], two or more")
        if not 0 < strength <= 1:
            raise InputError(f"site_look: strength {strength}, expected (0, 1]")
        self.strength = strength

    def apply(self, images: torch.Tensor, parameters: Sequence[Parameters]) -> torch.Tensor:
        """Change the tones of (B, C, H, W[, D])."""
        return torch.stack([self._shown(image) for image in images])

    def _shown(self, image: torch.Tensor) -> torch.Tensor:
        levels = np.linspace(0, 1, _LEVELS)
        if self.reference is None:
            x, y = (np.array(column) for column in zip(*self.curve, strict=True))
            tones = np.interp(levels, x, y)
        else:
            tones = _specified(image[0], levels, np.array(self.reference))
        table = torch.from_numpy((1 - self.strength) * levels + self.strength * tones).to(image)
        place = image.clamp(0, 1) * (_LEVELS - 1)
        lower = place.floor().clamp(max=_LEVELS - 2)
        index = lower.long()
        return table[index] + (table[index + 1] - table[index]) * (place - lower)


def reference_quantiles(images: Iterable[torch.Tensor], count: int = 101) -> tuple[float, ...]:
    """Quantiles of the display values of a reference set, for :class:`SiteLook`.

    Args:
        images: (C, H, W) each, in [0, 1]; every image counts the same. Black and white are left out.
        count: how many, at equal steps.
    """
    places = np.linspace(0, 1, count)
    each = []
    for image in images:
        values = image[0].float().cpu().numpy().ravel()
        inside = values[(values > 0) & (values < 1)]
        each.append(np.quantile(inside if inside.size else values, places))
    return tuple(float(value) for value in np.mean(each, axis=0))


def _specified(grey: torch.Tensor, levels: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Tone of each level that gives an image the quantiles of the reference; 0 and 1 stay."""
    values = np.sort(grey.float().cpu().numpy().ravel())
    values = values[(values > 0) & (values < 1)]
    if values.size == 0:
        return levels
    below = np.searchsorted(values, levels, side="right") + np.searchsorted(values, levels, side="left")
    tones = np.interp(below / (2 * values.size), np.linspace(0, 1, len(reference)), reference)
    tones[0], tones[-1] = 0.0, 1.0
    return tones
