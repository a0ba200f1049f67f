"""How alike are sources on the images of a target, and how much does each tell of its label?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
import torch
from sklearn.model_selection import train_test_split
from torch import nn
from tqdm import tqdm

from srcmatters.errors import InputError
from srcmatters.evaluation.linear_probe import LinearProbe, linear_probe, probe_difference
from srcmatters.source_comparison.cka import cka, cka_standard_errors, similarity_kernel
from srcmatters.sources import create_classifier
from srcmatters.sources.stages import recorded_stages, stages

#: Activations are averaged over this many parts of the image a side before sources are compared.
GRID = 4


@dataclass(frozen=True)
class SourceComparison:
    """What the stages of one network, from several sources, make of the same images.

    Args:
        stages: names of the stages, from input to output.
        sources: names of the sources.
        similarity: source_a, stage_a, source_b, stage_b, cka; every stage of a with every stage of b, each
            pair of sources once. standard_error where the stage is the same, NaN elsewhere.
        probes: source, stage, features (how many), auc, low, high.
        differences: source_a, source_b, stage, auc_difference (a - b), low, high.
    """

    stages: tuple[str, ...]
    sources: tuple[str, ...]
    similarity: pd.DataFrame
    probes: pd.DataFrame
    differences: pd.DataFrame

    def same_stage(self) -> pd.DataFrame:
        """One row per pair of sources and stage: cka and standard_error beside the columns of differences."""
        same = self.similarity[self.similarity["stage_a"] == self.similarity["stage_b"]]
        same = same.rename(columns={"stage_a": "stage"}).drop(columns="stage_b")
        return same.merge(self.differences, on=["source_a", "source_b", "stage"], sort=False)


@dataclass(frozen=True)
class Representation:
    """One stage of one source.

    Args:
        kernel: (n, n), see :func:`srcmatters.source_comparison.cka.similarity_kernel`.
        pooled: (n, channels) averages over the image.
    """

    kernel: np.ndarray
    pooled: np.ndarray


def draw_cases(cases: pd.DataFrame, most: int | None, seed: int = 0) -> pd.DataFrame:
    """The case table, or a draw from it with the labels in the same proportion.

    Raises:
        InputError: one label only.
    """
    if cases["label"].nunique() < 2:
        only = cases["label"].iloc[0]
        raise InputError(f"cases: every label is {only}, expected both 0 and 1")
    if most is None or len(cases) <= most:
        return cases
    rows, _ = train_test_split(
        np.arange(len(cases)), train_size=most, stratify=cases["label"], random_state=seed
    )
    return cases.iloc[np.sort(rows)].reset_index(drop=True)


def represent(
    classifier: nn.Sequential,
    network: str,
    images: torch.Tensor,
    batch_size: int = 32,
    device: torch.device | str = "cpu",
    name: str = "",
) -> dict[str, Representation]:
    """Pass images through a frozen network and keep what each stage makes of them.

    For the similarity the activations are averaged over a 4 x 4 grid and flattened: an image is one data
    point, so that data points are independent (but for patients), where things are counts, and stages of
    different resolution can be compared. (The authors took every pixel of the activations as a data point and
    64 channels by chance, with mean CCA.) The probe gets averages over the whole image, as a head does.

    Args:
        classifier: input normalisation and network, see :func:`srcmatters.sources.create_classifier`.
        network: its name.
        images: (n, C, H, W) in [0, 1].
        batch_size: images per forward pass.
        device: where to compute.
        name: shown beside the progress.

    Returns:
        by name of the stage.
    """
    backbone = classifier[-1]
    classifier = classifier.to(device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
    parts: dict[str, list[torch.Tensor]] = {stage.name: [] for stage in stages(network)}
    batches = tqdm(
        images.split(batch_size), desc=f"features of {name}", unit="batch", leave=False, disable=None
    )
    with torch.inference_mode(), recorded_stages(backbone, network, GRID) as activations:
        for batch in batches:
            classifier(batch.to(device, memory_format=torch.channels_last))
            for stage, batches_of_stage in parts.items():
                batches_of_stage.append(activations[stage])
    return {stage: _representation(torch.cat(batches_of_stage)) for stage, batches_of_stage in parts.items()}


def _representation(activations: torch.Tensor) -> Representation:
    values = activations.numpy()
    pooled = values.reshape(*values.shape[:2], -1).mean(2)
    return Representation(similarity_kernel(values), pooled)


def compare_sources(
    sources: dict[str, str],
    network: str,
    images: torch.Tensor,
    cases: pd.DataFrame,
    seed: int = 0,
    batch_size: int = 32,
    device: torch.device | str = "cpu",
) -> SourceComparison:
    """Compare what one network makes of a target's images from each of several sources.

    Args:
        sources: for each name the source, see :func:`srcmatters.sources.load_source`.
        network: name of the network.
        images: (n, C, H, W) in [0, 1], one per row of ``cases``.
        cases: case table.
        seed: seed of random initialisation, folds and resampling.
        batch_size: images per forward pass.
        device: where the networks compute.

    Raises:
        InputError: a source that does not exist or is one of another network, or too few patients.
    """
    # All of them first: a source that does not exist is said before anything is computed.
    classifiers = {name: create_classifier(network, source, seed=seed) for name, source in sources.items()}
    representations = {
        name: represent(classifier, network, images, batch_size, device, name)
        for name, classifier in classifiers.items()
    }
    patients = cases["patient_id"].astype(str).tolist()
    probes = _probes(representations, cases["label"].to_numpy(), patients, seed)
    return SourceComparison(
        tuple(stage.name for stage in stages(network)),
        tuple(sources),
        _similarities(representations, patients, seed),
        _probe_table(representations, probes),
        _differences(probes, list(sources)),
    )


Representations = dict[str, dict[str, Representation]]
Probes = dict[tuple[str, str], LinearProbe]


def _probes(
    representations: Representations, labels: np.ndarray, patients: Sequence[str], seed: int
) -> Probes:
    """By source and stage."""
    pooled = {
        (source, stage): representation.pooled
        for source, by_stage in representations.items()
        for stage, representation in by_stage.items()
    }
    progress = tqdm(pooled.items(), desc="probes", unit="probe", leave=False, disable=None)
    return {place: linear_probe(features, labels, patients, seed) for place, features in progress}


def _probe_table(representations: Representations, probes: Probes) -> pd.DataFrame:
    rows = [
        {
            "source": source,
            "stage": stage,
            "features": representations[source][stage].pooled.shape[1],
            "auc": probe.auc,
            "low": probe.low,
            "high": probe.high,
        }
        for (source, stage), probe in probes.items()
    ]
    return pd.DataFrame(rows)


def _differences(probes: Probes, sources: Sequence[str]) -> pd.DataFrame:
    rows: list[dict[str, Any]] = []
    for one, other in combinations(sources, 2):
        for stage in [stage for source, stage in probes if source == one]:
            difference = probe_difference(probes[one, stage], probes[other, stage])
            places = {"source_a": one, "source_b": other, "stage": stage}
            bounds = {"low": difference.low, "high": difference.high}
            rows.append({**places, "auc_difference": difference.auc, **bounds})
    return pd.DataFrame(rows)


def _similarities(representations: Representations, patients: Sequence[str], seed: int) -> pd.DataFrame:
    kernels = {
        source: [part.kernel for part in by_stage.values()] for source, by_stage in representations.items()
    }
    names = list(next(iter(representations.values())))
    tables = []
    for one, other in combinations(representations, 2):
        values = cka(kernels[one], kernels[other])
        errors = np.full_like(values, np.nan)
        np.fill_diagonal(errors, cka_standard_errors(kernels[one], kernels[other], patients, seed=seed))
        table = pd.DataFrame(
            {
                "source_a": one,
                "stage_a": np.repeat(names, len(names)),
                "source_b": other,
                "stage_b": np.tile(names, len(names)),
                "cka": values.ravel(),
                "standard_error": errors.ravel(),
            }
        )
        tables.append(table)
    return pd.concat(tables, ignore_index=True)
