"""Where a network looks: Grad-CAM of the finding, over the image that it got."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import matplotlib
import numpy as np
import torch
from monai.visualize import GradCAM
from PIL import Image, ImageDraw, ImageFont
from torch import nn
from torch.nn import functional

from srcmatters.errors import InputError

#: The last feature map of each network.
LAST_MAPS = {
    "efficientnet_lite0": "_conv_head",
    "efficientnet_lite1": "_conv_head",
    "efficientnet_lite2": "_conv_head",
    "resnet10": "layer4",
    "resnet18": "layer4",
    "resnet34": "layer4",
    "resnet50": "layer4",
    "densenet121": "class_layers.relu",
}
_SIDE = 512  # pixels of the longer side of a picture
_LINE, _MARGIN = 16, 6  # pixels of a line of text, and beside it
_STRENGTH = 0.6  # of the colour where the network looks most


def check_feature_maps(name: str) -> None:
    """Refuse a network that Grad-CAM cannot look into.

    Raises:
        InputError: it has no feature maps.
    """
    if name not in LAST_MAPS:
        raise InputError(f"network: {name} has no feature maps for Grad-CAM, expected {', '.join(LAST_MAPS)}")


class _LogOdds(nn.Module):
    """(B, 1) log-odds of label 1, which what speaks against it counts for as well."""

    def forward(self, logits: torch.Tensor) -> torch.Tensor:
        return logits[:, 1:2] - logits[:, :1]


@lru_cache(maxsize=1)
def _grad_cam(network: nn.Module, name: str) -> GradCAM:
    """Made once per network: MONAI's hooks are never freed, nor is the network that they were put into."""
    scored = nn.Sequential(copy.deepcopy(network), _LogOdds())
    return GradCAM(nn_module=scored, target_layers=f"0.1.{LAST_MAPS[name]}")


def saliency(network: nn.Module, name: str, image: torch.Tensor) -> np.ndarray:
    """Grad-CAM of label 1.

    Args:
        network: in evaluation mode.
        name: of the network.
        image: (1, H, W) or (1, H, W, D) float32 in [0, 1].

    Returns:
        (H, W) float32 in [0, 1], 1 where the finding's log-odds depend most on the last feature map; of a
        volume, its middle slice. 0 everywhere if nothing speaks for the finding.

    Raises:
        InputError: a network without feature maps.

    Source: Selvaraju et al. 2017, "Grad-CAM" (arXiv 1610.02391).
    """
    check_feature_maps(name)
    # MONAI's own scaling would stretch a map without any evidence to the full range.
    raw = _grad_cam(network, name).compute_map(image.unsqueeze(0), class_idx=0)
    mode = "bilinear" if image.ndim == 3 else "trilinear"
    found = functional.interpolate(raw, size=image.shape[1:], mode=mode, align_corners=False)[0, 0]
    found = found if found.ndim == 2 else found[:, :, found.shape[2] // 2]
    evidence = found.detach().clamp(min=0)
    strongest = float(evidence.max())
    return (evidence / strongest if strongest > 0 else evidence).numpy().astype(np.float32)


def draw(preview: np.ndarray, saliency: np.ndarray, lines: Sequence[str]) -> np.ndarray:
    """The image, the image under the saliency, and text below.

    Args:
        preview: (h, w) uint8.
        saliency: (H, W) in [0, 1], stretched over the preview.
        lines: of text.

    Returns:
        (rows, columns, 3) uint8.
    """
    scale = _SIDE / max(preview.shape)
    shape = (max(1, round(preview.shape[1] * scale)), max(1, round(preview.shape[0] * scale)))
    grey = np.asarray(Image.fromarray(preview).resize(shape, Image.Resampling.BILINEAR), np.float32) / 255
    heat = np.asarray(Image.fromarray(saliency).resize(shape, Image.Resampling.BILINEAR)).clip(0, 1)
    colour = matplotlib.colormaps["inferno"](heat)[:, :, :3]
    weight = (_STRENGTH * heat)[:, :, None]
    plain = np.repeat(grey[:, :, None], 3, 2)
    both = np.concatenate([plain, plain * (1 - weight) + colour * weight], 1)
    font = ImageFont.load_default(size=_LINE - 4)
    lines = [part for line in lines for part in _wrapped(line, font, both.shape[1] - 2 * _MARGIN)]
    below = _LINE * len(lines) + 8 if lines else 0
    canvas = Image.new("RGB", (both.shape[1], both.shape[0] + below))
    canvas.paste(Image.fromarray((both * 255).round().astype(np.uint8)))
    pen = ImageDraw.Draw(canvas)
    for number, line in enumerate(lines):
        pen.text((_MARGIN, both.shape[0] + 4 + _LINE * number), line, fill="white", font=font)
    return np.asarray(canvas)


def _wrapped(line: str, font: Any, width: int) -> list[str]:
    """A line in parts that are no wider than so many pixels, as far as its words are not."""
    parts = [""]
    for word in line.split():
        longer = f"{parts[-1]} {word}".strip()
        if parts[-1] and font.getlength(longer) > width:
            parts.append(word)
        else:
            parts[-1] = longer
    return parts
