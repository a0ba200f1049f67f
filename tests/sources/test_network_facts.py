"""What is known of a network without building it is what comes out when it is built."""

import pytest
import torch

from srcmatters.errors import InputError
from srcmatters.sources.network_facts import NETWORKS
from srcmatters.sources.networks import create_network


@pytest.mark.parametrize("spatial_dims", [2, 3])
@pytest.mark.parametrize("name", NETWORKS)
def test_sizes_are_those_of_the_network(name: str, spatial_dims: int) -> None:
    facts = NETWORKS[name]
    if spatial_dims not in facts.values:
        with pytest.raises(InputError, match="spatial_dims"):
            create_network(name, spatial_dims)
        return
    with torch.device("meta"):
        network = create_network(name, spatial_dims)
    head = network.get_submodule(facts.head.rstrip("."))
    linear = [layer for layer in head.modules() if isinstance(layer, torch.nn.Linear)]
    assert linear[-1].in_features == facts.features
    assert sum(tensor.numel() for tensor in network.state_dict().values()) == facts.values[spatial_dims]
