"""The stages of a network are what it computes on its way to the head."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from srcmatters.errors import InputError
from srcmatters.sources.network_facts import HEADS
from srcmatters.sources.networks import create_network
from srcmatters.sources.stages import FEATURES, on_grid, recorded_stages, stages

NETWORKS = [name for name in HEADS if name not in ("vit_b14", "resnet34", "i3resnet152")]


def recorded(name: str, size: int = 64) -> SimpleNamespace:
    """A random network, its logits, and the activations of its stages."""
    torch.manual_seed(0)
    network = create_network(name).eval()
    images = torch.rand(2, 3, size, size)
    with torch.inference_mode(), recorded_stages(network, name, grid=1) as outputs:
        logits = network(images)
    return SimpleNamespace(network=network, images=images, logits=logits, outputs=dict(outputs))


@pytest.mark.parametrize("name", NETWORKS)
def test_every_stage_is_recorded_and_the_head_makes_the_logits_of_the_last(name: str) -> None:
    seen = recorded(name)
    assert list(seen.outputs) == [stage.name for stage in stages(name)]
    assert len(seen.outputs) == (9 if name.startswith("efficientnet") else 6)
    assert all(len(output) == 2 for output in seen.outputs.values())
    head = seen.network.get_submodule(HEADS[name].removesuffix("."))
    with torch.inference_mode():
        torch.testing.assert_close(head(seen.outputs[FEATURES]), seen.logits)


def test_the_first_stage_is_that_of_the_network_itself() -> None:
    seen = recorded("resnet18")
    with torch.inference_mode():
        first = torch.relu(seen.network.bn1(seen.network.conv1(seen.images))).mean((2, 3))
    torch.testing.assert_close(seen.outputs["conv1"][:, :, 0, 0], first)
    # A ResNet's features are its last stage averaged over the image.
    torch.testing.assert_close(seen.outputs["layer4"][:, :, 0, 0], seen.outputs[FEATURES])


def test_nothing_is_recorded_afterwards() -> None:
    seen = recorded("resnet10")
    with torch.inference_mode(), recorded_stages(seen.network, "resnet10", grid=1) as outputs:
        pass
    seen.network(seen.images)
    assert outputs == {}


def test_a_transformer_has_stages_as_well() -> None:
    pytest.importorskip("transformers")
    from srcmatters.sources.vision_transformer import VIT_B14, VisionTransformer

    tiny = {**VIT_B14, "hidden_size": 24, "num_attention_heads": 2, "image_size": 28}
    network = VisionTransformer(3, 2, 0.0, tiny).eval()
    with torch.inference_mode(), recorded_stages(network, "vit_b14", grid=4) as outputs:
        logits = network(torch.rand(2, 3, 42, 42))
        torch.testing.assert_close(network.head(outputs[FEATURES]), logits)
    assert [stage.name for stage in stages("vit_b14")] == list(outputs)
    assert outputs["block12"].shape == (2, 24, 3, 3)


def test_a_place_keeps_its_place_on_the_grid() -> None:
    image = torch.zeros(1, 1, 8, 8)
    image[..., 6:, :2] = 4.0
    gridded = on_grid(image, 4)[0, 0]
    assert gridded[3, 0] == 4 and gridded.sum() == 4
    tokens = torch.cat([torch.full((1, 1, 1), 99.0), image.flatten(2).transpose(1, 2)], dim=1)
    torch.testing.assert_close(on_grid(tokens, 4)[0, 0], gridded)
    assert on_grid(image[..., :3, :3], 4).shape == (1, 1, 3, 3)


def test_a_network_without_known_stages_is_refused() -> None:
    with pytest.raises(InputError, match="'resnet51' are unknown: did you mean 'resnet50'"):
        stages("resnet51")
