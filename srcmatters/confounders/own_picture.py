"""One's own picture: a PNG that is put into the image, at a place and with a size in mm."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from PIL import Image, ImageDraw, UnidentifiedImageError
from torch.nn import functional

from srcmatters.confounders.base import LocalConfounder, Parameters
from srcmatters.confounders.devices import FILM_MM
from srcmatters.confounders.taxonomy import Miccat
from srcmatters.errors import InputError
from srcmatters.images.pictures import open_picture

_ARROW = ((0, 76), (150, 76), (150, 20), (255, 128), (150, 236), (150, 180), (0, 180))


class OwnPicture(LocalConfounder):
    r"""Put one's own picture into the image.

    MICCAT: environment / external / device / local. A PNG (or JPEG, TIFF) with the sticker, logo, marker or
    scale of one's own department. With its coverage ``a`` (the transparency of the file, area-averaged to
    the pixels of the image; 1 where it has none) and its grey value ``g`` (colour becomes luminance),
    painted: ``t' = (1 - o a) t + o a g`` with the opacity ``o``; or, with ``attenuates``, as an object in the
    beam whose bright parts absorb: ``t' = min(t + o a g / L, 1)``.

    Args:
        path: of the picture; None: an arrow, as readers put one beside a finding.
        width_mm: its width in mm, > 0; its height follows from the picture.
        position: (row, column) of its middle as fractions of height and width, [0, 1].
        opacity: painted: 0 .. 1; of an object in the beam: natural-log units that white adds, > 0.
        attenuates: whether it is an object in the beam.
        latitude: natural-log units of attenuation between black and white, for an object in the beam.
        jitter: standard deviation of its place, as a fraction of the image height, [0, 0.5); 0 draws nothing.
        seed: seed of the per-case streams.

    Shape:
        image: (C, H, W) or (C, H, W, D; the same on every slice), floating point in [0, 1]; the result has
        the same shape and dtype.

    Raises:
        InputError: an argument outside its range, or a file that is not there or is no picture.

    Example:
        >>> import torch
        >>> bool(OwnPicture()(torch.zeros(1, 256, 256)).amax() > 0.9)
        True

    Source: stickers and logos as shortcuts: Lapuschkin et al. 2019 (Nature Communications 10:1096); MICCAT of
    Juodelyte et al. 2024.
    """

    name = "picture"
    miccat = Miccat("environment", "external", "device", "local")
    source = "Lapuschkin et al. 2019; MICCAT of Juodelyte et al. 2024"
    presets: ClassVar[dict[str, Parameters]] = {
        "plausible": {"width_mm": 15.0},
        "stress": {"width_mm": 80.0},
    }

    def __init__(
        self,
        path: str | Path | None = None,
        width_mm: float = 30.0,
        position: Sequence[float] = (0.2, 0.2),
        opacity: float = 1.0,
        attenuates: bool = False,
        latitude: float = 4.0,
        jitter: float = 0.0,
        seed: int = 0,
    ) -> None:
        super().__init__(seed)
        for field, value in (("width_mm", width_mm), ("opacity", opacity), ("latitude", latitude)):
            if not 0 < value < math.inf:
                raise InputError(f"picture: {field} {value}, expected a positive number")
        if opacity > 1 and not attenuates:
            raise InputError(f"picture: opacity {opacity}, expected (0, 1] of what is painted")
        if len(position) != 2 or not all(0 <= fraction <= 1 for fraction in position):
            raise InputError(f"picture: position {position}, expected (row, column) as fractions in [0, 1]")
        if not 0 <= jitter < 0.5:
            raise InputError(f"picture: jitter {jitter}, expected a fraction of the height in [0, 0.5)")
        self.path = None if path is None else str(path)
        self.width_mm = width_mm
        self.position = (float(position[0]), float(position[1]))
        self.opacity = opacity
        self.attenuates = attenuates
        self.latitude = latitude
        self.jitter = jitter
        self._picture = _arrow() if self.path is None else _read(self.path)

    @property
    def is_random(self) -> bool:
        """Only a place that varies is drawn."""
        return self.jitter > 0

    def draw(self, stream: np.random.Generator) -> Parameters:
        """Draw how far it lies from its place, as fractions of the image height."""
        return {"shift": stream.normal(0, self.jitter, 2)}

    def parameters(self, spatial_shape: Sequence[int], spacing_mm: Sequence[float] | None) -> Parameters:
        """Height and width of the picture in pixels."""
        rows, columns = (FILM_MM / spatial_shape[0],) * 2 if spacing_mm is None else spacing_mm[:2]
        height_mm = self.width_mm * self._picture.shape[1] / self._picture.shape[2]
        sizes = (height_mm / float(rows), self.width_mm / float(columns))
        return {"size": tuple(max(round(size), 1) for size in sizes)}

    def does_nothing(self, spatial_shape: Sequence[int], spacing_mm: Sequence[float] | None) -> str | None:
        """A picture of a pixel or less."""
        size = self.parameters(spatial_shape, spacing_mm)["size"]
        return "the picture is no larger than a pixel" if max(size) == 1 else None

    def apply_in_place(self, images: torch.Tensor, parameters: Sequence[Parameters]) -> torch.Tensor:
        """Put it into (B, C, H, W[, D])."""
        for image, known in zip(images, parameters, strict=True):
            self._put(image, known["size"], known.get("shift", (0.0, 0.0)))
        return images

    def _put(self, image: torch.Tensor, size: tuple[int, int], shift: Sequence[float]) -> None:
        box, inside = [], []
        for axis, length in enumerate(size):
            full = image.shape[1 + axis]
            middle = self.position[axis] * (full - 1) + float(shift[axis]) * image.shape[1]
            first = round(middle - (length - 1) / 2)
            start, stop = min(max(first, 0), full), max(min(first + length, full), 0)
            box.append(slice(start, max(start, stop)))
            inside.append(slice(start - first, max(start, stop) - first))
        scaled = functional.interpolate(self._picture[None], size, mode="bilinear", antialias=True)[0]
        grey, cover = scaled[:, inside[0], inside[1]].to(image)  # the grey value already times coverage
        if image.ndim == 4:
            grey, cover = grey.unsqueeze(-1), cover.unsqueeze(-1)
        region = image[:, box[0], box[1]]
        if self.attenuates:
            added = region + grey * (self.opacity / self.latitude)
            region.copy_(torch.where(grey > 0, added.clamp(max=1), region))
        else:
            region.copy_((region * (1 - self.opacity * cover) + self.opacity * grey).clamp(0, 1))


@cache
def _arrow() -> torch.Tensor:
    """(2, 256, 256): grey value times coverage, and coverage."""
    canvas = Image.new("L", (256, 256))
    ImageDraw.Draw(canvas).polygon(_ARROW, fill=255)
    cover = torch.from_numpy(np.asarray(canvas, dtype=np.float32) / 255)
    return torch.stack([cover, cover])


@cache
def _read(path: str) -> torch.Tensor:
    """As :func:`_arrow`, of a file."""
    try:
        with open_picture(Path(path)) as picture:
            if picture.mode.startswith("I"):
                raise InputError(f"picture: path {path}, pixels of 16 bit, expected 8 bit")
            values = np.asarray(picture.convert("RGBA").convert("LA"), dtype=np.float32) / 255
    except FileNotFoundError as error:
        raise InputError(f"picture: path {path}, there is no such file") from error
    except (UnidentifiedImageError, OSError) as error:
        raise InputError(f"picture: path {path}, expected a PNG, JPEG, TIFF or BMP") from error
    grey, cover = torch.from_numpy(values).unbind(-1)
    return torch.stack([grey * cover, cover])
