"""What all tests of the audit share."""

import pytest
import torch


@pytest.fixture(autouse=True)
def seeded_weights() -> None:
    """Untrained networks have the same weights whatever ran before: what they return is what is assumed."""
    torch.manual_seed(0)
