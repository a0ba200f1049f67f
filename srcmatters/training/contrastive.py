"""Self-supervised pre-training: SimCLR, on MONAI's contrastive loss."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from monai.losses import ContrastiveLoss
from torch import nn

from srcmatters.sources.network_facts import HEADS, check_network

Augmentation = Callable[[torch.Tensor], torch.Tensor]


class Augmentations:
    """Augmentations of a batch, one after the other.

    Args:
        steps: each has a ``generator``.
    """

    def __init__(self, steps: Sequence[Augmentation]) -> None:
        self.steps = list(steps)

    @property
    def generators(self) -> list[torch.Generator]:
        """Of all steps."""
        return [step.generator for step in self.steps]  # type: ignore[attr-defined]

    def copies(self) -> list[Augmentation]:
        """The same steps with random streams of their own."""
        return copy.deepcopy(self.steps)

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Transform a batch."""
        for step in self.steps:
            images = step(images)
        return images


class TwoViews:
    """Hand two random views of every image to the network, the first ones before the second ones.

    Args:
        augmentation: draws a view.
    """

    def __init__(self, augmentation: Augmentation) -> None:
        self.augmentation = augmentation

    def __call__(
        self,
        batch: dict[str, Any],
        device: torch.device | str | None = None,
        non_blocking: bool = False,
        **kwargs: object,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return (2 B views, labels)."""
        images = batch["image"].to(device, non_blocking=non_blocking)
        views = torch.cat([self.augmentation(images), self.augmentation(images)])
        if views.ndim == 4:
            views = views.contiguous(memory_format=torch.channels_last)
        return views, batch["label"].to(device, non_blocking=non_blocking)


class TwoViewLoss(nn.Module):
    """NT-Xent over the two views of every image (Chen et al. 2020, arXiv 2002.05709).

    Args:
        temperature: of the softmax over the similarities.

    Shape:
        projections: (2 B, F), as :class:`TwoViews` orders them; the result is a scalar.
    """

    def __init__(self, temperature: float = 0.2) -> None:
        super().__init__()
        self.loss = ContrastiveLoss(temperature=temperature)

    def forward(self, projections: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Mean loss over the batch; the labels play no part."""
        first, second = projections.float().chunk(2)
        return self.loss(first, second)


def with_projection(classifier: nn.Sequential, network: str, size: int = 128, seed: int = 0) -> nn.Sequential:
    """Replace the head of a classifier by SimCLR's projection: two layers with a ReLU between them.

    Args:
        classifier: of :func:`srcmatters.sources.create_classifier`; is changed in place.
        network: name of its network.
        size: length of the projection.
        seed: seed of its initialisation.
    """
    check_network(network)
    parent, _, name = HEADS[network].rstrip(".").rpartition(".")
    owner = classifier[1].get_submodule(parent)
    features = getattr(owner, name).in_features
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        projection = nn.Sequential(nn.Linear(features, features), nn.ReLU(), nn.Linear(features, size))
    setattr(owner, name, projection)
    return classifier
