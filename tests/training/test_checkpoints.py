"""Weights of finished runs."""

from pathlib import Path

import pytest
import torch
from torch import nn

from srcmatters.errors import InputError
from srcmatters.sources import InputNormalisation, create_classifier, create_network
from srcmatters.training import load_checkpoint, network_for


def saved(network: nn.Module, folder: Path) -> Path:
    torch.save(network.state_dict(), folder / "model.pt")
    return folder / "model.pt"


def test_weights_from_a_source_of_grey_images_are_scored_without_it(tmp_path: Path) -> None:
    grey = InputNormalisation((0.5,), (1 / 2048,))
    trained = nn.Sequential(grey, create_network("resnet18", in_channels=1)).eval()
    ckpt = saved(trained, tmp_path)
    again = load_checkpoint(network_for(ckpt, "resnet18"), ckpt).eval()
    image = torch.rand(2, 1, 32, 32)
    assert torch.equal(again(image), trained(image))


def test_the_weights_of_another_network_are_named(tmp_path: Path) -> None:
    ckpt = saved(create_classifier("resnet18"), tmp_path)
    with pytest.raises(InputError, match=r"model\.pt: no classifier with densenet121"):
        network_for(ckpt, "densenet121")


def test_without_weights_there_is_still_a_network_to_check(tmp_path: Path) -> None:
    assert network_for(tmp_path / "model.pt", "resnet18")(torch.rand(2, 1, 32, 32)).shape == (2, 2)
    with pytest.raises(InputError, match="does not exist"):
        load_checkpoint(nn.Identity(), tmp_path / "model.pt")
