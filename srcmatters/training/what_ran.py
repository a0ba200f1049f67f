"""The settings of a run as the objects that computed it have them, whatever the configuration asked for.

A nested override (``--optimizer::lr 1e-4``), an overlay or a property of MONAI's workflow reaches the objects
and not the top-level ids. So the record of a run is read off the objects; what cannot be read is refused.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine
from monai.data import DistributedWeightedRandomSampler
from monai.engines import SupervisedTrainer
from monai.handlers import CheckpointSaver
from torch import nn
from torch.utils.data import DataLoader, WeightedRandomSampler

from srcmatters.cohorts.study_cases import StudyCases
from srcmatters.errors import InputError
from srcmatters.preprocessing.state_cache import StateCache
from srcmatters.runs.file_names import NETWORK_CODE
from srcmatters.sources import Classifier, weights_digest
from srcmatters.sources.constructor import code_digest
from srcmatters.training.augmentation import BatchedRandomAffine
from srcmatters.training.case_record import Settings, case_settings, image_size_of, target_name
from srcmatters.training.datasets import CaseDataset, GroupBalancedSampler
from srcmatters.training.handlers import EarlyStop, PrepareBatch
from srcmatters.training.settings import source_name


def network_settings(network: nn.Module) -> Settings:
    """Source, network and dropout of a classifier that has not been trained yet.

    Raises:
        InputError: it was built or filled by something else than
            :func:`srcmatters.sources.create_classifier`, so nothing says what it is.
    """
    ran = _origin_settings(network)
    origin = network.origin if isinstance(network, Classifier) else None
    if origin is not None and weights_digest(network) != origin.weights:
        raise InputError(
            f"network_def: its weights are not those of source {origin.source} any more; expected a source"
            " that holds what the training starts from (`srcmatters sources convert`)"
        )
    return ran


def _origin_settings(network: nn.Module) -> Settings:
    origin = network.origin if isinstance(network, Classifier) else None
    if origin is None:
        inner = type(network).__name__
        raise InputError(
            f"network_def: got a {inner}, of which nothing tells the source; expected"
            " srcmatters.sources.create_classifier with a network and a source of `srcmatters sources list`"
        )
    pooling = getattr(network[1], "pooling", None)  # type: ignore[index]
    return {
        "source": source_name(origin.source),
        "network": origin.network,
        "pooling": pooling if isinstance(pooling, str) else None,
        "dropout": origin.dropout,
    }


def retest_settings(
    settings: Mapping[str, Any],
    network: nn.Module,
    cache: StateCache,
    chosen: StudyCases,
    fold: int,
    config: Mapping[str, Any],
) -> Settings:
    """Cases, images, network and device of a test of weights that exist already.

    Args:
        settings: settings as they were asked for.
        network: with the weights in it.
        cache: both states of every case.
        chosen: the cases of the run.
        fold: of the test.
        config: the configuration.

    Raises:
        InputError: see :func:`case_settings`; or nothing tells what the network is.
    """
    cases = case_settings(settings, cache, chosen, fold, config)
    device = device_setting(settings.get("device", "cpu"), network)
    return {**cases, "network": _origin_settings(network)["network"], "device": device}


def keep_network_code(network: nn.Module, folder: Path) -> None:
    """Copy the file that builds a network of one's own into the folder of a run, which is opened with it.

    Raises:
        InputError: it is not the file any more that the network was built with.
    """
    origin = network.origin if isinstance(network, Classifier) else None
    if origin is None or origin.code is None:
        return
    kept = folder / NETWORK_CODE
    shutil.copyfile(origin.code, kept)
    if code_digest(kept) not in origin.network:
        raise InputError(f"network: {origin.code} was changed while it trained, expected the same file")


def training_settings(
    settings: Mapping[str, Any], trainer: SupervisedTrainer, evaluator: Engine, network: nn.Module
) -> Settings:
    """Epochs, batch, optimiser and augmentation of a trainer that is ready to run.

    Args:
        settings: settings as they were asked for.
        trainer: of the run.
        evaluator: the validation engine.
        network: of the run.

    Raises:
        InputError: it trains another network, or at more than one rate.
    """
    trained = getattr(trainer.network, "module", trainer.network)
    if trained is not network:
        raise InputError("train::trainer: it trains another network than network_def, expected that one")
    weights = {id(weight) for weight in network.parameters()}
    groups = trainer.optimizer.param_groups
    if any(id(weight) not in weights for group in groups for weight in group["params"]):
        raise InputError("optimizer: it has weights that are not network_def's, expected those alone")
    ran = _fit_settings(trainer)
    prepare = trainer.prepare_batch
    if isinstance(prepare, PrepareBatch):
        ran["augmentation"] = _augmentation(prepare.augmentation, settings.get("augmentation"))
    else:
        ran["augmentation"] = getattr(prepare, "__name__", type(prepare).__name__)
    stops = [stop.patience for stop in handlers_of(evaluator) if isinstance(stop, EarlyStop)]
    return {**ran, "early_stop_patience": min(stops) if stops else None}


def _fit_settings(trainer: SupervisedTrainer) -> Settings:
    """Epochs, batch, sampling and optimiser; of a learning rate that rises and falls, the highest."""
    groups, loader = trainer.optimizer.param_groups, _loader(trainer)
    weighted = isinstance(loader.sampler, WeightedRandomSampler | DistributedWeightedRandomSampler)
    return {
        "max_epochs": trainer.state.max_epochs,
        "batch_size": loader.batch_size,
        "learning_rate": _one(groups, "max_lr", "initial_lr", "lr"),
        "weight_decay": _one(groups, "weight_decay"),
        "balanced": weighted and not isinstance(loader.sampler, GroupBalancedSampler),
    }


def pretraining_settings(
    settings: Mapping[str, Any],
    trainer: SupervisedTrainer,
    network: nn.Module,
    cache: StateCache,
    config: Mapping[str, Any],
) -> Settings:
    """What a pre-training runs with, before its first epoch.

    Args:
        settings: settings as they were asked for.
        trainer: of the run.
        network: of the run.
        cache: the decoded images.
        config: the configuration.

    Raises:
        InputError: it trains another network, or one of which nothing tells the source.
    """
    if getattr(trainer.network, "module", trainer.network) is not network:
        raise InputError("train::trainer: it trains another network than network_def, expected that one")
    # SimCLR has put its projection in the place of the head: the weights are those of the source but for it.
    began = _origin_settings(network) if settings["objective"] == "simclr" else network_settings(network)
    return {
        **began,
        **_fit_settings(trainer),
        "target": target_name(settings["target"], config, cache),
        "image_size": image_size_of(cache),
        "device": device_setting(settings.get("device", "cpu"), network),
    }


def _loader(trainer: SupervisedTrainer) -> DataLoader[Any]:
    loader = trainer.data_loader
    if not isinstance(loader, DataLoader):
        raise InputError(f"train::dataloader: got a {type(loader).__name__}, expected training.case_loader")
    return loader


def _one(groups: Iterable[Mapping[str, Any]], *names: str) -> float:
    values = {next(float(group[name]) for name in names if name in group) for group in groups}
    if len(values) != 1:
        raise InputError(f"optimizer: {names[-1]} is {sorted(values)}, expected one for all weights")
    return values.pop()


def _augmentation(augmentation: object, setting: object) -> object:
    if isinstance(augmentation, BatchedRandomAffine):
        same = isinstance(setting, dict) and BatchedRandomAffine(**setting).settings == augmentation.settings
        return setting if same else augmentation.settings
    return {} if augmentation is None else type(augmentation).__name__


def handlers_of(engine: Engine) -> list[Any]:
    """The objects whose methods an engine calls."""
    attached = [entry[0] for entries in engine._event_handlers.values() for entry in entries]
    # ignite wraps a handler of a filtered event.
    plain = [getattr(handler, "__wrapped__", handler) for handler in attached]
    return [getattr(handler, "__self__", handler) for handler in plain]


def check_training(trainer: SupervisedTrainer, evaluator: Engine, chosen: StudyCases, working: str) -> None:
    """Refuse a trainer that would see other cases than the record says, or of which nothing would be kept.

    Raises:
        InputError: naming the id of the configuration.
    """
    dataset = _loader(trainer).dataset
    rows = chosen.split.train
    if not (
        isinstance(dataset, CaseDataset)
        and np.array_equal(dataset.rows, rows)
        and np.array_equal(dataset.carries, chosen.carries[rows])
        and _equal(dataset.second, None if chosen.second is None else chosen.second[rows])
    ):
        raise InputError("train::dataset: not the cases of `chosen` in their states, expected those")
    savers = [saver for saver in handlers_of(evaluator) if isinstance(saver, CheckpointSaver)]
    if not any(str(saver.save_dir) == working for saver in savers):
        raise InputError(
            "validate::handlers: no CheckpointSaver writes model.pt into @results.working, so that the"
            " training would keep nothing; expected the bundle's, and further handlers behind it"
        )


def _equal(one: np.ndarray | None, other: np.ndarray | None) -> bool:
    return one is other if one is None or other is None else np.array_equal(one, other)


def device_setting(setting: object, network: nn.Module) -> str:
    """The device as it was asked for, unless the network is on one of another type."""
    there = next(network.parameters()).device
    same = torch.device(str(setting)).type == there.type
    return str(setting) if same else str(there)
