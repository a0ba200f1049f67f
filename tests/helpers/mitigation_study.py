"""A study with arms against a confounder whose truth is known: drawn scores instead of training runs."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from scipy.special import expit

from srcmatters.evaluation.mitigation import UPPER_BOUND
from srcmatters.runs.finished_runs import AXES, StudyResults

FOLDS, CASES = 5, 120
#: What the confounder does to the log-odds without an arm, with some, and where carriers are independent.
EFFECTS = {"none": 3.0, "paired": 0.3, "balanced": 1.5, "balanced_fake": 3.0, UPPER_BOUND: 0.0}


def draw_mitigation_study(
    effects: Mapping[str, float], harms: Mapping[str, float], seed: int = 0
) -> StudyResults:
    """Arms whose confounder moves the log-odds by ``effects`` and the untreated one by ``harms``."""
    stream = np.random.default_rng(seed)
    label = np.arange(CASES) % 2
    cells, tables, transfer = [], [], []
    fixed = dict.fromkeys(AXES, "") | {"control": "none", "confounder": "tag", "p_neg": 0.05, "p_art": 0.95}
    hard = stream.normal(size=(FOLDS, CASES))
    for arm, effect in effects.items():
        for fold in range(FOLDS):
            control = "independent_confounder" if arm == UPPER_BOUND else "none"
            own = {
                "source": "a",
                "mitigation": "none" if arm == UPPER_BOUND else arm,
                "fold": fold,
                "seed": 0,
            }
            logits = 1.5 * label + hard[fold] + 0.3 * stream.normal(size=CASES)
            people = [f"f{fold}p{case}" for case in range(CASES)]
            table = pd.DataFrame({"case_id": people, "patient_id": people, "fold": fold, "label": label})
            table = table.assign(carries=label == 1, score_clean=expit(logits), cell=len(cells))
            tables.append(table.assign(score_confounded=expit(logits + effect)))
            moved = table.assign(score_confounded=expit(logits + harms.get(arm, 0.0)))
            transfer += [tables[-1].assign(tested="tag"), moved.assign(tested="noise")]
            cells.append({**fixed, **own, "control": control})
    frame = pd.DataFrame(cells)
    return StudyResults(frame, pd.concat(tables), transfer=pd.concat(transfer))
