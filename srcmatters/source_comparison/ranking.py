"""Every source side by side: what it knows, what it leans on, where the shortcut lives, and a rank."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from srcmatters.evaluation.leans import LEAST_CLEAN_AUC
from srcmatters.evaluation.linear_probe import linear_probe
from srcmatters.source_comparison.cka import cka, cka_standard_errors
from srcmatters.source_comparison.comparison import represent
from srcmatters.source_comparison.frozen_lean import (
    Estimated,
    drawn_state,
    frozen_lean,
    robustness_index,
)
from srcmatters.sources import create_classifier
from srcmatters.sources.stages import FEATURES

#: Columns of a case table that are asked for as the confounders are, where they have two values or more.
ATTRIBUTES = ("sex", "view", "manufacturer", "site")
_FEWEST = 20  # cases of the rarer value


@dataclass(frozen=True)
class SourceRanking:
    """What `srcmatters sources rank` finds.

    Args:
        sources: source, network, rank (empty for one that does not know the target), mean_lean, clean_auc,
            low, high, cka (to ImageNet, of the features), cka_error.
        leans: source, confounder, lean, low, high: learned at p_art 1.
        robustness: source, against (a confounder or an attribute), index, low, high.
        stages: source, stage, of ("label", a confounder or an attribute), auc, low, high.
    """

    sources: pd.DataFrame
    leans: pd.DataFrame
    robustness: pd.DataFrame
    stages: pd.DataFrame


def rank_sources(
    sources: Sequence[tuple[str, str, str]],
    clean: torch.Tensor,
    confounded: Mapping[str, torch.Tensor],
    cases: pd.DataFrame,
    reference: str = "imagenet",
    seed: int = 0,
    batch_size: int = 32,
    device: torch.device | str = "cpu",
) -> SourceRanking:
    """Measure each source on the same images.

    Args:
        sources: name in the tables, source and network of each.
        clean: (n, C, H, W) in [0, 1], one per case.
        confounded: by confounder the same images with it.
        cases: case table.
        reference: source to whose features CKA is taken; without it there is none.
        seed: of random initialisation, folds and resampling.
        batch_size: images per forward pass.
        device: where the networks compute.

    Raises:
        InputError: a source that does not exist, or too few patients.
    """
    made = [(name, network, create_classifier(network, one, seed=seed)) for name, one, network in sources]
    rows: dict[str, list[dict[str, Any]]] = {"leans": [], "robustness": [], "stages": []}
    known, kernels = [], {}
    for name, network, classifier in tqdm(made, desc="sources", unit="source", leave=False, disable=None):
        by_stage = represent(classifier, network, clean, batch_size, device, name)
        pooled = {stage: one.pooled for stage, one in by_stage.items()}
        moved = {
            confounder: {
                stage: one.pooled
                for stage, one in represent(classifier, network, images, batch_size, device, name).items()
            }
            for confounder, images in confounded.items()
        }
        kernels[name] = by_stage[FEATURES].kernel
        of_head = {confounder: stages[FEATURES] for confounder, stages in moved.items()}
        lean = frozen_lean(pooled[FEATURES], of_head, cases, seed)
        known.append({"source": name, "network": network, **_as_row("clean_auc", lean.clean)})
        rows["leans"] += [
            {"source": name, "confounder": confounder, **_as_row("lean", one)}
            for confounder, one in lean.learned.items()
        ]
        for against, stages, other in _questions(pooled, moved, cases, seed):
            rows["stages"] += _stage_rows(name, against, stages, other, cases, seed)
            if against != "label":
                rows["robustness"].append(
                    {"source": name, "against": against}
                    | _as_row("index", _index(stages[FEATURES], other, cases, seed))
                )
    tables = {table: pd.DataFrame(entries) for table, entries in rows.items()}
    alike = _alike(kernels, reference, cases["patient_id"].astype(str).tolist(), seed)
    return SourceRanking(_ranked(pd.DataFrame(known), tables["leans"], alike), **tables)


def _as_row(name: str, estimated: Estimated) -> dict[str, float]:
    return {name: estimated.value, "low": estimated.low, "high": estimated.high}


Stages = Mapping[str, np.ndarray]


def _questions(
    clean: Stages, moved: Mapping[str, Stages], cases: pd.DataFrame, seed: int
) -> Iterator[tuple[str, Stages, np.ndarray]]:
    """Name, features by stage, and the property that is asked for, (cases,)."""
    yield "label", clean, cases["label"].to_numpy()
    carries = drawn_state(cases, seed)
    for confounder, stages in moved.items():
        mixed = {name: np.where(carries[:, None], stages[name], clean[name]) for name in clean}
        yield confounder, mixed, carries.astype(int)
    for name in ATTRIBUTES:
        if name not in cases:
            continue
        counts = cases[name].value_counts()
        if len(counts) > 1 and counts.iloc[1] >= _FEWEST and cases[name].notna().all():
            yield name, clean, (cases[name] == counts.index[0]).to_numpy().astype(int)


def _stage_rows(
    source: str, of: str, stages: Stages, target: np.ndarray, cases: pd.DataFrame, seed: int
) -> list[dict[str, Any]]:
    patients = cases["patient_id"].astype(str).tolist()
    probes = {stage: linear_probe(one, target, patients, seed, tuned=False) for stage, one in stages.items()}
    return [
        {"source": source, "stage": stage, "of": of, "auc": probe.auc, "low": probe.low, "high": probe.high}
        for stage, probe in probes.items()
    ]


def _index(features: np.ndarray, other: np.ndarray, cases: pd.DataFrame, seed: int) -> Estimated:
    labels, patients = cases["label"].to_numpy(), cases["patient_id"].astype(str).to_numpy()
    return robustness_index(features, labels, other, patients, seed)


def _alike(
    kernels: Mapping[str, np.ndarray], reference: str, patients: Sequence[str], seed: int
) -> dict[str, tuple[float, float]]:
    if reference not in kernels:
        return {}
    ours = kernels[reference]
    return {
        name: (
            float(cka([one], [ours])[0, 0]),
            float(cka_standard_errors([one], [ours], patients, seed=seed)[0]),
        )
        for name, one in kernels.items()
        if name != reference
    }


def _ranked(
    known: pd.DataFrame, leans: pd.DataFrame, alike: Mapping[str, tuple[float, float]]
) -> pd.DataFrame:
    """The least lean first; a source that does not know the target loses nothing and has no rank."""
    table = known.copy()
    mean = leans.groupby("source")["lean"].mean() if len(leans) else pd.Series(dtype=float)
    table["mean_lean"] = table["source"].map(mean)
    table["cka"] = [alike.get(name, (np.nan, np.nan))[0] for name in table["source"]]
    table["cka_error"] = [alike.get(name, (np.nan, np.nan))[1] for name in table["source"]]
    fit = table["low"] > LEAST_CLEAN_AUC
    table["rank"] = table["mean_lean"].where(fit).rank(method="min").astype("Int64")
    return table.sort_values(["rank", "source"], na_position="last", kind="stable", ignore_index=True)
