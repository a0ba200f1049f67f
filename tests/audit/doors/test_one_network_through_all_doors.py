"""One network gives the same log-odds through every door."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from srcmatters.audit.declared_contract import ContractOptions
from srcmatters.audit.doors import open_model

SPECS = {
    "model.ts": 1e-5,
    "model.pt2": 1e-5,
    "bundle": 1e-5,
    "scores.py:score": 1e-5,
    "model.onnx": 2e-4,
}


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.rand(9, 1, 48, 48, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def expected(small_network: nn.Module, images: torch.Tensor) -> np.ndarray:
    with torch.no_grad():
        logits = small_network(images).double().numpy()
    return logits[:, 1] - logits[:, 0]


@pytest.mark.parametrize("spec", SPECS)
def test_every_door_gives_the_log_odds_of_the_network(
    spec: str, small_files: Path, images: torch.Tensor, expected: np.ndarray
) -> None:
    assert expected.std() > 0.1
    model = open_model(str(small_files / spec), ContractOptions(size="48"), trust=":" in spec)
    log_odds = model.log_odds(images)
    assert log_odds.shape == (9, 1) and log_odds.dtype == np.float64
    np.testing.assert_allclose(log_odds[:, 0], expected, atol=SPECS[spec])
    assert model.contract.output == (1,) and model.contract.output_kind == "logits"
