"""Several confounders as one: what comes together in practice is put in together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch

from srcmatters.confounders.base import DISPLAY, LINEAR, Acquisition, Confounder, Parameters
from srcmatters.confounders.taxonomy import Miccat
from srcmatters.errors import InputError


class Composition(Confounder):
    r"""Put several confounders into an image, one after the other.

    MICCAT: environment / imaging / acquisition / global, whatever the parts are. Every part draws from a
    stream of its own, spawned from that of the case, so that adding a part at the end changes none of the
    others.

    Args:
        parts: what is put in, in this order: confounders, or their names with their parameters, such as
            ``{"name": "noise", "preset": "plausible"}``, or names alone.
        seed: seed of the per-case streams.

    Shape:
        image: (C, H, W) or (C, H, W, D), floating point, in the unit of the parts (display values if any has
        them); the result has the same shape and dtype.

    Raises:
        InputError: no parts, an unknown part, one that has no place here (a composition, "none"), or parts in
            HU beside parts in display values.

    Example:
        >>> import torch
        >>> both = Composition([{"name": "denoise", "cutoff": 8}, "tag"])
        >>> both(torch.rand(1, 128, 128), "case 7").amax() > 0.9
        tensor(True)

    Source: parts as each of them states; MICCAT of Juodelyte et al. 2024.
    """

    name = "compose"
    miccat = Miccat("environment", "imaging", "acquisition", "global")
    source = "MICCAT of Juodelyte et al. 2024; each part its own"
    also_changes = frozenset({"brightness", "border", "clipping"})
    presets: ClassVar[dict[str, Parameters]] = {
        preset: {"parts": [{"name": name, "preset": preset} for name in ("exposure", "tag")]}
        for preset in ("plausible", "stress")
    }

    def __init__(
        self,
        parts: Sequence[Confounder | Mapping[str, Any] | str] = ("exposure", "tag"),
        seed: int = 0,
    ) -> None:
        super().__init__(seed)
        if isinstance(parts, str | Mapping) or len(parts) == 0:
            raise InputError(f"{self.name}: parts {parts!r}, expected a list of confounders")
        self.parts = tuple(_part(self.name, part) for part in parts)
        units = {part.unit for part in self.parts} - {LINEAR}
        if len(units) > 1:
            raise InputError(f"{self.name}: parts in {' and in '.join(sorted(units))}, expected one unit")
        self.unit = units.pop() if units else LINEAR  # type: ignore[misc]
        common = set.intersection(*(set(part.spatial_dims) for part in self.parts))
        self.spatial_dims = tuple(sorted(common))  # type: ignore[misc]
        if not common:
            raise InputError(f"{self.name}: parts for images of different dimensions")
        self.before_window = self.unit == DISPLAY and all(  # type: ignore[misc]
            part.before_window or part.unit == LINEAR for part in self.parts
        )

    @property
    def is_random(self) -> bool:
        """Whether any part draws something."""
        return any(part.is_random for part in self.parts)

    def draw(self, stream: np.random.Generator) -> Parameters:
        """Draw each part from a stream of its own."""
        streams = stream.spawn(len(self.parts))
        drawn = zip(self.parts, streams, strict=True)
        return {"drawn": [part.draw(own) if part.is_random else {} for part, own in drawn]}

    def parameters(self, spatial_shape: Sequence[int], spacing_mm: Sequence[float] | None) -> Parameters:
        """Those of each part."""
        return {"known": [part.parameters(spatial_shape, spacing_mm) for part in self.parts]}

    def acquisition_parameters(self, acquisition: Acquisition, known: Parameters) -> Parameters:
        """What the header adds to each part."""
        pairs = zip(self.parts, known["known"], strict=True)
        return {"known": [own | part.acquisition_parameters(acquisition, own) for part, own in pairs]}

    def does_nothing(self, spatial_shape: Sequence[int], spacing_mm: Sequence[float] | None) -> str | None:
        """All of the parts do nothing."""
        reasons = [part.does_nothing(spatial_shape, spacing_mm) for part in self.parts]
        return None if None in reasons else "; ".join(map(str, reasons))

    def apply(self, images: torch.Tensor, parameters: Sequence[Parameters]) -> torch.Tensor:
        """Put the parts into (B, C, H, W[, D])."""
        for number, part in enumerate(self.parts):
            of_part = [
                case["known"][number] | (case["drawn"][number] if "drawn" in case else {})
                for case in parameters
            ]
            images = part.apply(images, of_part)
        return images


def _part(name: str, part: Confounder | Mapping[str, Any] | str) -> Confounder:
    from srcmatters.confounders.catalogue import create_confounder

    if isinstance(part, str):
        part = {"name": part}
    if isinstance(part, Mapping):
        arguments = dict(part)
        kind = str(arguments.pop("name", None))
        if kind == Composition.name:
            raise InputError(f"{name}: a composition inside a composition, expected its parts")
        created = create_confounder(kind, **arguments)
        if created is None:
            raise InputError(f"{name}: part {kind!r} changes nothing, expected a confounder")
        return created
    if not isinstance(part, Confounder):
        raise InputError(f"{name}: part {part!r}, expected a confounder, its name, or name and parameters")
    return part
