"""What an epoch draws depends on the seed and its number alone, and on both."""

from types import SimpleNamespace

import torch
from torch.utils.data import DataLoader

from srcmatters.training import EpochSeeds


def drawn(seed: int, epoch: int) -> list[int]:
    """Seeds of dropout, augmentation and order in one epoch."""
    augmentation, order = torch.Generator(), torch.Generator()
    loader = DataLoader([0, 1], generator=order)
    EpochSeeds(seed, loader, [augmentation])(SimpleNamespace(state=SimpleNamespace(epoch=epoch)))
    return [generator.initial_seed() for generator in (torch.default_generator, augmentation, order)]


def test_two_epochs_of_one_training_draw_differently() -> None:
    seeds = [drawn(seed, epoch) for seed in (0, 1) for epoch in (1, 2, 3)]
    assert len({number for numbers in seeds for number in numbers}) == 18


def test_an_epoch_that_is_resumed_draws_what_it_drew() -> None:
    first = drawn(3, 7)
    drawn(3, 8)
    assert drawn(3, 7) == first
