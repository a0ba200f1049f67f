"""The input contract: how a model wants its images, and which of its outputs is the finding."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

import torch
from monai.data import MetaTensor

from srcmatters.audit.reshaping import RESIZES, reshaped
from srcmatters.audit.value_ranges import ValueRange, check_range, range_text, scale_display
from srcmatters.errors import InputError, did_you_mean
from srcmatters.images.windows import Window, window, window_edges
from srcmatters.preprocessing.patches import ResamplePatchd

MODALITIES = ("radiograph", "ct")
CHANNELS = ("grey", "rgb", "bgr")
LAYOUTS = ("channels_first", "channels_last")
#: "logit": log-odds themselves; "probability": of a sigmoid; "softmax": probabilities of exclusive classes;
#: "logits": of exclusive classes, before the softmax.
OUTPUT_KINDS = ("logit", "probability", "softmax", "logits")
#: From one image to another of the same shape.
Change = Callable[[torch.Tensor], torch.Tensor]
_WORDS = {
    "modality": MODALITIES,
    "resize": RESIZES,
    "channels": CHANNELS,
    "layout": LAYOUTS,
    "output_kind": OUTPUT_KINDS,
}


@dataclass(frozen=True)
class InputContract:
    """What a model expects of one image, and what it returns.

    Args:
        modality: "radiograph" or "ct".
        size: pixels of the input, (H, W) or (H, W, D); None: as many as the image has.
        resize: how an image of another shape becomes one of this: "stretch" (the aspect ratio is not kept),
            "pad" (black on both sides), "crop" (the middle). CT is resampled with ``patch_mm``.
        channels: "grey" (one channel), or the grey value three times as "rgb" or "bgr".
        layout: "channels_first" (C, H, W[, D]) or "channels_last" (H, W[, D], C).
        value_range: see :func:`srcmatters.audit.value_ranges.check_range`.
        inverted: bone is dark.
        transposed: rows and columns are swapped, as MONAI's default readers of radiographs do.
        window: of CT, a name or (centre, width) in HU; None: grey values without HU, or ``value_range`` "hu".
        patch_mm: of CT, side of the box around the case in mm; None: the whole scan.
        slab_mm: of CT, what is read around the case along z, in mm; None: the whole scan.
        output: which values are audited, in a row of those that the model returns for an image.
        output_tensor: name of the tensor that holds them, where the model returns several.
        output_kind: what they are, see :data:`OUTPUT_KINDS`.
        origin: for each field "declared" (by the user), "read" (from the model's files) or "assumed".

    Raises:
        InputError: a field holds what it cannot; the message names the field.
    """

    modality: str = "radiograph"
    size: tuple[int, ...] | None = None
    resize: str = "stretch"
    channels: str = "grey"
    layout: str = "channels_first"
    value_range: ValueRange = "0..1"
    inverted: bool = False
    transposed: bool = False
    window: Window | None = None
    patch_mm: float | None = None
    slab_mm: float | None = None
    output: tuple[int, ...] = (0,)
    output_tensor: str | None = None
    output_kind: str = "logit"
    origin: Mapping[str, str] = field(default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        for name, words in _WORDS.items():
            if getattr(self, name) not in words:
                got = getattr(self, name)
                raise InputError(f"{name}: {got!r} is unknown{did_you_mean(str(got), words)}")
        object.__setattr__(self, "value_range", check_range(self.value_range))
        if self.size is not None and not (
            len(self.size) in (2, 3) and all(length > 0 for length in self.size)
        ):
            raise InputError(f"size: got {self.size!r}, expected (H, W) or (H, W, D) in pixels, or None")
        if self.modality == "radiograph":
            self._check_radiograph()
        else:
            self._check_ct()

    def _check_radiograph(self) -> None:
        if self.size is not None and len(self.size) == 3:
            raise InputError(f"size: got {self.size}, expected (H, W): a radiograph has no slices")
        for name in ("window", "patch_mm", "slab_mm"):
            if getattr(self, name) is not None:
                raise InputError(
                    f"{name}: got {getattr(self, name)!r}, expected none: a radiograph has no HU and no"
                    " slices"
                )
        if self.value_range == "hu":
            raise InputError("value range: got 'hu', expected another: a radiograph has no HU")

    def _check_ct(self) -> None:
        if self.resize != "stretch":
            raise InputError(f"resize: got {self.resize!r}, expected stretch: CT is resampled by patch_mm")
        if self.size is None:
            raise InputError("size: unknown, expected the pixels of a CT model's input")
        if self.window is not None:
            window_edges(self.window)
            if self.value_range == "hu":
                raise InputError(f"window: got {self.window!r}, expected none with the value range 'hu'")

    @property
    def unit(self) -> str:
        """Of the images as they must be loaded: "HU" or "display"."""
        return "HU" if self.window is not None or self.value_range == "hu" else "display"

    def model_input(
        self,
        image: torch.Tensor,
        case: Mapping[Hashable, Any] | None = None,
        windowed: Change | None = None,
        patch: Change | None = None,
    ) -> torch.Tensor:
        """One image as the model wants it.

        Args:
            image: (1, H, W) in [0, 1] of a radiograph, or (1, H, W, D) in HU or [0, 1] of a CT, as
                :class:`~srcmatters.images.LoadRadiographd` and :class:`~srcmatters.images.LoadCTd` read it;
                what a confounder changed of it may leave the range.
            case: of a CT, ``x_mm``, ``y_mm`` and ``z_mm`` (LPS), around which the patch is cut.
            windowed: of a CT, a change of the whole slices in display values, before the patch is cut.
            patch: of a CT, a change of the patch.

        Returns:
            A plain float32 tensor without batch dimension, in ``layout``.

        Raises:
            InputError: see :class:`~srcmatters.preprocessing.patches.ResamplePatchd`.
        """
        if self.modality == "ct":
            shown = self._resampled_ct(image, case or {}, windowed, patch)
        else:
            shown = self._resized(image)
        if self.inverted:
            shown = 1 - shown
        if self.transposed:
            shown = shown.transpose(1, 2)
        if self.channels != "grey":
            shown = shown.expand(3, *shown.shape[1:])
        values = scale_display(shown, self.value_range, self.channels)
        return (values.movedim(0, -1) if self.layout == "channels_last" else values).contiguous()

    def _resized(self, image: torch.Tensor) -> torch.Tensor:
        plain = image.as_tensor() if isinstance(image, MetaTensor) else image
        # Noise of few photons leaves [0, 1] until here, see ClipDisplayd.
        return torch.clamp(reshaped(plain, self._stored_size(), self.resize), 0, 1)

    def _resampled_ct(
        self,
        image: torch.Tensor,
        case: Mapping[Hashable, Any],
        windowed: Change | None,
        changed: Change | None,
    ) -> torch.Tensor:
        shown = window(image, self.window) if self.window is not None else image
        shown = shown if windowed is None else windowed(shown)
        size = self._stored_size()
        assert size is not None
        place: dict[Hashable, Any] = {
            name: case[name] for name in ("x_mm", "y_mm", "z_mm", "case_id", "name") if name in case
        }
        patch = ResamplePatchd("image", size, self.patch_mm)({**place, "image": shown})["image"]
        patch = patch if self.value_range == "hu" else torch.clamp(patch, 0, 1)
        return patch if changed is None else changed(patch)

    def _stored_size(self) -> tuple[int, ...] | None:
        """Size before rows and columns are swapped."""
        if self.size is None or not self.transposed:
            return self.size
        return (self.size[1], self.size[0], *self.size[2:])

    @property
    def input_shape(self) -> tuple[int, ...] | None:
        """Of one input, without batch dimension; None where it follows the image."""
        if self.size is None:
            return None
        channels = 1 if self.channels == "grey" else 3
        return (*self.size, channels) if self.layout == "channels_last" else (channels, *self.size)

    def but(self, **changed: Any) -> InputContract:
        """A copy with other fields, which count as assumed."""
        return replace(self, **changed, origin={**self.origin, **dict.fromkeys(changed, "assumed")})

    def rows(self) -> list[tuple[str, str, str]]:
        """(field, value, origin) of everything that this modality has, as a table shows it."""
        hidden = {"window", "patch_mm", "slab_mm"} if self.modality == "radiograph" else {"resize"}
        hidden |= {"output_tensor"} if self.output_tensor is None else set()
        names = [one.name for one in fields(self) if one.name not in hidden | {"origin"}]
        return [(name, _text(name, getattr(self, name)), self.origin.get(name, "assumed")) for name in names]


def _text(name: str, value: Any) -> str:
    if name == "size":
        return "as the image" if value is None else " x ".join(map(str, value))
    if name == "value_range":
        return range_text(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    return "none" if value is None else str(value)
