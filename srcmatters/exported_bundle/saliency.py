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

#: The last feature map of each network: what is averaged over the image before the linear classifier.
LAST_MAPS = {
    "efficientnet_lite0": "_avg_pooling.0",
    "efficientnet_lite1": "_avg_pooling.0",
    "efficientnet_lite2": "_avg_pooling.0",
    "resnet10": "layer4",
    "resnet18": "layer4",
    "resnet34": "layer4",
    "resnet50": "layer4",
    "densenet121": "class_layers.relu",
}
_SIDE = 512  # pixels of the longer side of a picture
_LINE, _MARGIN = 16, 6  # pixels of a line of text, and beside it
_STRENGTH = 0.6  # of the colour where it is full
#: Log-odds at which the colour is full, the same in every image of every network: a probability of .98.
FULL_COLOUR = 4.0
_NO_EVIDENCE = 1e-3  # log-odds: less changes no probability by .001


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
    if LAST_MAPS[name] == "_avg_pooling.0":
        # MONAI's EfficientNet has one activation for stem and head: its output has no name of its own.
        classifier = scored.get_submodule("0.1")
        pooling = classifier.get_submodule("_avg_pooling")
        classifier._avg_pooling = nn.Sequential(nn.Identity(), pooling)
    return GradCAM(nn_module=scored, target_layers=f"0.1.{LAST_MAPS[name]}")


def saliency(network: nn.Module, name: str, image: torch.Tensor) -> np.ndarray:
    """Grad-CAM of label 1, in log-odds.

    The map is multiplied by its number of places. Where an average over the image and a linear classifier
    follow, as in all networks of :data:`LAST_MAPS`, its mean is then the log-odds but for the classifier's
    bias, and the value of a place is what the log-odds would be if the whole image were like it: values of
    several images, and of several networks, are in one unit.

    Args:
        network: in evaluation mode.
        name: of the network.
        image: (1, H, W) or (1, H, W, D) float32 in [0, 1].

    Returns:
        (H, W) float32, log-odds, >= 0; of a volume, its middle slice. 0 everywhere if nothing speaks for the
        finding.

    Raises:
        InputError: a network without feature maps.

    Source: Selvaraju et al. 2017, "Grad-CAM" (arXiv 1610.02391); the unit is that of the class activation
    maps of Zhou et al. 2016 (arXiv 1512.04150), which Grad-CAM generalises.
    """
    check_feature_maps(name)
    # MONAI's own scaling would stretch every map to the full range, one without any evidence, too.
    raw = _grad_cam(network, name).compute_map(image.unsqueeze(0), class_idx=0)
    raw = raw * raw[0, 0].numel()
    mode = "bilinear" if image.ndim == 3 else "trilinear"
    evidence = functional.interpolate(raw, size=image.shape[1:], mode=mode, align_corners=False)[0, 0]
    evidence = evidence if evidence.ndim == 2 else evidence[:, :, evidence.shape[2] // 2]
    return evidence.detach().clamp(min=0).numpy().astype(np.float32)


def has_evidence(saliency: np.ndarray) -> bool:
    """Whether any place speaks for the finding.

    Args:
        saliency: (H, W), log-odds.
    """
    return bool(saliency.max() >= _NO_EVIDENCE)


def draw(preview: np.ndarray, saliency: np.ndarray, lines: Sequence[str]) -> np.ndarray:
    """The image beside itself under the saliency, if there is any, and text below.

    Args:
        preview: (h, w) uint8.
        saliency: (H, W), log-odds; the colour is full at :data:`FULL_COLOUR`.
        lines: of text.

    Returns:
        (rows, columns, 3) uint8.
    """
    scale = _SIDE / max(preview.shape)
    shape = (max(1, round(preview.shape[1] * scale)), max(1, round(preview.shape[0] * scale)))
    grey = np.asarray(Image.fromarray(preview).resize(shape, Image.Resampling.BILINEAR), np.float32) / 255
    both = np.repeat(grey[:, :, None], 3, 2)
    if has_evidence(saliency):
        both = np.concatenate([both, _coloured(both, saliency)], 1)
    font = ImageFont.load_default(size=_LINE - 4)
    lines = [part for line in lines for part in _wrapped(line, font, both.shape[1] - 2 * _MARGIN)]
    below = _LINE * len(lines) + 8 if lines else 0
    canvas = Image.new("RGB", (both.shape[1], both.shape[0] + below))
    canvas.paste(Image.fromarray((both * 255).round().astype(np.uint8)))
    pen = ImageDraw.Draw(canvas)
    for number, line in enumerate(lines):
        pen.text((_MARGIN, both.shape[0] + 4 + _LINE * number), line, fill="white", font=font)
    return np.asarray(canvas)


def _coloured(plain: np.ndarray, saliency: np.ndarray) -> np.ndarray:
    """An image under the colours of the saliency: (rows, columns, 3) in [0, 1], as ``plain`` is."""
    stretched = Image.fromarray(saliency).resize((plain.shape[1], plain.shape[0]), Image.Resampling.BILINEAR)
    heat = (np.asarray(stretched) / FULL_COLOUR).clip(0, 1)
    colour = matplotlib.colormaps["inferno"](heat)[:, :, :3]
    weight = (_STRENGTH * heat)[:, :, None]
    return plain * (1 - weight) + colour * weight


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
