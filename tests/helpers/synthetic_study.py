"""Studies whose truth is known: runs with drawn scores instead of trained networks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product

import numpy as np
import pandas as pd
from scipy.special import expit

from srcmatters.runs.finished_runs import StudyResults


def draw_study(
    effects: Mapping[str, float],
    p_arts: Sequence[float] = (0.0, 1.0),
    folds: int = 5,
    seeds: int = 1,
    cases: int = 88,
    images_of_patient: float = 1.35,
    separation: float | Mapping[str, float] = 1.5,
    training_spread: float = 0.0,
    confounders: Sequence[str] = ("tag",),
    seed: int = 0,
) -> StudyResults:
    """A cross-validated study.

    A score is the label, plus what makes the image of this patient hard, which all sources share, plus noise
    of this network. The confounder adds ``effects[source] * p_art`` to the log-odds.

    Args:
        effects: sources, and what the confounder does to their log-odds at p_art 1.
        cases: test cases of a fold.
        images_of_patient: mean number, at least 1.
        separation: distance of the classes in standard deviations.
        training_spread: standard deviation of that distance from training to training.
    """
    stream = np.random.default_rng(seed)
    total = cases * folds
    patients = int(total / images_of_patient)
    patient = np.concatenate([np.arange(patients), stream.integers(0, patients, total - patients)])
    label = (np.arange(patients) % 2)[patient]
    shared = 0.5 * stream.normal(size=patients)[patient] + 0.6 * stream.normal(size=total)
    sex, rank = np.where(stream.random(patients) < 0.5, "F", "M")[patient], stream.random(total)
    cells, tables, checks = [], [], []
    for number in range(seeds):
        fold_of = stream.permutation(np.arange(patients) % (2 * folds) // 2)[patient]
        for confounder, source, p_art, fold in product(confounders, effects, p_arts, range(folds)):
            apart = separation if isinstance(separation, (int, float)) else separation[source]
            distance = apart + training_spread * stream.normal()
            logits = distance * label + shared + 0.6 * stream.normal(size=total)
            shift = effects[source] * p_art * (1 + 0.1 * stream.normal(size=total))
            table = pd.DataFrame(
                {
                    "case_id": [f"c{case}" for case in range(total)],
                    "patient_id": [f"p{name}" for name in patient],
                    "fold": fold,
                    "label": label,
                    "carries": (label == 1) & (rank < p_art),
                    "sex": sex,
                    "score_clean": expit(logits),
                    "score_confounded": expit(logits + shift),
                    "cell": len(cells),
                }
            )
            tables.append(table[fold_of == fold])
            checks.append(table[fold_of == (fold + 1) % folds])
            axes = {"source": source, "confounder": confounder, "p_art": p_art, "fold": fold, "seed": number}
            cells.append(axes)
    fixed = {"target": "drawn", "network": "none", "depth": "finetune", "protocol": "corrected"}
    fixed |= {"control": "none", "confounder_args": "{}", "p_neg": 0.0, "num_folds": folds}
    fixed |= {"adaptation": "full", "train_size": 0}
    frame = pd.DataFrame(cells).assign(**fixed)
    frame.attrs["settings"] = list(frame.columns)
    return StudyResults(frame, pd.concat(tables, ignore_index=True), pd.concat(checks, ignore_index=True))
