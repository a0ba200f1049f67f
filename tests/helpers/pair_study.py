"""A study of a pair of confounders whose truth is known: drawn scores instead of training runs."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.special import expit

from srcmatters.runs.finished_runs import AXES, StudyResults

FOLDS, CASES = 5, 200


def draw_four_states(
    stream: np.random.Generator, effects: tuple[float, float], p_art: float = 1.0, fold: int = 0
) -> pd.DataFrame:
    """A four-state table in which the confounders move the log-odds by ``effects``."""
    label = np.arange(CASES) % 2
    people = [f"f{fold}p{case}" for case in range(CASES)]
    table = pd.DataFrame({"case_id": people, "patient_id": people, "fold": fold, "label": label})
    table["carries_first"] = (label == 1) & (np.arange(CASES) < p_art * CASES)
    table["carries_second"] = (label == 1) & (stream.random(CASES) < p_art)
    logits = 1.5 * label + stream.normal(size=CASES)
    table["score_clean"] = expit(logits)
    table["score_first"] = expit(logits + effects[0])
    table["score_second"] = expit(logits + effects[1])
    table["score_both"] = expit(logits + effects[0] + effects[1])
    return table


def draw_pair_study(effects: dict[float, tuple[float, float]], seed: int = 0) -> StudyResults:
    """Runs of five folds at each p_art, with its effects; beside them runs of nothing."""
    stream = np.random.default_rng(seed)
    fixed = dict.fromkeys(AXES, "") | {"confounder": "tag+noise", "confounder_args": "{}", "control": "none"}
    fixed |= {"p_neg": 0.0, "mitigation": "none", "source": "a", "seed": 0, "target": "t"}
    cells, tables = [], []
    for fold in range(FOLDS):
        drawn = int(stream.integers(2**31))
        for p_art, moved in effects.items():
            table = draw_four_states(np.random.default_rng(drawn), moved, p_art, fold)
            tables.append(table.assign(cell=len(cells)))
            cells.append({**fixed, "p_art": p_art, "fold": fold})
    nothing = pd.DataFrame(columns=[*fixed, "p_art", "fold"])
    return StudyResults(
        nothing, pd.DataFrame(), pairs=pd.DataFrame(cells), four_states=pd.concat(tables, ignore_index=True)
    )
