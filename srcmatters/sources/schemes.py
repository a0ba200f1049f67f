"""How weight files name their tensors, and what our networks call the same ones."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from srcmatters.errors import InputError, did_you_mean
from srcmatters.sources.architecture import STANDARD
from srcmatters.sources.network_facts import HEADS

#: The first kernel of each network, the one that sees the image's channels.
STEMS = {
    "efficientnet_lite0": "_conv_stem.weight",
    "efficientnet_lite1": "_conv_stem.weight",
    "efficientnet_lite2": "_conv_stem.weight",
    "resnet10": "conv1.weight",
    "resnet18": "conv1.weight",
    "resnet34": "conv1.weight",
    "resnet50": "conv1.weight",
    "densenet121": "features.conv0.weight",
    "i3resnet152": "conv1.weight",
    "vit_b14": "backbone.embeddings.patch_embeddings.projection.weight",
}

# Blocks in each stage of EfficientNet-Lite0, and of Lite1 and Lite2.
_LITE0, _LITE1 = (1, 2, 2, 3, 3, 4, 1), (1, 3, 3, 4, 4, 5, 1)
# Where a Sequential of torchvision's ResNet has its layers: 2 and 3 are ReLU and pooling.
_RESNET_CHILDREN = {"0": "conv1", "1": "bn1", "4": "layer1", "5": "layer2", "6": "layer3", "7": "layer4"}
# What the hub's files and older versions of transformers call the four layers of attention.
_ATTENTION = {
    "attention.attention.query.": "attention.q_proj.",
    "attention.attention.key.": "attention.k_proj.",
    "attention.attention.value.": "attention.v_proj.",
    "attention.output.dense.": "attention.o_proj.",
}


def _same(name: str) -> str:
    return name


def _efficientnet(repeats: tuple[int, ...]) -> Callable[[str], str]:
    """``_blocks.7._bn0.bias`` is ``_blocks.3.7._bn0.bias`` in MONAI, which nests blocks by stage."""
    stage_of = [stage for stage, repeat in enumerate(repeats) for _ in range(repeat)]

    def nested(match: re.Match[str]) -> str:
        block = int(match[1])
        return f"_blocks.{stage_of[block]}.{block}." if block < len(stage_of) else match[0]

    return lambda name: re.sub(r"^_blocks\.(\d+)\.", nested, name)


def _densenet(name: str) -> str | None:
    """``denselayer1.norm1`` is ``denselayer1.layers.norm1`` in MONAI; old files write ``norm.1``."""
    if ".layers." in name:
        return None
    name = re.sub(r"(denselayer\d+)\.(norm|relu|conv)\.?(\d)\.", r"\1.layers.\2\3.", name)
    return re.sub(r"^classifier\.", "class_layers.out.", name)


def _radimagenet_resnet(name: str) -> str | None:
    """``backbone.4.0.conv1`` is ``layer1.0.conv1``."""
    if name.startswith(HEADS["resnet50"]):
        return name
    match = re.match(r"backbone\.(\d+)\.(.+)", name)
    if match is None or match[1] not in _RESNET_CHILDREN:
        return None
    return f"{_RESNET_CHILDREN[match[1]]}.{match[2]}"


def _radimagenet_densenet(name: str) -> str | None:
    """``backbone.0.conv0`` is ``features.conv0``: DenseNet's first child holds all its layers."""
    if not name.startswith(("backbone.", "classifier.")):
        return None
    return _densenet(re.sub(r"^backbone\.(0\.)?", "features.", name))


def _dinov2(name: str) -> str:
    """``encoder.layer.0.attention.attention.query`` is ``...attention.q_proj`` in transformers 5."""
    for old, new in _ATTENTION.items():
        name = name.replace(old, new)
    return f"backbone.{name.removeprefix('dinov2.')}"


def _has_prefix(prefix: str) -> Callable[[Mapping[str, object]], bool]:
    return lambda weights: all(name.startswith(prefix) for name in weights)


@dataclass(frozen=True)
class Scheme:
    """What all files of one naming scheme have in common.

    Args:
        renaming: per network, the file's name of a tensor to ours; None: no name of this scheme.
        spatial_dims: of the network in the file; None: its kernels tell.
        channels: of the image; None: the first kernel tells.
        orders: of the channels that such files are known to expect.
        architecture: what the network has to be built like; None: a marker tells.
        ignored: tensors of a file that no network needs, as a pattern of our names, and why.
        published: whether a file of unknown origin may be taken for one of this scheme.
        keras: the tensors are those of Keras layers.
    """

    renaming: Mapping[str, Callable[[str], str | None]]
    spatial_dims: int | None = 2
    channels: int | None = 3
    orders: tuple[str, ...] = ("RGB",)
    architecture: str | None = STANDARD
    ignored: Mapping[str, str] = field(default_factory=dict)
    published: Callable[[Mapping[str, object]], bool] = bool
    keras: bool = False


_RESNETS = ("resnet10", "resnet18", "resnet34", "resnet50")

SCHEMES: dict[str, Scheme] = {
    "torchvision": Scheme({**dict.fromkeys(_RESNETS, _same), "densenet121": _densenet}),
    "efficientnet-pytorch": Scheme(
        {
            "efficientnet_lite0": _efficientnet(_LITE0),
            "efficientnet_lite1": _efficientnet(_LITE1),
            "efficientnet_lite2": _efficientnet(_LITE1),
        }
    ),
    "radimagenet": Scheme(
        {"resnet50": _radimagenet_resnet, "densenet121": _radimagenet_densenet}, orders=("BGR",)
    ),
    "radimagenet-keras": Scheme(
        {"resnet50": _same, "densenet121": _same}, orders=("BGR",), architecture="keras", keras=True
    ),
    "torchxrayvision": Scheme(
        {"densenet121": _densenet},
        channels=1,
        orders=("grey",),
        ignored={r"op_threshs": "operating points of the file's own classes"},
    ),
    "medicalnet": Scheme(
        dict.fromkeys(_RESNETS, _same),
        spatial_dims=3,
        channels=1,
        orders=("grey",),
        architecture="medicalnet",
        ignored={r"conv_seg\.": "head for segmentation"},
        published=_has_prefix("module."),
    ),
    "i3resnet": Scheme({"i3resnet152": _same}, spatial_dims=3),
    "transformers-dinov2": Scheme(
        {"vit_b14": _dinov2},
        ignored={
            r"backbone\.embeddings\.mask_token": "plays a part in pre-training alone",
            r"backbone\.classifier\.": "head",
        },
    ),
    "monai": Scheme(
        dict.fromkeys(HEADS, _same),
        spatial_dims=None,
        channels=None,
        orders=("RGB", "grey"),
        architecture=None,
    ),
}

#: Schemes whose names every training of such a network gives: they say nothing of the input.
ANY_TRAINING = ("torchvision", "efficientnet-pytorch", "monai")


def find_scheme(scheme: str, network: str) -> Scheme:
    """The rules of a naming scheme.

    Raises:
        InputError: an unknown scheme, or one without this network.
    """
    if scheme not in SCHEMES:
        raise InputError(f"scheme: {scheme!r} is unknown{did_you_mean(scheme, SCHEMES)}")
    rules = SCHEMES[scheme]
    if network not in rules.renaming:
        raise InputError(f"scheme: {scheme} has no {network}, expected one of: {', '.join(rules.renaming)}")
    return rules
