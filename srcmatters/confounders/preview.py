"""Every confounder side by side with the difference that it makes, to look at before a study."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from srcmatters.confounders.base import Confounder
from srcmatters.confounders.catalogue import Protocol, create_confounder, known_confounders
from srcmatters.confounders.preview_image import PreviewImage
from srcmatters.errors import InputError


@dataclass(frozen=True)
class Panel:
    """One confounder on one image.

    Args:
        confounder: what was applied.
        before, after: (H, W) in [0, 1] as they are shown.
        difference: (H, W) after - before, in grey levels of 255, or in HU where the image has them.
        unit: unit of the difference.
        aspect: height of a pixel over its width.
        plane: what is shown: "image", "axial slice 12 of 40", "coronal slice ...".
        remark: what the confounder warned about, or "".
    """

    confounder: Confounder
    before: np.ndarray
    after: np.ndarray
    difference: np.ndarray
    unit: str
    aspect: float
    plane: str
    remark: str

    @property
    def parameters(self) -> dict[str, str]:
        """The arguments that the confounder was made with."""
        return shown_parameters(self.confounder)

    @property
    def scale(self) -> float:
        """Half-width of the colour scale: nearly all of the difference lies within."""
        size = np.abs(self.difference)
        changed = size[size > 1e-4]
        return max(float(np.percentile(changed, 98)), 0.5) if changed.size else 1.0


def shown_parameters(confounder: Confounder) -> dict[str, str]:
    """Name and value of each argument but the seed, short enough for a table."""
    result = {}
    for name in inspect.signature(type(confounder)).parameters:
        if name == "seed":
            continue
        value = getattr(confounder, name, None)
        text = f"{value:.4g}" if isinstance(value, float) else str(value)
        if isinstance(value, tuple):
            text = ", ".join(f"{item:.4g}" if isinstance(item, float) else str(item) for item in value)
        result[name] = text if len(text) <= 60 else text[:57] + "..."
    return result | confounder.facts


def preview(
    image: PreviewImage,
    names: Sequence[str] = (),
    protocol: Protocol = "corrected",
    seed: int = 0,
    case_id: str = "preview",
) -> tuple[list[Panel], dict[str, str]]:
    """Apply the confounders to an image.

    Args:
        image: from :func:`~srcmatters.confounders.preview_image.read_image`.
        names: which; none: all that make sense for the image.
        protocol: as for :func:`~srcmatters.confounders.create_confounder`.
        seed, case_id: whose random stream is used.

    Returns:
        A panel per confounder, and for those that were left out, by name, why.

    Raises:
        InputError: a confounder that was asked for by name is unknown or cannot be applied.
    """
    panels, left_out = [], {}
    for name in names or known_confounders():
        confounder = create_confounder(name, protocol, seed)
        if confounder is None:
            continue
        reason = _misfit(confounder, image)
        try:
            if reason is not None:
                raise InputError(f"{name}: {reason}")
            panels.append(_panel(confounder, image, case_id))
        except InputError as error:
            if names:
                raise
            left_out[name] = reason or str(error)
    return panels, left_out


def _misfit(confounder: Confounder, image: PreviewImage) -> str | None:
    if image.modality not in confounder.modalities:
        return f"for {' and '.join(confounder.modalities)}, the image is a {image.modality}"
    dims = image.values.ndim - 1
    if dims not in confounder.spatial_dims:
        return f"for {confounder.spatial_dims[0]}D images, this one is {dims}D"
    if confounder.unit == "HU" and not image.hounsfield:
        return "needs HU, the image has display values"
    return None


def _panel(confounder: Confounder, image: PreviewImage, case_id: str) -> Panel:
    native = image.hounsfield and confounder.unit != "display value in [0, 1]"
    values = (image.values if native else image.display()).unsqueeze(0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        clean = confounder.clean_batch(values, [case_id], image.spacing_mm)[0]
        confounded = confounder.batch(values, [case_id], image.spacing_mm)[0]
    difference = confounded - clean
    if native:
        clean, confounded = image.display(clean), image.display(confounded)
    spacing = image.spacing_mm or (1.0,) * (values.ndim - 2)
    plane, rows, columns = "image", spacing[0], spacing[1]
    if clean.ndim == 4:
        along_slices = confounder.spatial_dims == (3,)
        index = clean.shape[1 if along_slices else 3] // 2
        kind = "coronal" if along_slices else "axial"
        plane = f"{kind} slice {index + 1} of {clean.shape[1 if along_slices else 3]}"
        clean, confounded, difference = (
            _cut(part, index, along_slices) for part in (clean, confounded, difference)
        )
        if along_slices:
            rows, columns = spacing[2], spacing[1]
    return Panel(
        confounder,
        clean[0].numpy(),
        confounded[0].numpy(),
        (difference[0] if native else difference[0] * 255).numpy(),
        "HU" if native else "grey levels of 255",
        rows / columns,
        plane,
        " ".join(str(warning.message) for warning in caught),
    )


def _cut(volume: torch.Tensor, index: int, along_slices: bool) -> torch.Tensor:
    """An axial slice of (1, H, W, D), or a coronal one with the last slice at the top."""
    return volume[:, index].transpose(1, 2).flip(1) if along_slices else volume[..., index]
