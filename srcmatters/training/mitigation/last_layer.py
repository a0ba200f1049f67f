"""The last layer of a finished network, fitted again on a group-balanced part of the training cases."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from srcmatters.cohorts.study_cases import StudyCases
from srcmatters.preprocessing.feature_cache import head_of
from srcmatters.preprocessing.state_cache import StateCache
from srcmatters.training.datasets import states_of
from srcmatters.training.mitigation.deep_feature_reweighting import fit_dfr
from srcmatters.training.mitigation.training_cases import TrainingCases

_BATCH = 32


def refit_last_layer(
    network: nn.Module, name: str, cache: StateCache, chosen: StudyCases, seed: int = 0
) -> None:
    """Replace the head of a classifier by that of deep feature reweighting, on training and validation cases.

    As :func:`srcmatters.training.mitigation.deep_feature_reweighting.fit_dfr`; no test case plays a part. The
    network has trained on most of these cases, as in the authors' variant "DFR on a subset of the training
    data": where it fits them perfectly, its features may hide what it leans on.

    Needs to know: who carries the confounder among them. Cost: one forward pass of each, and small fits.

    Args:
        network: of :func:`srcmatters.sources.create_classifier`; its head is changed.
        name: name of the network.
        cache: both states of every case.
        chosen: the cases of the run.
        seed: seed of the draws.

    Raises:
        InputError: a combination of label and carrier without a case.

    Source: Kirichenko, Izmailov and Wilson 2023.
    """
    rows = np.sort(np.concatenate([chosen.split.train, chosen.split.validation]))
    cases = cache.cases.iloc[rows]
    second = None if chosen.second is None else chosen.second[rows]
    _, confounded = states_of(chosen.carries[rows], second, cache)
    training = TrainingCases(
        _features(network, name, cache, rows, np.maximum(confounded - 1, 0)),
        _features(network, name, cache, rows, confounded),
        cases["label"].to_numpy(),
        chosen.carries[rows],
        cases["patient_id"].to_numpy(),
        cases["case_id"].to_numpy(dtype=str),
        seed,
        cache.states > 1,
    )
    fit_dfr(training).put_into(head_of(network, name))


@torch.inference_mode()
def _features(
    network: nn.Module, name: str, cache: StateCache, rows: np.ndarray, states: np.ndarray
) -> np.ndarray:
    """(rows, F) input of the head, of each case in the state of that number."""
    seen: list[torch.Tensor] = []
    device = next(network.parameters()).device
    hook = head_of(network, name).register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].cpu()))
    network.eval()
    try:
        for part in np.array_split(np.arange(len(rows)), max(len(rows) // _BATCH, 1)):
            images = cache.images[torch.from_numpy(states[part]), torch.from_numpy(rows[part])]
            network(images.to(device))
    finally:
        hook.remove()
    return torch.cat(seen).float().numpy()
