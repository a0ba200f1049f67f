"""How often is an audit wrong about a network? Many small networks, whose true losses are known.

    OMP_NUM_THREADS=1 python scripts/benchmarks/audit_error_rates.py [--networks N] [--json FILE] [--keep DIR]

Phantom radiographs make a population, on which the loss under reversal of every network is its true one.
The networks are classifiers of several kinds, fitted on clean phantoms of other patients to the features of
frozen backbones of several sources, with other sample sizes, shares of the features, noise as augmentation,
and seeds. Of each, one audit of patients drawn from the population is made. Among the networks whose true
losses all lie within the margin ``false_leans`` counts those that any confounder is said to LEAN; among
sentences on a loss of twice the margin and more ``power`` counts those that say so.

An interrupted run with ``--keep`` continues where it was: the features, then the outcomes of every network.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy.stats import binomtest
from sklearn.base import ClassifierMixin
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from srcmatters.audit.audit_run import audit_scores
from srcmatters.audit.case_images import CaseImages, inputs_of_states
from srcmatters.audit.check import AuditPlan
from srcmatters.audit.contract import InputContract
from srcmatters.audit.doses import Dosed, available_doses
from srcmatters.audit.state_scores import State, StateScores
from srcmatters.cohorts import read_cases
from srcmatters.cohorts.phantom_cohort import write_phantom_cohort
from srcmatters.evaluation.outcomes import Outcome
from srcmatters.sources import create_classifier

#: Factor on the default strength: true losses should lie on both sides of the margin.
DOSES = {"tag": 1.0, "noise": 1.0, "jpeg": 1.0, "letterbox": 1 / 3, "pacemaker": 1 / 3, "exposure": 1 / 3}
CONFOUNDERS = tuple(DOSES)
PIXELS, DIFFICULTY, MARGIN = 96, 0.4, 0.05


def features(
    images: CaseImages, backbones: Sequence[nn.Module], doses: Mapping[str, float]
) -> list[np.ndarray]:
    """(states, cases, F) of each backbone: clean, then every confounder."""
    states: list[Dosed | None] = [None]
    for name, dose in doses.items():
        present, _ = available_doses(name, {}, 0)
        states.append(next(one for one in present if one.dose == dose))
    contract = InputContract(size=(PIXELS, PIXELS))
    kept: list[list[np.ndarray]] = [[] for _ in backbones]
    for inputs, _ in inputs_of_states(images, range(len(images)), contract, states):
        batch = torch.stack(inputs)
        for place, backbone in enumerate(backbones):
            with torch.inference_mode():
                kept[place].append(backbone(batch).numpy())
    return [np.stack(one, axis=1) for one in kept]


def backbone(source: str) -> nn.Module:
    """EfficientNet-Lite0 without its last layer."""
    network = create_classifier("efficientnet_lite0", source, seed=0).eval()
    names = [name for name, module in network.named_modules() if isinstance(module, nn.Linear)]
    parent = network.get_submodule(names[-1].rpartition(".")[0])
    setattr(parent, names[-1].rpartition(".")[2], nn.Identity())
    return network


def classifier(stream: np.random.Generator) -> ClassifierMixin:
    """A classifier of a kind and strength that the stream decides."""
    kind, seed = stream.integers(4), int(stream.integers(2**31))
    if kind == 0:
        return LogisticRegression(C=10 ** stream.uniform(-4, 0), max_iter=300)
    if kind == 1:
        return ExtraTreesClassifier(100, min_samples_leaf=int(stream.integers(1, 8)), random_state=seed)
    layers = (int(stream.integers(4, 33)),) * int(kind - 1)
    return MLPClassifier(layers, alpha=10 ** stream.uniform(-2, 2), max_iter=400, random_state=seed)


def scores_of(
    training: np.ndarray, labels: np.ndarray, population: np.ndarray, stream: np.random.Generator
) -> np.ndarray:
    """(states, cases) log-odds of a new classifier in the population.

    Args:
        training: (cases, F) clean features.
        labels: (cases,) of the training.
        population: (states, cases, F).
        stream: decides everything.
    """
    rows = stream.permutation(len(labels))[: int(stream.integers(100, len(labels)))]
    columns = stream.permutation(training.shape[1])[: int(training.shape[1] * stream.uniform(0.1, 1))]
    inputs = training[rows][:, columns]
    inputs = inputs + stream.choice([0.0, 0.3]) * inputs.std(axis=0) * stream.normal(size=inputs.shape)
    model = make_pipeline(StandardScaler(), classifier(stream)).fit(inputs, labels[rows])
    states, cases = population.shape[:2]
    shares = model.predict_proba(population[:, :, columns].reshape(states * cases, -1))[:, 1]
    shares = np.clip(shares, 1e-6, 1 - 1e-6)
    return np.log(shares / (1 - shares)).reshape(states, cases)


def true_losses(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(confounders,) AUC where all positives carry it less AUC where all negatives do."""
    clean, positive = scores[0], labels == 1
    return np.array(
        [
            roc_auc_score(labels, np.where(positive, one, clean))
            - roc_auc_score(labels, np.where(positive, clean, one))
            for one in scores[1:]
        ]
    )


