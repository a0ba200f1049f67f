"""What devices on a radiograph share: their shadow is added to the attenuation, it is not painted."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence

import numpy as np
import torch
from torch.nn import functional

from srcmatters.confounders.base import LocalConfounder, Parameters
from srcmatters.confounders.curves import Curve, chord, distance, solid
from srcmatters.errors import InputError

Box = tuple[slice, slice]


FILM_MM = 430.0  # height of a chest radiograph where the pixel spacing is unknown


class Shadow:
    """Attenuation that a device adds to an image, drawn part by part on square pixels.

    Args:
        shape: (H, W) of the image.
        spacing_mm: of its rows and columns; None: the image is 430 mm high. Where they differ, the device is
            drawn on square pixels of the smaller size and then averaged over those of the image.
    """

    def __init__(self, shape: tuple[int, int], spacing_mm: Sequence[float] | None = None) -> None:
        rows, columns = spacing_mm[:2] if spacing_mm is not None else (FILM_MM / shape[0],) * 2
        self.pixel_mm = float(min(rows, columns))
        self.image_shape = shape
        square = abs(rows / columns - 1) < 1e-3
        scale = (1.0, 1.0) if square else (rows / self.pixel_mm, columns / self.pixel_mm)
        self.shape = (max(round(shape[0] * scale[0]), 1), max(round(shape[1] * scale[1]), 1))
        self.attenuation = torch.zeros(self.shape)
        self._corners: list[tuple[int, int, int, int]] = []

    @property
    def mm(self) -> float:
        """A millimetre in pixels of the drawing."""
        return 1 / self.pixel_mm

    def on_image(self) -> torch.Tensor:
        """(H, W): the attenuation on the pixels of the image."""
        if self.shape == self.image_shape:
            return self.attenuation
        drawn = self.attenuation[None, None]
        return functional.interpolate(drawn, self.image_shape, mode="bilinear", antialias=True)[0, 0]

    def line(self, curve: Curve, radius: float, opacity: float, hollow: float = 0.0) -> None:
        """A wire, or a tube.

        Args:
            curve: (N, 2) points in pixels.
            radius: in pixels.
            opacity: attenuation of a ray through the whole diameter of the solid wire, natural-log units.
            hollow: inner radius as a fraction of the outer one.
        """
        box, apart = distance(curve, self.shape, radius + 0.5)
        path = chord(apart, radius)
        if hollow:
            path = path - chord(apart, radius * hollow)
        self.add(box, path * (opacity / (2 * radius)))

    def block(
        self,
        centre: np.ndarray,
        half: tuple[float, float],
        opacity: float,
        angle: float = 0.0,
        corner: float = 0.0,
    ) -> None:
        """A flat piece with round corners, seen from the front; sizes in pixels, the angle in radians."""
        box, coverage = solid(centre, half, angle, corner, self.shape)
        self.add(box, coverage * opacity)

    def patch(self, centre: np.ndarray, attenuation: torch.Tensor) -> None:
        """Attenuation (h, w) on the pixels around ``centre`` (row, column); what lies outside is cut off."""
        box, inside = [], []
        for middle, length, size in zip(centre, attenuation.shape, self.shape, strict=True):
            first = round(float(middle) - (length - 1) / 2)
            start, stop = min(max(first, 0), size), max(min(first + length, size), 0)
            box.append(slice(start, max(start, stop)))
            inside.append(slice(start - first, max(start, stop) - first))
        self.add((box[0], box[1]), attenuation[inside[0], inside[1]])

    def add(self, box: Box, attenuation: torch.Tensor) -> None:
        """Add attenuation to a box of the image."""
        if attenuation.numel():
            self.attenuation[box] += attenuation
            self._corners.append((box[0].start, box[1].start, box[0].stop, box[1].stop))

    @property
    def box(self) -> Box:
        """The part of the image that anything was drawn on."""
        if not self._corners:
            return slice(0, 0), slice(0, 0)
        top, left, bottom, right = zip(*self._corners, strict=True)
        edges = (min(top), max(bottom)), (min(left), max(right))
        if self.shape == self.image_shape:
            return slice(*edges[0]), slice(*edges[1])
        scaled = []
        for (first, last), length, drawn in zip(edges, self.image_shape, self.shape, strict=True):
            margin = 2  # pixels that averaging reaches over
            start = math.floor(first * length / drawn) - margin
            scaled.append(slice(max(start, 0), min(math.ceil(last * length / drawn) + margin, length)))
        return scaled[0], scaled[1]


class Device(LocalConfounder):
    """A device in the beam: ``t' = min(t + opacity * shadow / latitude, 1)``.

    A display value ``t`` stands for the attenuation ``p_0 + L t``; attenuations along a ray add up, so a wire
    is as bright against the lung as against the heart in ``p``, and what is white stays white. Outside the
    box of its shadow no pixel changes. Where it lies is a fraction of the image, its sizes are mm.

    Args:
        opacity: how much more (> 1) or less (< 1) the device absorbs than the usual material.
        latitude: ``L``, natural-log units of attenuation between black and white, 3 to 4.6 for a chest.
        jitter: standard deviation of the points of the device from their usual place, as a fraction of the
            image height.
        seed: seed of the per-case streams.
    """

    spatial_dims = (2,)
    modalities = ("radiograph",)

    def __init__(self, opacity: float, latitude: float, jitter: float, seed: int) -> None:
        super().__init__(seed)
        for field, value in (("opacity", opacity), ("latitude", latitude)):
            if not 0 < value < math.inf:
                raise InputError(f"{self.name}: {field} {value}, expected a positive number")
        if not 0 <= jitter < 0.5:
            raise InputError(
                f"{self.name}: jitter {jitter}, expected a fraction of the image height in [0, 0.5)"
            )
        self.opacity = opacity
        self.latitude = latitude
        self.jitter = jitter

    @abstractmethod
    def cast(self, shadow: Shadow, drawn: Parameters) -> None:
        """Draw the device of one case."""

    def parameters(self, spatial_shape: Sequence[int], spacing_mm: Sequence[float] | None) -> Parameters:
        """The pixel spacing: a device has a size in mm."""
        return {"spacing_mm": spacing_mm}

    def shadow(self, spatial_shape: Sequence[int], drawn: Parameters) -> Shadow:
        """The shadow of one case on an image of (H, W)."""
        shadow = Shadow((int(spatial_shape[0]), int(spatial_shape[1])), drawn.get("spacing_mm"))
        self.cast(shadow, drawn)
        return shadow

    def apply_in_place(self, images: torch.Tensor, parameters: Sequence[Parameters]) -> torch.Tensor:
        """Add the shadows to (B, C, H, W)."""
        for image, drawn in zip(images, parameters, strict=True):
            shadow = self.shadow(image.shape[1:], drawn)
            rows, columns = shadow.box
            added = shadow.on_image()[rows, columns].to(image) * (self.opacity / self.latitude)
            region = image[:, rows, columns]
            region.copy_(torch.where(added > 0, (region + added).clamp(max=1), region))
        return images
