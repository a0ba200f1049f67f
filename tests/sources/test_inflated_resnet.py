"""The 3D source of CT: its network against an independent one, its file in parts, its orientation."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path

import pytest
import torch
from reference_i3resnet import I3ResNet, ras_zxy
from torch import nn

from srcmatters.errors import InputError
from srcmatters.sources import create_classifier
from srcmatters.sources.catalogue import named_entry
from srcmatters.sources.fetching import cached_path, fetch, whereabouts
from srcmatters.sources.inflated_resnet import InflatedResNet152
from srcmatters.sources.joined_parts import PART, installed_parts
from srcmatters.sources.stages import recorded_stages


class Small(InflatedResNet152):
    """The same with little in it."""

    repeats, widths = (1, 2, 2, 1), (4, 6, 8, 10)


def randomised(network: nn.Module) -> nn.Module:
    """Running statistics and affine weights that a mistake would show."""
    generator = torch.Generator().manual_seed(1)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm3d):
            for tensor in (module.weight.data, module.bias.data, module.running_mean, module.running_var):
                tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
    return network.eval()


@torch.inference_mode()
def test_the_network_is_the_independent_one_on_turned_volumes() -> None:
    torch.manual_seed(0)
    reference = randomised(I3ResNet(Small.repeats, Small.widths))
    ours = Small().eval()
    left = ours.load_state_dict(reference.state_dict(), strict=False)
    assert left.missing_keys == ["fc.weight", "fc.bias"] and not left.unexpected_keys
    image = torch.rand(2, 1, 33, 24, 18)
    ours.fc = nn.Identity()
    torch.testing.assert_close(
        ours(image.expand(-1, 3, -1, -1, -1)), reference(ras_zxy(image)), atol=1e-5, rtol=1e-5
    )


@torch.inference_mode()
def test_stages_are_recorded_in_the_axes_of_the_image() -> None:
    network = randomised(Small())
    image = torch.zeros(1, 3, 32, 32, 32)
    image[:, :, :8, 20:, :4] = 1  # anterior, left, inferior
    with recorded_stages(network, "i3resnet152", 2) as seen:
        network(image)
        with_object = seen["layer1"].clone()
        network(torch.zeros_like(image))
        change = (with_object - seen["layer1"]).abs().mean(1)[0]
    assert tuple((change == change.max()).nonzero()[0]) == (0, 1, 0)


def test_it_takes_volumes_alone() -> None:
    with pytest.raises(InputError, match="spatial_dims: got 2, expected 3: i3resnet152 takes volumes"):
        create_classifier("i3resnet152", spatial_dims=2)


def test_parts_are_joined_once_and_verified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SRCMATTERS_WEIGHTS", raising=False)
    contents, names = [b"first, ", b"second"], ["part_of_weights_1", "part_of_weights_2"]
    whole = b"".join(contents)
    entry = dataclasses.replace(
        named_entry("astra"),
        location={"parts": names, "file": "whole.pt", "extra": "astra"},
        sha256=hashlib.sha256(whole).hexdigest(),
    )
    assert whereabouts(entry) == "to install"
    with pytest.raises(InputError, match=r"pip install -c constraints.txt -e .\[astra\]"):
        fetch(entry)
    for name, content in zip(names, contents, strict=True):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise RuntimeError('imported')")
        (tmp_path / name / PART).write_bytes(content)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert whereabouts(entry) == "here"
    with pytest.raises(InputError, match="joined parts have the SHA-256"):
        fetch(dataclasses.replace(entry, sha256="0" * 64))
    assert not cached_path(entry).exists()
    assert fetch(entry) == cached_path(entry)
    assert cached_path(entry).read_bytes() == whole
    (tmp_path / names[0] / PART).unlink()
    assert fetch(entry).read_bytes() == whole


@pytest.mark.slow
@torch.inference_mode()
def test_astra_loads_exactly() -> None:
    location = named_entry("astra").location
    assert location is not None
    parts = installed_parts(location["parts"])
    if parts is None:
        pytest.skip("the packages of the extra astra are not installed")
    network = create_classifier("i3resnet152", "astra", spatial_dims=3, dropout=0).eval()
    weights = torch.load(fetch(named_entry("astra")), weights_only=True)["state_dict"]
    assert len(weights) == 930
    reference = I3ResNet(InflatedResNet152.repeats, InflatedResNet152.widths).eval()
    reference.load_state_dict(weights)
    assert next(reference.parameters()).dtype == torch.float32
    seen: list[torch.Tensor] = []
    network[1].fc.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    image = torch.rand(1, 1, 40, 33, 24, generator=torch.Generator().manual_seed(0))
    network(image)
    expected = reference(ras_zxy(image))
    assert float(expected.std()) > 0.01
    torch.testing.assert_close(seen[0], expected, atol=1e-5, rtol=1e-5)