def audited(scores: np.ndarray, labels: np.ndarray, size: int, stream: np.random.Generator) -> dict[str, Any]:
    """Outcome by confounder of one audit: patients drawn from the population with replacement, half of each
    label.
    """
    rows = np.concatenate([stream.choice(np.flatnonzero(labels == one), size // 2) for one in (0, 1)])
    cases = pd.DataFrame({"label": labels[rows]})
    cases["case_id"] = [f"c{place}" for place in range(len(rows))]
    cases["patient_id"] = cases["case_id"]
    drawn = {State(name): scores[place, rows] for place, name in enumerate(CONFOUNDERS, start=1)}
    (output,) = audit_scores(
        [StateScores(cases, scores[0, rows], drawn)], {"name": "n", "kind": "scores"}, AuditPlan(MARGIN)
    ).outputs
    return {one.subject: one.outcome for one in output.verdicts}


def share(successes: int, trials: int) -> dict[str, float]:
    """With its Clopper-Pearson interval."""
    if not trials:
        return {"share": float("nan"), "low": float("nan"), "high": float("nan"), "of": 0}
    low, high = binomtest(successes, trials).proportion_ci(method="exact")
    return {"share": successes / trials, "low": float(low), "high": float(high), "of": trials}


def summary(rows: pd.DataFrame, size: int) -> dict[str, dict[str, float]]:
    """Shares of audits of one size."""
    rows = rows[rows["size"] == size]
    leans = rows["outcome"] == Outcome.LEANS.name
    innocent = rows.groupby("network")["true"].transform(lambda true: true.abs().max()) <= MARGIN
    by_network = leans[innocent].groupby(rows["network"]).any()
    small, large = rows["true"].abs() <= MARGIN, rows["true"].abs() >= 2 * MARGIN
    within = rows["outcome"] == Outcome.WITHIN_MARGIN.name
    return {
        f"innocent_networks_that_lean_{size}": share(int(by_network.sum()), len(by_network)),
        f"false_leans_{size}": share(int((leans & small).sum()), int(small.sum())),
        f"false_within_margin_{size}": share(int((within & ~small).sum()), int((~small).sum())),
        f"power_{size}": share(int((leans & large).sum()), int(large.sum())),
    }


def features_of_phantoms(sources: Sequence[str], population: int, keep: Path) -> dict[str, np.ndarray]:
    """``<part>_<source's place>``, ``<part>_labels`` of the parts training (clean) and population."""
    file = keep / "features.npz"
    identity = np.array([*sources, str(population)])
    if file.is_file():
        with np.load(file) as kept:
            arrays = dict(kept)
        if np.array_equal(arrays.pop("identity"), identity):
            return arrays
        raise SystemExit(f"{file}: of other sources or another --population; give another --keep")
    backbones = [backbone(one) for one in sources]
    arrays = {}
    for part, patients, doses in (("training", 600, {}), ("population", population, DOSES)):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name) / "phantoms"
            seed = 1 if part == "training" else 2
            write_phantom_cohort(folder, patients, seed=seed, image_size=PIXELS, difficulty=DIFFICULTY)
            images = CaseImages(read_cases(folder))
            for place, one in enumerate(features(images, backbones, doses)):
                arrays[f"{part}_{place}"] = one
            arrays[f"{part}_labels"] = images.cases["label"].to_numpy()
    keep.mkdir(parents=True, exist_ok=True)
    unfinished = file.with_name("features.part.npz")
    np.savez(unfinished, identity=identity, **arrays)
    unfinished.replace(file)
    return arrays


def rows_of_network(
    network: int, sources: Sequence[str], arrays: Mapping[str, np.ndarray]
) -> list[dict[str, Any]]:
    """One row per size of the audit and confounder."""
    stream = np.random.default_rng([3, network])
    place, labels = network % len(sources), arrays["population_labels"]
    scores = scores_of(
        arrays[f"training_{place}"][0], arrays["training_labels"], arrays[f"population_{place}"], stream
    )
    losses, clean = true_losses(scores, labels), roc_auc_score(labels, scores[0])
    rows = []
    for size in (92, 440):
        outcomes = audited(scores, labels, size, stream)
        rows += [
            {"network": network, "source": Path(sources[place]).stem, "clean": clean, "size": size}
            | {"confounder": one, "true": true, "outcome": outcomes[one].name}
            for one, true in zip(CONFOUNDERS, losses, strict=True)
        ]
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", type=int, default=240)
    parser.add_argument("--population", type=int, default=1000)
    parser.add_argument("--source", action="append", help="more sources, as in a study")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--keep", type=Path, help="folder, to continue an interrupted run")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    sources = ["imagenet", "random", *(arguments.source or [])]
    with tempfile.TemporaryDirectory() as name:
        keep = arguments.keep or Path(name)
        arrays = features_of_phantoms(sources, arguments.population, keep)
        outcomes = keep / "outcomes.csv"
        done = set(pd.read_csv(outcomes)["network"]) if outcomes.is_file() else set()
        for network in range(arguments.networks):
            if network not in done:
                rows = pd.DataFrame(rows_of_network(network, sources, arrays))
                rows.to_csv(outcomes, mode="a", header=not outcomes.is_file(), index=False)
        table = pd.read_csv(outcomes)
    result = summary(table, 92) | summary(table, 440)
    print(table.groupby(["source", "confounder"])["true"].describe()[["min", "50%", "max"]].round(3))
    for key, value in result.items():
        print(f"{key:36} {value['share']:.3f} [{value['low']:.3f}, {value['high']:.3f}] of {value['of']}")
    if arguments.json:
        flat = {f"{key}_{name}": one for key, value in result.items() for name, one in value.items()}
        arguments.json.write_text(json.dumps(flat) + "\n")


if __name__ == "__main__":
    main()
