"""How much of a network may move away from its source: the head, all but some stages, or everything."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from srcmatters.cohorts.study_cases import StudyCases
from srcmatters.errors import InputError, did_you_mean
from srcmatters.preprocessing.feature_cache import head_of
from srcmatters.preprocessing.state_cache import StateCache
from srcmatters.sources import Classifier
from srcmatters.sources.constructor import is_own
from srcmatters.sources.stages import FEATURES, Stage, own_stages, stages
from srcmatters.training.datasets import CaseDataset, case_loader
from srcmatters.training.handlers import PrepareBatch
from srcmatters.training.linear_head import LinearHead, fit_head
from srcmatters.training.settings import ADAPTATIONS, FREEZE

#: Of an optimiser that holds other weights than any adaptation.
OWN = "own"


def trained_parameters(network: nn.Module, adaptation: str = "full") -> list[nn.Parameter]:
    """The weights that an adaptation moves; the others are frozen, their normalisation layers with them.

    Args:
        network: of :func:`srcmatters.sources.create_classifier`, perhaps spread over processes; what is not
            moved gets no gradient, and stays in evaluation mode whatever the trainer says.
        adaptation: "full", "linear", "lp_ft", or "freeze_N": all but the first N stages, or the stages up to
            one named, as in freeze_3 or freeze_layer2.

    Raises:
        InputError: an unknown adaptation or stage, or one that freezes weights of a network that is spread
            over processes.
    """
    if adaptation in ("full", "lp_ft"):
        return list(network.parameters())
    if isinstance(network, DistributedDataParallel):
        raise InputError(f"adaptation: {adaptation} trains on one device, expected full or lp_ft on several")
    frozen = _frozen(network, adaptation)
    moved = [(name, weight) for name, weight in network.named_parameters() if name not in frozen]
    for name, weight in network.named_parameters():
        weight.requires_grad_(name not in frozen)
    _keep_in_evaluation(network, [name for name, _ in moved])
    return [weight for _, weight in moved]


def adaptation_of(network: nn.Module, moved: Iterable[nn.Parameter], setting: str) -> str:
    """The adaptation as it was asked for, if an optimiser holds the weights that it moves; else "own"."""
    held = {id(weight) for weight in moved}
    frozen = set() if setting in ("full", "lp_ft") else _frozen(network, setting)
    expected = {id(weight) for name, weight in network.named_parameters() if name not in frozen}
    return setting if held == expected else OWN


def moved_share(network: nn.Module, moved: Iterable[nn.Parameter]) -> float:
    """Share of a network's weights that an optimiser holds, 0..1."""
    held = {id(weight): weight.numel() for weight in moved}
    return sum(held.values()) / sum(weight.numel() for weight in network.parameters())


def linear_head(network: nn.Module, cache: StateCache, chosen: StudyCases, seed: int) -> LinearHead:
    """Fit the head of the screen depth on the training cases, each in its state.

    Args:
        network: of :func:`srcmatters.sources.create_classifier`, on its device; put into evaluation mode.
        cache: both states of every case.
        chosen: who trains and carries the confounder.
        seed: of the inner folds.

    Raises:
        InputError: too few patients, see :func:`srcmatters.training.linear_head.fit_head`.
    """
    rows = chosen.split.train
    features = _features(network, CaseDataset(cache, rows, chosen.carries, second=chosen.second))
    cases = cache.cases.iloc[rows]
    return fit_head(features, cases["label"].to_numpy(), cases["patient_id"].to_numpy(), seed)


@torch.inference_mode()
def _features(network: nn.Module, dataset: CaseDataset) -> np.ndarray:
    """(cases, F) float32 inputs of the head."""
    network.eval()
    device, prepare = next(network.parameters()).device, PrepareBatch()
    seen: list[torch.Tensor] = []
    hook = head_of(network, _name(network)).register_forward_pre_hook(
        lambda _, inputs: seen.append(inputs[0])
    )
    try:
        for batch in case_loader(dataset, 16):
            network(prepare(batch, device)[0])
    finally:
        hook.remove()
    return torch.cat([one.float().cpu() for one in seen]).numpy()


def _name(network: nn.Module) -> str:
    origin = network.origin if isinstance(network, Classifier) else None
    if origin is None:
        raise InputError(
            "adaptation: the network does not say what it is, expected sources.create_classifier's"
        )
    return origin.network


def _frozen(network: nn.Module, adaptation: str) -> set[str]:
    """Names of the weights that stay as they are."""
    head = head_of(network, _name(network))
    of_head = {id(weight) for weight in head.parameters()}
    backbone = [name for name, weight in network.named_parameters() if id(weight) not in of_head]
    if adaptation == "linear":
        return set(backbone)
    match = FREEZE.fullmatch(adaptation)
    if match is None:
        known = [*ADAPTATIONS, "freeze_1"]
        raise InputError(f"adaptation: {adaptation!r} is unknown{did_you_mean(adaptation, known)}")
    stage = _stage(network, match["stages"])
    # Parts are registered in the order in which an image meets them.
    parts, module = [name for name, _ in network.named_modules()], f"1.{stage.module}"
    end = parts.index(module)
    if stage.side == "output":
        end = max(at for at, name in enumerate(parts) if f"{name}.".startswith(f"{module}.")) + 1
    before = set(parts[:end])
    return {name for name in backbone if name.rpartition(".")[0] in before}


def _stage(network: nn.Module, words: str) -> Stage:
    name = _name(network)
    all_stages = own_stages(network[1], str(network.head_path)) if is_own(name) else stages(name)  # type: ignore[index]
    known = [stage for stage in all_stages if stage.name != FEATURES]
    if words.isdigit() and 1 <= int(words) <= len(known):
        return known[int(words) - 1]
    by_name = {stage.name: stage for stage in known}
    if words not in by_name:
        hint = did_you_mean(words, list(by_name))
        raise InputError(
            f"adaptation: no stage {words!r}, expected 1 to {len(known)} or a stage's name{hint}"
        )
    return by_name[words]


def _keep_in_evaluation(network: nn.Module, moved: list[str]) -> None:
    """Parts that hold weights of which none moves normalise and drop nothing, though the trainer trains."""

    def evaluate(part: nn.Module, _: object) -> None:
        part.eval()

    for name, part in network.named_modules():
        weights = [f"{name}.{own}" for own, _ in part.named_parameters()]
        if name and weights and not set(weights) & set(moved):
            part.register_forward_pre_hook(evaluate)
