"""Exposure and window: the same radiograph, processed for another eye."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar, Literal, get_args

import torch

from srcmatters.confounders.base import Confounder, Parameters
from srcmatters.confounders.taxonomy import Miccat
from srcmatters.errors import InputError, did_you_mean

VoiFunction = Literal["linear", "sigmoid"]
_FUNCTIONS = get_args(VoiFunction)


class ExposureShift(Confounder):
    r"""Show the image through another window.

    MICCAT: environment / imaging / acquisition / global. A digital detector forgives the exposure; what
    differs between sites and devices is the value-of-interest transformation after it. With centre ``c`` and
    width ``w`` (DICOM PS3.3 C.11.2.1.3, output 0..1):

    linear ``y = min(max((x - c) / w + 1/2, 0), 1)``, sigmoid ``y = 1 / (1 + exp(-4 (x - c) / w))``,

    and then ``y^gamma``. On CT it acts on HU as the bundle's window shows them (0 black, 1 white), before
    that window cuts anything off: a wider or lower window brings the mediastinum back. The default is a
    narrower window, a little lower: lungs darker than 0.05 and mediastinum brighter than 0.9 run into black
    and white, and everything else has 18 % more contrast.

    Args:
        function: "linear" (LINEAR_EXACT of DICOM) or "sigmoid".
        centre: middle of the window as a display value, -1 .. 2.
        width: width of the window in display values, (0, 10].
        gamma: exponent, (0, 10]; above 1 darkens.
        seed: Seed of the per-case streams; this confounder draws nothing.

    Shape:
        image: (C, H, W) or (C, H, W, D), floating point in [0, 1]; the result has the same shape and dtype.

    Raises:
        InputError: an argument outside its range.

    Example:
        >>> import torch
        >>> ExposureShift(centre=0.5, width=0.5)(torch.tensor([[[0.2, 0.5, 0.6]]]))[0, 0].tolist()[:2]
        [0.0, 0.5]

    Source: DICOM PS3.3 C.11.2.1.2 and C.11.2.1.3 (window, VOI LUT function).
    """

    name = "exposure"
    miccat = Miccat("environment", "imaging", "acquisition", "global")
    source = "DICOM PS3.3 C.11.2.1 (window, VOI LUT function)"
    also_changes = frozenset({"brightness", "border", "clipping"})
    before_window = True
    presets: ClassVar[dict[str, Parameters]] = {
        "plausible": {"centre": 0.49, "width": 0.94},
        "stress": {"centre": 0.45, "width": 0.6},
    }

    def __init__(
        self,
        function: VoiFunction = "linear",
        centre: float = 0.475,
        width: float = 0.85,
        gamma: float = 1.0,
        seed: int = 0,
    ) -> None:
        super().__init__(seed)
        if function not in _FUNCTIONS:
            raise InputError(
                f"exposure: function {function!r} is unknown{did_you_mean(str(function), _FUNCTIONS)}"
            )
        if not -1 <= centre <= 2:
            raise InputError(f"exposure: centre {centre}, expected a display value in [-1, 2]")
        for field, value in (("width", width), ("gamma", gamma)):
            if not 0 < value <= 10:
                raise InputError(f"exposure: {field} {value}, expected a number in (0, 10]")
        self.function = function
        self.centre = centre
        self.width = width
        self.gamma = gamma

    def does_nothing(self, spatial_shape: Sequence[int], spacing_mm: Sequence[float] | None) -> str | None:
        """The window of the image itself."""
        if self.function == "linear" and (self.centre, self.width, self.gamma) == (0.5, 1.0, 1.0):
            return "a linear window of centre 0.5 and width 1 with gamma 1 is the image itself"
        return None

    def apply(self, images: torch.Tensor, parameters: Sequence[Parameters]) -> torch.Tensor:
        """Look at (B, C, H, W[, D]) through the window."""
        if self.function == "linear":
            # Written so that the window of the image itself returns its very values.
            low = self.centre - self.width / 2
            shown = images.sub(low).div_(self.width).clamp_(0, 1)
        else:
            shown = images.sub(self.centre).mul_(4 / self.width).sigmoid_()
        return shown if math.isclose(self.gamma, 1) else shown.pow_(self.gamma)
