"""What a model said of every case, clean and under each confounder and dose: all that most checks need."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import pandas as pd

from srcmatters.cohorts.case_table import is_structure
from srcmatters.runs.prediction_table import prediction_table


class State(NamedTuple):
    """A confounder at a dose.

    Args:
        confounder: name that the audit uses, ``tag`` or ``picture marker.png``.
        dose: factor on its default strength.
    """

    confounder: str
    dose: float = 1.0


@dataclass(frozen=True)
class StateScores:
    """Log-odds of one output of a model.

    Args:
        cases: case table, one row per image.
        clean: (cases,) log-odds of label 1; NaN where there is no score.
        confounded: (cases,) of each state; NaN where there is no score.
        descriptions: parameters of each state in words, where it has any that differ from the defaults.
        missing: doses that do not exist, with the reason, by confounder.
        output: name of the finding.
        without_change: states in which the model got the clean image of every case.
    """

    cases: pd.DataFrame
    clean: np.ndarray
    confounded: Mapping[State, np.ndarray]
    descriptions: Mapping[State, str] = field(default_factory=dict)
    missing: Mapping[str, Mapping[float, str]] = field(default_factory=dict)
    output: str = "label 1"
    without_change: frozenset[State] = frozenset()

    @property
    def confounders(self) -> list[str]:
        """Names of the confounders, in order."""
        return list(dict.fromkeys(state.confounder for state in self.confounded))

    @property
    def labels(self) -> np.ndarray:
        """(cases,) 0 or 1."""
        return self.cases["label"].to_numpy(dtype=int)

    @property
    def patients(self) -> np.ndarray:
        """(cases,) identifiers."""
        return self.cases["patient_id"].to_numpy()

    def doses(self, confounder: str) -> list[float]:
        """Doses at which a confounder was scored, ascending."""
        return sorted(state.dose for state in self.confounded if state.confounder == confounder)

    def pairs(self, state: State) -> pd.DataFrame:
        """Prediction table of the cases that have both scores; all positives carry the confounder."""
        scores = self.confounded[state]
        rows = np.flatnonzero(np.isfinite(self.clean) & np.isfinite(scores))
        cases = self.cases.iloc[rows]
        return prediction_table(
            cases, 0, cases["label"].to_numpy() == 1, self.clean[rows], np.asarray(scores)[rows]
        )

    def table(self) -> pd.DataFrame:
        """case_id, patient_id, label, groups, log_odds_clean and one column per state."""
        structure = [name for name in ("case_id", "patient_id", "label") if name in self.cases]
        groups = [name for name in self.cases.columns if not is_structure(name)]
        table = self.cases[[*structure, *groups]].reset_index(drop=True)
        columns = {"log_odds_clean": self.clean}
        columns |= {column_of(state): scores for state, scores in self.confounded.items()}
        return pd.concat([table, pd.DataFrame(columns)], axis=1)


def column_of(state: State) -> str:
    """Name of a state's column in a table: ``log_odds_tag_x0.333``."""
    return f"log_odds_{state.confounder}_x{state.dose:.3g}"
