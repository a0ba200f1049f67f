"""Does the check of attributes see a bias that training data had? A biased and a balanced subset, five seeds.

OMP_NUM_THREADS=1 python scripts/benchmarks/attribute_bias.py --radiographs DIR [--nodules DIR]

Frozen features (EfficientNet-Lite0, ImageNet, 224 px), heads of the screen depth. Per seed half of the
patients of a table that is balanced in label, sex and view test; of the others one head is trained on a
subset in which the view goes with the label 6:1 (AP with the positives) and one on a balanced subset of the
same size.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from scipy import stats
from sklearn.model_selection import StratifiedGroupKFold
from torch.nn import functional

from srcmatters.audit.case_images import CaseImages
from srcmatters.cohorts import read_cases
from srcmatters.evaluation.attribute_dependence import Dependence, attribute_dependence
from srcmatters.evaluation.attribute_groups import AttributeGroups, attribute_groups
from srcmatters.evaluation.resampling import resample_patients
from srcmatters.sources import create_classifier
from srcmatters.training.linear_head import fit_head

SEEDS, RATIO, PIXELS = 5, 6, 224


def features_of(images: CaseImages, source: str = "imagenet") -> np.ndarray:
    """(cases, F) before the head; of a volume those of its middle slice."""
    network = create_classifier("efficientnet_lite0", source, seed=0).eval()
    kept: list[torch.Tensor] = []
    last = [module for module in network.modules() if isinstance(module, torch.nn.Linear)][-1]
    last.register_forward_pre_hook(lambda _, inputs: kept.append(inputs[0].detach()))
    with torch.no_grad():
        for row in range(len(images)):
            image = images.grey(row)
            image = image if image.ndim == 3 else image[..., image.shape[-1] // 2]
            network(functional.interpolate(image[None], (PIXELS, PIXELS), mode="bilinear", antialias=True))
    return torch.cat(kept).flatten(1).numpy()


def dependence(scores: np.ndarray, cases: pd.DataFrame, column: str, seed: int) -> Dependence:
    """Of the scores on a column."""
    patients = cases["patient_id"].to_numpy().astype(str)
    groups = attribute_groups(cases[column], patients)
    assert isinstance(groups, AttributeGroups)
    weights = resample_patients(patients, 1000, seed)
    labels = cases["label"].to_numpy()
    return attribute_dependence(scores, labels, patients, groups, weights, seed=seed)


def subset(cases: pd.DataFrame, rows: np.ndarray, ratio: float, seed: int) -> np.ndarray:
    """Rows in which AP is ``ratio`` times as frequent as PA in positives and the reverse in negatives."""
    stream = np.random.default_rng(seed)
    cells = {
        (label, view): stream.permutation(
            rows[(cases["label"].to_numpy()[rows] == label) & (cases["view"].to_numpy()[rows] == view)]
        )
        for label in (0, 1)
        for view in ("AP", "PA")
    }
    total = int(min(map(len, cells.values())) * (1 + 1 / RATIO))  # of one label, the same for either ratio
    many = round(total * ratio / (1 + ratio))
    sizes = {(1, "AP"): many, (0, "PA"): many, (1, "PA"): total - many, (0, "AP"): total - many}
    return np.concatenate([cells[cell][:size] for cell, size in sizes.items()])


def radiographs(folder: Path) -> None:
    """View-biased against balanced training, and sex as the null."""
    cases = read_cases(folder)
    features = features_of(CaseImages(cases))
    labels, patients = cases["label"].to_numpy(), cases["patient_id"].to_numpy().astype(str)
    effects: dict[tuple[str, str], list[float]] = {}
    for seed in range(SEEDS):
        halves = StratifiedGroupKFold(2, shuffle=True, random_state=seed)
        strata = cases["label"].astype(str) + cases["view"]
        train, test = next(halves.split(features, strata, patients))
        for name, ratio in (("biased", RATIO), ("balanced", 1)):
            rows = subset(cases, train, ratio, seed)
            head = fit_head(features[rows], labels[rows], patients[rows], seed)
            scores = features[test] @ head.weight + head.bias
            for column in ("view", "sex"):
                one = dependence(scores, cases.iloc[test].reset_index(drop=True), column, seed)
                effect = one.effect
                print(
                    f"seed {seed} {name:8} n {len(rows)} {column}: {effect.group} against {one.against}"
                    f" {effect.value:+.2f} [{effect.low:+.2f}, {effect.high:+.2f}] SD, p = {one.p_value:.4f}"
                )
                effects.setdefault((name, column), []).append(effect.value)
    for column in ("view", "sex"):
        apart = np.array(effects["biased", column]) - np.array(effects["balanced", column])
        p_value = stats.ttest_1samp(apart, 0).pvalue
        means = {name: np.mean(effects[name, column]) for name in ("biased", "balanced")}
        spread = f"{apart.mean():+.2f} ± {apart.std(ddof=1):.2f}, p = {p_value:.5f}"
        print(f"{column}: {means}, biased - balanced {spread}")


def nodules(folder: Path) -> None:
    """Contrast agent and malignancy, out-of-fold scores of five folds by patient."""
    cases = read_cases(folder)
    features = features_of(CaseImages(cases, "ct", "display"))
    labels, patients = cases["label"].to_numpy(), cases["patient_id"].to_numpy().astype(str)
    for seed in range(SEEDS):
        scores = np.empty(len(cases))
        folds = StratifiedGroupKFold(5, shuffle=True, random_state=seed)
        for train, test in folds.split(features, labels, patients):
            head = fit_head(features[train], labels[train], patients[train], seed)
            scores[test] = features[test] @ head.weight + head.bias
        one = dependence(scores, cases, "contrast", seed)
        effect = one.effect
        print(
            f"seed {seed} contrast: {effect.group} against {one.against} {effect.value:+.2f}"
            f" [{effect.low:+.2f}, {effect.high:+.2f}] SD, p = {one.p_value:.4f}, {one.movable} patients"
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--radiographs", type=Path, required=True)
    parser.add_argument("--nodules", type=Path)
    options = parser.parse_args()
    radiographs(options.radiographs)
    if options.nodules:
        nodules(options.nodules)
