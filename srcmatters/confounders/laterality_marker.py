"""Burnt-in laterality marker: the letter a technician leaves on a radiograph."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import ClassVar, Literal, get_args

import matplotlib
import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from srcmatters.confounders.base import LocalConfounder, Parameters
from srcmatters.confounders.devices import FILM_MM
from srcmatters.confounders.taxonomy import Miccat
from srcmatters.errors import InputError, did_you_mean

# The published font depends on the host that ran the code; matplotlib ships this one everywhere.
FONT = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"

Corner = Literal["upper left", "upper right", "lower left", "lower right", "random"]
_CORNERS = get_args(Corner)
Font = tuple[int, float]  # pixels of the rows, columns for each row
Stamp = tuple[tuple[slice, ...], torch.Tensor, torch.Tensor]


@lru_cache(maxsize=256)
def render_text(text: str, font_pixels: int, stretch: float = 1.0) -> torch.Tensor:
    """Opacity of a rendered text, anti-aliased and cropped to its ink.

    Args:
        text: what is written.
        font_pixels: size of the font in pixels of the rows.
        stretch: columns for each row, not 1 where pixels are not square.

    Returns:
        (h, w) float32 in [0, 1].
    """
    font, (left, top, right, bottom) = _font_and_ink(text, font_pixels)
    canvas = Image.new("L", (max(right - left, 1), max(bottom - top, 1)))
    ImageDraw.Draw(canvas).text((-left, -top), text, fill=255, font=font)
    if abs(stretch - 1) > 1e-2:
        canvas = canvas.resize(
            (max(round(canvas.width * stretch), 1), canvas.height), Image.Resampling.LANCZOS
        )
    return torch.from_numpy(np.asarray(canvas, dtype=np.float32) / 255)


@lru_cache(maxsize=256)
def _font_and_ink(text: str, font_pixels: int) -> tuple[ImageFont.FreeTypeFont, tuple[int, int, int, int]]:
    """The font, and (left, top, right, bottom) of the ink against the point at which PIL draws a text."""
    font = ImageFont.truetype(str(FONT), font_pixels, layout_engine=ImageFont.Layout.BASIC)
    left, top, right, bottom = (int(edge) for edge in font.getbbox(text))
    return font, (left, top, right, bottom)


class LateralityMarker(LocalConfounder):
    r"""Burn a text marker into the image.

    MICCAT: environment / external / text / local. Inside the box of the text,
    ``image = (1 - a) * image + a * intensity`` with the anti-aliased opacity ``a`` of the letters; outside it
    the image is untouched. In a volume the marker is on every slice, as on a burnt-in series.

    Args:
        text: What is written, "R" in the paper; any free text ("PORTABLE", a name, a date).
        height_mm: Font size in mm, (0, 430]; 64 of 1024 pixels in the paper, 26.9 of 430 mm. An image of
            unknown pixel spacing is taken for 430 mm high.
        height: Font size as a fraction of the image height instead, (0, 1], whatever the pixel spacing.
        position: (row, column) of the top left corner of the ink as fractions of height and width, [0, 1);
            (200, 200) of 1024 in the paper.
        corner: Put the text into this corner instead of at ``position``; "random" draws one per case.
        margin: Distance of the ink to the edges of that corner, as a fraction of the image height, [0, 0.5).
        intensity: Grey value of the ink, [0, 1]; 1 is white.
        published: As PIL draws it on an 8-bit image: ``position`` is where the line of text begins, a quarter
            of the font size above the ink of a capital, and the result is rounded to 8 bit.
        seed: Seed of the per-case streams.

    Shape:
        image: (C, H, W) or (C, H, W, D), floating point in [0, 1]; the result has the same shape and dtype.

    Raises:
        InputError: ``height``, ``position``, ``margin`` or ``intensity`` outside its range, an empty
            ``text``, an unknown ``corner``.

    Example:
        >>> import torch
        >>> LateralityMarker(text="L", corner="upper right")(torch.zeros(1, 256, 256)).amax() > 0.9
        tensor(True)

    Source: Juodelyte et al. 2024, arXiv 2403.04484, section on synthetic confounders.
    """

    name = "tag"
    miccat = Miccat("environment", "external", "text", "local")
    source = "Juodelyte et al. 2024, arXiv 2403.04484"
    presets: ClassVar[dict[str, Parameters]] = {
        "plausible": {"height_mm": 12.0},
        "stress": {"height_mm": 54.0},
    }
    paper_parameters: ClassVar[Parameters] = {"published": True, "height": 64 / 1024}

    def __init__(
        self,
        text: str = "R",
        height: float | None = None,
        position: Sequence[float] = (200 / 1024, 200 / 1024),
        corner: Corner | None = None,
        margin: float = 0.04,
        intensity: float = 1.0,
        published: bool = False,
        height_mm: float = 64 / 1024 * FILM_MM,
        seed: int = 0,
    ) -> None:
        super().__init__(seed)
        if height is not None and not 0 < height <= 1:
            raise InputError(f"tag: height {height}, expected a fraction of the image height in (0, 1]")
        if not 0 < height_mm <= FILM_MM:
            raise InputError(f"tag: height_mm {height_mm}, expected mm in (0, {FILM_MM:g}]")
        if len(position) != 2 or not all(0 <= fraction < 1 for fraction in position):
            raise InputError(f"tag: position {position}, expected (row, column) as fractions in [0, 1)")
        if corner is not None and corner not in _CORNERS:
            raise InputError(f"tag: corner {corner!r} is unknown{did_you_mean(str(corner), _CORNERS)}")
        if not 0 <= margin < 0.5:
            raise InputError(f"tag: margin {margin}, expected a fraction of the image height in [0, 0.5)")
        if not 0 <= intensity <= 1:
            raise InputError(f"tag: intensity {intensity}, expected a grey value in [0, 1]")
        if not text.strip():
            raise InputError(f"tag: text {text!r}, expected at least one visible character")
        self.text = text
        self.height = height
        self.height_mm = height_mm
        self.position = (float(position[0]), float(position[1]))
        self.corner = corner
        self.margin = margin
        self.intensity = intensity
        self.published = published
        self._stamps: dict[tuple[object, ...], Stamp] = {}

    @property
    def is_random(self) -> bool:
        """Only a random corner is drawn."""
        return self.corner == "random"

    def draw(self, stream: np.random.Generator) -> Parameters:
        """Draw the corner."""
        return {"corner": _CORNERS[int(stream.integers(4))]}

    def parameters(self, spatial_shape: Sequence[int], spacing_mm: Sequence[float] | None) -> Parameters:
        """Size of the font in pixels, and the width of the letters over that of square pixels."""
        return {"font": self._font(spatial_shape, spacing_mm)}

    def box(
        self, spatial_shape: Sequence[int], corner: str | None = None, font: Font | None = None
    ) -> tuple[slice, slice]:
        """Rows and columns that the marker may touch in an image of (H, W[, D]) pixels."""
        rows, columns = spatial_shape[:2]
        font = font or self._font(spatial_shape, None)
        ink = render_text(self.text, *font)
        corner = corner or self.corner
        if corner == "random":
            return slice(0, rows), slice(0, columns)
        if corner is None:
            top, left = round(self.position[0] * rows), round(self.position[1] * columns)
            if self.published:
                _, (ink_left, ink_top, _, _) = _font_and_ink(self.text, font[0])
                top, left = top + ink_top, left + ink_left
        else:
            gap = round(self.margin * rows)
            top = gap if corner.startswith("upper") else max(rows - gap - ink.shape[0], 0)
            left = gap if corner.endswith("left") else max(columns - gap - ink.shape[1], 0)
        return slice(top, min(top + ink.shape[0], rows)), slice(left, min(left + ink.shape[1], columns))

    def does_nothing(self, spatial_shape: Sequence[int], spacing_mm: Sequence[float] | None) -> str | None:
        """A letter of less than 3 pixels is a smudge."""
        pixels, _ = self._font(spatial_shape, spacing_mm)
        return f"a font of {pixels} pixels cannot be read" if pixels < 3 else None

    def apply_in_place(self, images: torch.Tensor, parameters: Sequence[Parameters]) -> torch.Tensor:
        """Blend the marker into (B, C, H, W[, D]), one blend for all cases if they share the corner."""
        if not self.is_random:
            self._blend(images, self.corner, parameters[0]["font"])
            return images
        for image, drawn in zip(images, parameters, strict=True):
            self._blend(image.unsqueeze(0), drawn["corner"], drawn["font"])
        return images

    def _blend(self, images: torch.Tensor, corner: str | None, font: Font) -> None:
        box, ink, opacity = self._stamp(images, corner, font)
        region = images[box].lerp_(ink, opacity)
        if self.published:
            region.mul_(255).round_().div_(255)

    def _stamp(self, images: torch.Tensor, corner: str | None, font: Font) -> Stamp:
        """Box, grey value and opacity of the marker: the same for all images of one size."""
        key = (images.shape[2:], corner, font, images.device, images.dtype)
        if key not in self._stamps:
            rows, columns = self.box(images.shape[2:], corner, font)
            opacity = render_text(self.text, *font).to(images)
            opacity = opacity[: rows.stop - rows.start, : columns.stop - columns.start]
            if images.ndim == 5:
                opacity = opacity.unsqueeze(-1)
            box = (slice(None), slice(None), rows, columns)
            self._stamps[key] = box, opacity.new_full((), self.intensity), opacity
        return self._stamps[key]

    def _font(self, spatial_shape: Sequence[int], spacing_mm: Sequence[float] | None) -> Font:
        """Font size in pixels of the rows, and how many columns a letter takes for each row."""
        stretch = 1.0 if spacing_mm is None else round(float(spacing_mm[0] / spacing_mm[1]), 3)
        if self.height is not None:
            return max(round(self.height * spatial_shape[0]), 1), 1.0 if self.published else stretch
        row_mm = FILM_MM / spatial_shape[0] if spacing_mm is None else float(spacing_mm[0])
        return max(round(self.height_mm / row_mm), 1), stretch
