"""Paired states while every weight is trained: a batch holds both of every case that does not carry it."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional

from srcmatters.training.handlers import PrepareBatch
from srcmatters.training.mitigation.paired import PENALTY


class PairedStates(PrepareBatch):
    """Append the confounded state of every case of a training batch that does not carry the confounder.

    Both states of a case are augmented alike. The label of an appended image is -1 - the position of its
    case in the batch, which :class:`PairedLoss` understands.
    """

    def __call__(
        self,
        batch: dict[str, Any],
        device: torch.device | str | None = None,
        non_blocking: bool = False,
        **kwargs: object,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return (B + pairs images, labels)."""
        channels = batch["image"].shape[1]
        both = torch.cat([batch["image"], batch["confounded"]], dim=1).to(device, non_blocking=non_blocking)
        if self.augmentation is not None:
            both = self.augmentation(both)  # type: ignore[operator]
        free = torch.nonzero(~batch["carries"].to(both.device)).flatten()
        images = torch.cat([both[:, :channels], both[free, channels:]])
        if self.channels_last and images.ndim == 4:
            images = images.contiguous(memory_format=torch.channels_last)
        return images, torch.cat([batch["label"].to(both.device), -1 - free])


class PairedLoss(nn.Module):
    r"""Cross entropy of the cases, and the mean squared difference of the log-odds of the pairs.

    .. math:: \frac{1}{B} \sum_i \ell_i + \frac{\lambda}{m} \sum_j (z(x_j^{+}) - z(x_j))^2

    z is the log-odds of label 1, lambda :data:`srcmatters.training.mitigation.paired.PENALTY`. Without pairs,
    as in validation, it is the cross entropy.

    Needs to know: a model of the confounder, and who does not carry it. Cost: a forward and backward pass of
    the pairs; batch normalisation sees them as well.

    Source: after Heinze-Deml and Meinshausen 2021.
    """

    def forward(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Loss of logits (B + pairs, 2) and labels as :class:`PairedStates` has them."""
        own = labels >= 0
        loss = functional.cross_entropy(logits[own], labels[own])
        if own.all():
            return loss
        scores = logits[:, 1] - logits[:, 0]
        return loss + PENALTY * ((scores[~own] - scores[-1 - labels[~own]]) ** 2).mean()
