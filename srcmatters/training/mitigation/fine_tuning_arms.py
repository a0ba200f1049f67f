"""The arms of a training run of all weights: what its batches, sampler and loss are."""

from __future__ import annotations

import torch
from monai.engines import SupervisedTrainer
from torch import nn
from torch.utils.data import DataLoader

from srcmatters.errors import InputError
from srcmatters.training.datasets import GroupBalancedSampler
from srcmatters.training.handlers import PrepareBatch
from srcmatters.training.mitigation.added_confounder import AddedConfounder
from srcmatters.training.mitigation.paired_states import PairedLoss, PairedStates

#: Arms of the setting ``mitigation`` at depth finetune.
FINE_TUNING_ARMS = ("none", "balanced", "dfr", "augment", "paired")


def training_batches(mitigation: str, augmentation: object | None, seed: int = 0) -> PrepareBatch:
    """What prepares the training batches of an arm.

    Args:
        mitigation: name of the arm.
        augmentation: of all arms.
        seed: seed of the arm's own draws.

    Raises:
        InputError: an arm of the screen depth alone.
    """
    if mitigation not in FINE_TUNING_ARMS:
        raise InputError(
            f"mitigation: {mitigation} is an arm of the screen depth; expected one of"
            f" {', '.join(FINE_TUNING_ARMS)} where every weight is trained"
        )
    if mitigation == "augment":
        return AddedConfounder(augmentation, seed)
    return PairedStates(augmentation) if mitigation == "paired" else PrepareBatch(augmentation)


def training_loss(mitigation: str) -> nn.Module:
    """The loss of an arm; of all but ``paired`` the cross entropy."""
    return PairedLoss() if mitigation == "paired" else torch.nn.CrossEntropyLoss()


def arm_of(trainer: SupervisedTrainer, refitted: bool) -> str:
    """The arm that a trainer carries out, read off its objects.

    Args:
        trainer: ready to run.
        refitted: whether the last layer is fitted again afterwards.

    Raises:
        InputError: parts of several arms, or half of one.
    """
    loader, prepare = trainer.data_loader, trainer.prepare_batch
    parts = {
        "balanced": isinstance(loader, DataLoader) and isinstance(loader.sampler, GroupBalancedSampler),
        "augment": isinstance(prepare, AddedConfounder),
        "paired": isinstance(prepare, PairedStates),
        "dfr": refitted,
    }
    there = [name for name, present in parts.items() if present]
    if len(there) > 1 or parts["paired"] != isinstance(trainer.loss_function, PairedLoss):
        raise InputError(
            f"mitigation: the training has parts of {', '.join(there) or 'paired'}; expected --mitigation"
            " alone"
        )
    return there[0] if there else "none"
