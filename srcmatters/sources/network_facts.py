"""What one may need to know of a network without building it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from srcmatters.errors import InputError, did_you_mean


@dataclass(frozen=True)
class NetworkFacts:
    """Sizes of a network with two classes.

    Args:
        head: prefix of the classification head's tensors, the only ones a source may leave random.
        features: inputs of the head.
        values: numbers in all of its tensors, by spatial dimensions; a network takes no others.
    """

    head: str
    features: int
    values: Mapping[int, int]


NETWORKS = {
    "efficientnet_lite0": NetworkFacts("_fc.", 1280, {2: 3_415_635, 3: 4_098_195}),
    "efficientnet_lite1": NetworkFacts("_fc.", 1280, {2: 4_191_970, 3: 5_092_162}),
    "efficientnet_lite2": NetworkFacts("_fc.", 1280, {2: 4_871_794, 3: 5_849_170}),
    "resnet10": NetworkFacts("fc.", 512, {2: 4_912_590, 3: 14_406_222}),
    "resnet18": NetworkFacts("fc.", 512, {2: 11_187_158, 3: 33_214_550}),
    "resnet34": NetworkFacts("fc.", 512, {2: 21_302_758, 3: 63_531_622}),
    "resnet50": NetworkFacts("fc.", 2048, {2: 23_565_303, 3: 46_256_247}),
    "densenet121": NetworkFacts("class_layers.out.", 1024, {2: 7_039_675, 3: 11_372_347}),
    "i3resnet152": NetworkFacts("fc.", 2048, {3: 117_521_885}),
    "vit_b14": NetworkFacts("head.", 768, {2: 86_581_250}),
}
#: Prefix of the classification head's tensors by network.
HEADS = {name: facts.head for name, facts in NETWORKS.items()}
#: Networks of tokens, whose head is given the class token or the mean of the others.
TRANSFORMERS = ("vit_b14",)
POOLINGS = ("cls", "mean")


def check_network(name: str) -> None:
    """Refuse an unknown network.

    Raises:
        InputError: with the nearest name.
    """
    if name not in NETWORKS:
        raise InputError(f"network: {name!r} is unknown{did_you_mean(name, NETWORKS)}")


def check_pooling(network: str, pooling: str) -> None:
    """Refuse an unknown pooling, or one of a network without tokens.

    Raises:
        InputError: naming the network, or the nearest pooling.
    """
    if pooling not in POOLINGS:
        raise InputError(f"pooling: {pooling!r} is unknown{did_you_mean(pooling, POOLINGS)}")
    if network not in TRANSFORMERS:
        raise InputError(f"pooling: got {pooling!r}, expected none: {network} has no tokens")
