"""CT kernel change: the same scan, reconstructed sharper or smoother."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from typing import ClassVar

import numpy as np
import torch

from srcmatters.confounders.base import LINEAR, Acquisition, Confounder, Parameters
from srcmatters.confounders.spectrum import Response, filter_in_plane, frequencies, mirror, trimmed
from srcmatters.confounders.taxonomy import Miccat
from srcmatters.errors import InputError, did_you_mean

_MARGIN = 16  # pixels of mirrored edge; the kernels reach no further
Table = tuple[tuple[float, float], ...]  # (line pairs per mm, modulation transfer)

# Modulation transfer relative to B70f: only the ratio of two kernels counts, so one of them can be flat.
KERNELS: dict[str, Table] = {
    "B70f": ((0.0, 1.0), (1.0, 1.0)),
    "B30f": ((0.0, 1.0), (0.2, 0.77), (0.3, 0.48), (0.4, 0.28), (0.5, 0.15), (0.6, 0.07)),
}
_SAME = {
    "B30": "B30f",
    "B70": "B70f",
}  # the last letter is the mode of the reconstruction, not another kernel
#: Half of the way from B70f to B30f, in decibels.
_HALFWAY: Table = tuple((f, round(math.sqrt(passed), 3)) for f, passed in KERNELS["B30f"])
HEADER = "header"


class KernelChange(Confounder):
    r"""Change the reconstruction kernel of a CT.

    MICCAT: environment / imaging / reconstruction / global. The spectrum of each slice is multiplied with the
    ratio of the modulation transfer functions, ``H(f) = MTF_after / MTF_before``: what is resolved and the
    texture of the noise change together, as with a real kernel. Where ``H > 1`` (sharper) it is a Wiener
    inverse, ``H' = (1 + k) H / (1 + k H^2)`` with ``k = 1 / (4 max_gain^2)``: it follows ``H`` up to about
    ``max_gain`` and then falls again, since noise that is not in the scan cannot be sharpened. The mean is
    kept.

    Args:
        before: kernel of the image: "B70f" (sharp, lung), "B30f" (smooth, soft tissue), "header" (what
            ConvolutionKernel of the image's DICOM header says) or a table of (line pairs per mm, modulation
            transfer), frequencies rising from 0 (if it is absent, 1 is put there). Where the header says
            something else than ``before``, a warning does: filtering a smooth scan once more is no kernel
            change.
        after: kernel that it shall look like.
        max_gain: highest amplification of a frequency, [1, 20].
        pixel_mm: size of a pixel, used where the spacing is unknown (PNG slices).
        seed: Seed of the per-case streams; this confounder draws nothing.

    Shape:
        image: (C, H, W) or (C, H, W, D), floating point, HU or any unit linear in it; the result has the same
        shape and dtype. It is not clipped: an edge may overshoot. Values are expected to be CT numbers or a
        window of them; padding outside the field of view leaks into the image if it is far from air.

    Raises:
        InputError: an unknown kernel, a table that is none, no known pixel size, or ``before="header"`` and
            an image whose header names no kernel of the table.

    Example:
        >>> import torch
        >>> slice_ = torch.randn(1, 128, 128) * 40
        >>> KernelChange("B70f", "B30f", pixel_mm=0.7)(slice_).std() < slice_.std() / 1.5
        tensor(True)

    Source: ratio B30f / B70f = sqrt(NPS_B30f / NPS_B70f), Siemens: .77, .48, .28, .15, .07 at .2 to .6 lp/mm.
    """

    name = "kernel"
    miccat = Miccat("environment", "imaging", "reconstruction", "global")
    source = "ratio of MTFs; B70f to B30f from the ratio of their noise power spectra"
    strength_spread = 0.2  # it is fine: interpolation into a patch leaves less of it from coarse pixels
    presets: ClassVar[dict[str, Parameters]] = {
        "plausible": {"after": _HALFWAY},  # a sharper protocol beside a smoother one
        "stress": {"after": "B30f"},  # a lung kernel beside one of soft tissue
    }
    unit = LINEAR
    modalities = ("CT",)

    def __init__(
        self,
        before: str | Sequence[Sequence[float]] = "B70f",
        after: str | Sequence[Sequence[float]] = "B30f",
        max_gain: float = 4.0,
        pixel_mm: float | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(seed)
        self.before = HEADER if before == HEADER else _table("before", before)
        self.after = _table("after", after)
        if not 1 <= max_gain <= 20:
            raise InputError(f"kernel: max_gain {max_gain}, expected 1..20")
        if pixel_mm is not None and not 0 < pixel_mm < math.inf:
            raise InputError(f"kernel: pixel_mm {pixel_mm}, expected a positive size in mm")
        self.max_gain = max_gain
        self.pixel_mm = pixel_mm

    def does_nothing(self, spatial_shape: Sequence[int], spacing_mm: Sequence[float] | None) -> str | None:
        """Two equal kernels, or pixels so large that no frequency differs by 1 %."""
        if self.before == HEADER:
            return None
        if self.before == self.after:
            return "both kernels are the same"
        shape = (int(spatial_shape[0]), int(spatial_shape[1]))
        if _largest_change(self.before, self.after, self.max_gain, shape, self._pixel(spacing_mm)) < 0.01:
            return "the kernels differ by less than 1 % at this pixel size"
        return None

    def parameters(self, spatial_shape: Sequence[int], spacing_mm: Sequence[float] | None) -> Parameters:
        """The size of a pixel in mm."""
        return {"pixel": self._pixel(spacing_mm), "before": self.before}

    def acquisition_parameters(self, acquisition: Acquisition, known: Parameters) -> Parameters:
        """The kernel that the header names; a warning where it is not the one to start from."""
        named = str(acquisition.get("ConvolutionKernel") or "")
        table = table_of_header(named)
        if self.before == HEADER:
            return {} if table is None else {"before": table}
        if named and table != self.before:
            warnings.warn(
                f"kernel: the header says ConvolutionKernel {named!r}, and `before` is another kernel: the "
                "scan is filtered once more, which is no change of its kernel",
                stacklevel=4,
            )
        return {}

    def apply(self, images: torch.Tensor, parameters: Sequence[Parameters]) -> torch.Tensor:
        """Filter (B, C, H, W[, D])."""
        results = [
            self._filtered(image, known) for image, known in zip(images.split(1), parameters, strict=True)
        ]
        return torch.cat(results) if len(results) > 1 else results[0]

    def _filtered(self, image: torch.Tensor, known: Parameters) -> torch.Tensor:
        if known["before"] == HEADER:
            raise InputError(
                f"kernel: before 'header', and the header of the image names none of {', '.join(KERNELS)}; "
                "set before to the kernel, or to a table of its modulation transfer"
            )
        shape = (image.shape[2], image.shape[3])
        response = _ratio(known["before"], self.after, self.max_gain, shape, known["pixel"], image.device)
        return filter_in_plane(image, response)

    def _pixel(self, spacing_mm: Sequence[float] | None) -> tuple[float, float]:
        if spacing_mm is not None:
            return float(spacing_mm[0]), float(spacing_mm[1])
        if self.pixel_mm is None:
            raise InputError("kernel: the pixel spacing of the image is unknown; give pixel_mm")
        return self.pixel_mm, self.pixel_mm


def table_of_header(kernel: str) -> Table | None:
    """Modulation transfer of a kernel as a DICOM header names it, None where it is not known here."""
    name = kernel.strip()
    return KERNELS.get(name) or KERNELS.get(_SAME.get(name[:3].upper(), ""))


def _table(field: str, kernel: str | Sequence[Sequence[float]]) -> Table:
    if isinstance(kernel, str):
        if kernel not in KERNELS:
            raise InputError(f"kernel: {field} {kernel!r} is unknown{did_you_mean(kernel, KERNELS)}")
        return KERNELS[kernel]
    table = tuple((float(row[0]), float(row[1])) for row in kernel if len(row) == 2)
    rising = all(a[0] < b[0] for a, b in pairwise(table))
    if len(table) != len(kernel) or not table or not rising or min(min(row) for row in table) < 0:
        raise InputError(
            f"kernel: {field}, expected rows of (line pairs per mm, modulation transfer), rising"
        )
    if table[0][0] > 0:
        table = ((0.0, 1.0), *table)
    if len(table) < 2 or min(row[1] for row in table) <= 0:
        raise InputError(f"kernel: {field}, expected at least two frequencies with a transfer above 0")
    return table


def _logarithm(table: Table, frequency: np.ndarray) -> np.ndarray:
    """ln MTF, linear in f^2 between the rows (a Gaussian is a straight line) and beyond the last."""
    f, mtf = (np.array(column) for column in zip(*table, strict=True))
    squared, ln = f**2, np.log(mtf)
    slope = (ln[-1] - ln[-2]) / (squared[-1] - squared[-2])
    beyond = np.maximum(frequency**2 - squared[-1], 0) * min(slope, 0.0)
    return np.interp(frequency**2, squared, ln) + beyond


@lru_cache(maxsize=32)
def _ratio(
    before: Table,
    after: Table,
    max_gain: float,
    shape: tuple[int, int],
    pixel: tuple[float, float],
    device: torch.device,
) -> Response:
    """The ratio of the transfer functions, sharpening capped, for ``shape`` with mirrored edges."""
    shape = mirror(shape, _MARGIN)
    frequency = frequencies(shape, pixel, torch.device("cpu")).numpy()
    ratio = np.exp(np.clip(_logarithm(after, frequency) - _logarithm(before, frequency), -20, 20))
    k = 1 / (4 * max_gain**2)
    sharper = (1 + k) * ratio / (1 + k * ratio**2)
    return trimmed(torch.from_numpy(np.where(ratio > 1, sharper, ratio)).to(device), shape[1])


@lru_cache(maxsize=256)
def _largest_change(
    before: Table, after: Table, max_gain: float, shape: tuple[int, int], pixel: tuple[float, float]
) -> float:
    """By how much a frequency is amplified or damped at most."""
    response = _ratio(before, after, max_gain, shape, pixel, torch.device("cpu"))
    return float((response.passing - 1).abs().max())
