"""Grad-CAM in log-odds, and how it is drawn."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from srcmatters.errors import InputError
from srcmatters.exported_bundle.saliency import draw, saliency
from srcmatters.sources.networks import create_network


class Bright(torch.nn.Module):
    """Log-odds: ``weight`` times how bright the image is on average, in squares of 4 x 4; and a bias of 1."""

    def __init__(self, weight: float) -> None:
        super().__init__()
        self.weight = weight
        self.layer4 = torch.nn.Conv2d(1, 1, 4, stride=4, bias=False)
        torch.nn.init.constant_(self.layer4.weight, 1 / 16)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        score = self.weight * self.layer4(image).mean((1, 2, 3)) + 1
        return torch.stack([torch.zeros_like(score), score], 1)


def test_saliency_is_where_the_network_looks_in_log_odds() -> None:
    image = torch.zeros(1, 32, 32)
    image[:, :8, :8] = 0.5
    network = torch.nn.Sequential(torch.nn.Identity(), Bright(6.0))
    heat_map = saliency(network, "resnet10", image)
    assert heat_map[:6, :6].min() > 0.6 * 3 and heat_map[12:, 12:].max() < 0.05
    assert heat_map.max() == pytest.approx(3), "6 times .5: the log-odds of an image that is all like this"
    assert heat_map.mean() == pytest.approx(6 * 0.5 / 16, rel=0.02), "the log-odds but for the bias"
    assert not network[1].layer4._forward_hooks
    with pytest.raises(InputError, match="vit_b14 has no feature maps"):
        saliency(network, "vit_b14", image)


def test_saliency_of_every_network_is_in_log_odds() -> None:
    """Its mean is the difference of the logits but for that of the biases, where nothing speaks against."""
    torch.manual_seed(0)
    for name in ("efficientnet_lite0", "resnet10", "densenet121"):
        network = create_network(name, in_channels=1).eval()
        *_, linear = (module for module in network.modules() if isinstance(module, torch.nn.Linear))
        with torch.no_grad():
            # The maps are not negative behind their last activation; so are no differences of weights now.
            linear.weight[1] = linear.weight[0] + linear.weight[1].abs()
        both = torch.nn.Sequential(torch.nn.Identity(), network)
        image = torch.rand(1, 64, 64)
        logits = both(image[None])[0]
        evidence = float(logits[1] - logits[0] - (linear.bias[1] - linear.bias[0]))
        map_side = 64 // 32
        coarse = saliency(both, name, image).reshape(map_side, 32, map_side, 32).mean()
        assert coarse == pytest.approx(evidence, rel=0.05), name


def test_colours_of_two_images_are_on_one_scale() -> None:
    """Half of the evidence is half of the colour, also where there is nothing stronger beside it."""
    preview = np.full((8, 8), 128, np.uint8)
    weak, strong = (draw(preview, np.full((8, 8), value, np.float32), []) for value in (1.0, 4.0))
    plain = weak[:, :512].astype(float).mean((0, 1))
    shifts = [np.abs(one[:, 512:].astype(float).mean((0, 1)) - plain).max() for one in (weak, strong)]
    assert 0 < shifts[0] < shifts[1] / 2
    saturated = draw(preview, np.full((8, 8), 9.0, np.float32), [])
    assert np.array_equal(saturated, strong)


def test_text_is_never_wider_than_the_picture() -> None:
    preview, heat = np.zeros((64, 32), np.uint8), np.zeros((8, 8), np.float32)
    heat[0, 0] = 1
    words = "a reason of many words that would not fit into the width of a narrow picture at all, ends here"
    long, short = draw(preview, heat, [words]), draw(preview, heat, ["here"])
    assert long.shape[1] == short.shape[1] == 512 and long.shape[0] >= short.shape[0] + 16
    assert not long[512:, -6:].any(), "nothing runs into the edge"
    last_line = np.flatnonzero(long[512:].any((1, 2))).max()
    assert last_line > 16, "and its end is there"
