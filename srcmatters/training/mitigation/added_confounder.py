"""Augmentation with the confounder while every weight is trained."""

from __future__ import annotations

from typing import Any

import torch

from srcmatters.training.handlers import PrepareBatch
from srcmatters.training.mitigation.augmented import ADDED


class AddedConfounder(PrepareBatch):
    """Give any case of a training batch the confounder with probability :data:`ADDED`, drawn in every epoch.

    As :func:`srcmatters.training.mitigation.augmented.fit_augmented`: whatever its label and whether it
    carries it; the confounder is never taken from a carrier.

    Needs to know: a model of the confounder. Cost: none beside reading the other state.

    Args:
        augmentation: see :class:`srcmatters.training.handlers.PrepareBatch`.
        seed: seed of the draw.

    Source: after Ilse, Tomczak and Forre 2021.
    """

    def __init__(self, augmentation: object | None = None, seed: int = 0) -> None:
        super().__init__(augmentation)
        self._stream = torch.Generator().manual_seed(seed)

    def __call__(
        self,
        batch: dict[str, Any],
        device: torch.device | str | None = None,
        non_blocking: bool = False,
        **kwargs: object,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return (images, labels)."""
        images = batch["image"]
        added = torch.rand(len(images), generator=self._stream).to(images.device) < ADDED
        carrying = added.view(-1, *[1] * (images.ndim - 1))
        images = torch.where(carrying, batch["confounded"], images)
        return super().__call__({**batch, "image": images}, device, non_blocking, **kwargs)
