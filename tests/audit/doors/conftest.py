"""One small network in every file that a door opens."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from monai.networks.nets import resnet10
from torch import nn

from srcmatters.export.model_files import write_model_files

ARGUMENTS = {
    "spatial_dims": 2,
    "n_input_channels": 1,
    "num_classes": 2,
    "conv1_t_stride": 2,
    "widen_factor": 0.25,
}
METADATA = {
    "name": "small network",
    "network_data_format": {
        "inputs": {
            "image": {
                "type": "image",
                "modality": "DX",
                "num_channels": 1,
                "spatial_shape": [48, 48],
                "value_range": [0, 1],
            }
        },
        "outputs": {
            "pred": {
                "type": "logits",
                "format": "classes",
                "num_channels": 2,
                "channel_def": {"0": "healthy", "1": "mass"},
            }
        },
    },
}
FUNCTION = """
import torch
from monai.networks.nets import resnet10

network = resnet10(**{arguments})
network.load_state_dict(torch.load({weights!r}, weights_only=True))
network.eval()


def score(batch):
    return network(batch)
"""


@pytest.fixture(scope="session")
def small_network() -> nn.Module:
    """A ResNet with two logits whose batch statistics and head are no defaults."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = resnet10(**ARGUMENTS)
        network.train()
        with torch.no_grad():
            for _ in range(20):
                network(torch.rand(8, 1, 48, 48))
            network.fc.weight.mul_(4)
    return network.eval()


@pytest.fixture(scope="session")
def small_files(small_network: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with model.pt, model.ts, model.pt2, model.onnx, a MONAI bundle of weights, and scores.py."""
    from srcmatters.export import model_files

    folder = tmp_path_factory.mktemp("small")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(model_files._READERS, "model.pt", lambda path, name: small_network)
        write_model_files(small_network, "resnet10", torch.rand(2, 1, 48, 48), folder)
    bundle = folder / "bundle"
    (bundle / "configs").mkdir(parents=True)
    (bundle / "models").mkdir()
    (bundle / "models" / "model.pt").write_bytes((folder / "model.pt").read_bytes())
    (bundle / "configs" / "metadata.json").write_text(json.dumps(METADATA))
    definition = {"_target_": "resnet10", **ARGUMENTS, "n_input_channels": "@channels"}
    (bundle / "configs" / "inference.json").write_text(json.dumps({"channels": 1, "network_def": definition}))
    text = FUNCTION.format(arguments=ARGUMENTS, weights=str(folder / "model.pt"))
    (folder / "scores.py").write_text(text)
    return folder
