"""Training, test and screen on a fake accelerator: nothing stays on the CPU, and the numbers are the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from fake_accelerator import OnAccelerator, accelerator
from monai.engines import SupervisedTrainer
from monai.transforms import Compose

from srcmatters.cohorts import read_cases
from srcmatters.cohorts.folds import Split
from srcmatters.cohorts.study_cases import StudyCases
from srcmatters.confounders import Confounderd, create_confounder
from srcmatters.images import LoadRadiographd
from srcmatters.preprocessing import AntialiasedResized, FeatureCache, StateCache
from srcmatters.preprocessing.feature_cache import head_of
from srcmatters.sources import create_classifier
from srcmatters.training import (
    BatchedRandomAffine,
    CaseDataset,
    adaptation,
    case_loader,
    to_device,
    training_batches,
    training_loss,
)
from srcmatters.training.augmentation import BatchedRandomIntensity
from srcmatters.training.contrastive import TwoViewLoss, TwoViews
from srcmatters.training.linear_head import LinearHead
from srcmatters.training.mitigation import last_layer
from srcmatters.training.mitigation.training_cases import TrainingCases
from srcmatters.training.two_state_test import TwoStateTest

CASES = 8
CARRIES = np.arange(CASES) % 3 == 0


@pytest.fixture
def cache(radiograph_cohort: Path) -> StateCache:
    tag = create_confounder("tag")
    assert tag is not None
    steps = [LoadRadiographd("image"), Confounderd("image", tag, carries_key="carries")]
    cases = read_cases(radiograph_cohort).iloc[:CASES].reset_index(drop=True)
    return StateCache.open(cases, Compose([*steps, AntialiasedResized("image", (32, 32))]))


def moved_by_an_epoch(cache: StateCache, mitigation: str, device: torch.device) -> torch.Tensor:
    """How far two batches move the weights, put together as the bundle does it."""
    torch.manual_seed(0)
    network = to_device(create_classifier("resnet10", dropout=0.0), device)

    def weights() -> torch.Tensor:
        return torch.cat([weight.detach().cpu().flatten() for weight in network.parameters()])

    start = weights()
    dataset = CaseDataset(
        cache, np.arange(CASES), CARRIES, device, both_states=mitigation in ("augment", "paired")
    )
    augmented = BatchedRandomAffine(rotation=10, shift=0.05, zoom=0.05, flip=0.5)
    trainer = SupervisedTrainer(
        device=device,
        max_epochs=1,
        train_data_loader=case_loader(dataset, 4, shuffle=True, balanced=True, mitigation=mitigation),
        network=network,
        optimizer=torch.optim.SGD(network.parameters(), lr=1e-3),
        loss_function=training_loss(mitigation),
        prepare_batch=training_batches(mitigation, augmentation=augmented),
        decollate=False,
    )
    trainer.run()
    return weights() - start


@pytest.mark.parametrize("mitigation", ["none", "augment", "paired"])
def test_an_epoch_of_training_moves_the_weights_alike(
    cache: StateCache, mitigation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = moved_by_an_epoch(cache, mitigation, torch.device("cpu"))
    with accelerator(monkeypatch) as device:
        moved = moved_by_an_epoch(cache, mitigation, device)
    assert (moved - expected).norm() < 0.02 * expected.norm()  # the order of sums differs


def test_images_are_held_on_the_device(cache: StateCache, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = np.array([5, 2, 7])
    here = CaseDataset(cache, rows, CARRIES, both_states=True).__getitems__([2, 0])
    with accelerator(monkeypatch) as device:
        dataset = CaseDataset(cache, rows, CARRIES, device, both_states=True)
        there = dataset.__getitems__([2, 0])
        for name in ("image", "confounded", "label", "carries"):
            assert isinstance(there[name], OnAccelerator), name
            assert torch.equal(there[name].cpu(), here[name]), name
        everybody = CaseDataset(cache, np.arange(CASES), CARRIES, device)
        drawn = next(iter(case_loader(everybody, 4, shuffle=True, mitigation="balanced")))
        assert isinstance(drawn["image"], OnAccelerator)


@pytest.mark.parametrize("shape", [(3, 1, 16, 16), (3, 1, 12, 12, 5)])
def test_augmentation_stays_on_the_device(shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    images = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    makes = [lambda: BatchedRandomAffine(rotation=10, shift=0.1, shear=2, zoom=0.1, flip=0.5)]
    if images.ndim == 4:
        makes.append(BatchedRandomIntensity)
    for make in makes:
        expected = make()(images)
        with accelerator(monkeypatch) as device:
            augmented = make()(images.to(device))
            assert isinstance(augmented, OnAccelerator)
            torch.testing.assert_close(augmented.cpu(), expected)


def test_two_views_and_their_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    batch = {"image": torch.rand(4, 1, 16, 16), "label": torch.arange(4)}
    with accelerator(monkeypatch) as device:
        views, labels = TwoViews(BatchedRandomAffine(shift=0.1))(batch, device)
        assert isinstance(TwoViewLoss()(views.flatten(1), labels), OnAccelerator)


def mean_head(features: np.ndarray | TrainingCases, *_: object) -> LinearHead:
    """A head without a fit."""
    array = features if isinstance(features, np.ndarray) else features.own
    return LinearHead(array.mean(axis=0), 0.1, 1.0, ())


def frozen_figures(cache: StateCache, device: torch.device) -> dict[str, np.ndarray]:
    """Log-odds of both states, features and heads of one network on a device."""
    network = to_device(create_classifier("resnet10", seed=0), device)
    rows = np.arange(CASES)
    chosen = StudyCases(Split(rows, rows, rows), CARRIES)
    predictions = TwoStateTest(cache, chosen, 0, 4, device).predict(network)
    folder = cache.path.parent / device.type
    features = FeatureCache(cache, network, "resnet10", folder, device)
    figures = {state: features.state(state) for state in ("clean", "confounded")}
    figures |= {name: predictions[name].to_numpy() for name in ("score_clean", "score_confounded")}
    head = adaptation.linear_head(network, cache, chosen, 0)
    head.put_into(head_of(network, "resnet10"))
    last_layer.refit_last_layer(network, "resnet10", cache, chosen, 0)
    refitted = head_of(network, "resnet10").weight.detach()
    return {**figures, "head": head.weight, "refitted": refitted.cpu().numpy()}


def test_both_states_are_tested_and_screened(cache: StateCache, monkeypatch: pytest.MonkeyPatch) -> None:
    for module, fit in ((adaptation, "fit_head"), (last_layer, "fit_dfr")):
        monkeypatch.setattr(module, fit, mean_head)  # a fit takes seconds and knows no device
    expected = frozen_figures(cache, torch.device("cpu"))
    with accelerator(monkeypatch) as device, torch.no_grad():
        metrics = frozen_figures(cache, device)
    for name, values in expected.items():
        np.testing.assert_allclose(metrics[name], values, atol=1e-4, rtol=1e-3, err_msg=name)
        assert np.ptp(values) > 0, name


def test_a_tensor_left_behind_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    here = torch.ones(3)
    with accelerator(monkeypatch) as device:
        there = torch.ones(3).to(device)
        for mixed in (
            lambda: there + here,
            lambda: torch.where(here > 0, there, there),
            lambda: here[torch.arange(2, device=device)],
            lambda: there.numpy(),
            lambda: torch.stack([there, here]),
            lambda: there.add_(here),
        ):
            with pytest.raises((RuntimeError, TypeError)):
                mixed()
        assert torch.equal((there[torch.arange(2)] * torch.tensor(2.0)).cpu(), torch.full((2,), 2.0))
