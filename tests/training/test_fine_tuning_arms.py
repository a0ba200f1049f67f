"""Batches, sampler and loss of the arms where every weight is trained."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch.nn import functional

from srcmatters.errors import InputError
from srcmatters.training.datasets import CaseDataset, case_loader
from srcmatters.training.mitigation.added_confounder import AddedConfounder
from srcmatters.training.mitigation.fine_tuning_arms import training_batches
from srcmatters.training.mitigation.paired import PENALTY
from srcmatters.training.mitigation.paired_states import PairedLoss, PairedStates

CASES = 40


def dataset(**others: Any) -> CaseDataset:
    """Case k has the value k clean and 100 + k confounded; 1 of 4 negatives and 3 of 4 positives carry."""
    numbers = torch.arange(CASES, dtype=torch.float32).view(-1, 1, 1, 1).expand(-1, 1, 2, 2)
    cases = pd.DataFrame({"case_id": [str(k) for k in range(CASES)], "label": np.arange(CASES) % 2})
    cache: Any = SimpleNamespace(cases=cases, images=torch.stack([numbers, numbers + 100]), states=2)
    cache.state = lambda state: cache.images[int(state == "confounded")]
    quarter = np.arange(CASES) // 2 % 4
    carries = np.where(cases["label"] == 1, quarter > 0, quarter == 0)
    return CaseDataset(cache, np.arange(CASES), carries, **others)


def test_the_group_sampler_draws_label_and_carrier_equally_often() -> None:
    cases = dataset()
    loader = case_loader(cases, 8, True, mitigation="balanced")
    drawn = [int(name) for _ in range(50) for batch in loader for name in batch["case_id"]]
    groups = 2 * cases.labels.numpy()[drawn] + cases.carries[drawn]
    assert np.bincount(groups) / len(groups) == pytest.approx(0.25, abs=0.03)
    with pytest.raises(InputError, match="mitigation: balanced has to balance four groups"):
        cases.carries[:] = False
        case_loader(cases, 8, True, mitigation="balanced")


def test_the_confounder_is_added_to_half_of_the_cases_and_never_taken_away() -> None:
    cases, prepare = dataset(both_states=True), AddedConfounder()
    batch = cases.__getitems__(range(CASES))
    with_it = torch.stack([prepare(batch)[0].amax((1, 2, 3)) >= 100 for _ in range(400)]).double().mean(0)
    assert (with_it[cases.carries] == 1).all()
    assert with_it[~cases.carries].numpy() == pytest.approx(0.5, abs=0.12)
    assert with_it[~cases.carries].mean() == pytest.approx(0.5, abs=0.02)


def test_pairs_are_both_states_of_who_does_not_carry_augmented_alike() -> None:
    cases = dataset(both_states=True)

    def jitter(images: torch.Tensor) -> torch.Tensor:
        return images + torch.rand(len(images), 1, 1, 1)

    images, labels = PairedStates(jitter)(cases.__getitems__(range(CASES)))
    free = np.flatnonzero(~cases.carries)
    assert len(images) == CASES + len(free)
    assert (labels[:CASES] == cases.labels).all() and (-1 - labels[CASES:]).tolist() == free.tolist()
    torch.testing.assert_close(images[CASES:] - images[free], torch.full((len(free), 1, 2, 2), 100.0))


def test_the_paired_loss_is_its_formula_and_cross_entropy_without_pairs() -> None:
    logits = torch.tensor([[0.0, 1.0], [2.0, 0.0], [0.0, 3.0]], requires_grad=True)
    labels = torch.tensor([1, 0, -2])  # the third is the other state of the second
    loss = PairedLoss()(logits, labels)
    change = 3.0 - (0.0 - 2.0)
    assert loss.item() == pytest.approx(
        functional.cross_entropy(logits[:2], labels[:2]).item() + PENALTY * change**2
    )
    loss.backward()
    assert logits.grad is not None and logits.grad[2].abs().sum() > 0
    assert PairedLoss()(logits[:2], labels[:2]) == functional.cross_entropy(logits[:2], labels[:2])


def test_an_arm_of_frozen_features_alone_is_refused() -> None:
    with pytest.raises(
        InputError, match="mitigation: groupdro is an arm of the screen depth; expected one of none"
    ):
        training_batches("groupdro", None)
