"""What a confounder does to the scores of a finished model, from its two-state table alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from srcmatters.evaluation.environments import Mixture, mixture_entries
from srcmatters.evaluation.estimates import (
    Estimate,
    auc_interval,
    boundary_error,
    image_freedom,
    widened,
)
from srcmatters.evaluation.resampled_statistics import (
    ResampledStatistic,
    difference,
    mean_over_trainings,
    resampled_auc,
    resampled_effect,
    resampled_mean,
    resampled_superiority,
)
from srcmatters.evaluation.resampling import PatientWeights, Ranking, resample_patients
from srcmatters.runs.prediction_table import log_odds

REPLICATES = 2000
#: From "all positives carry it" to "all negatives do".
STEPS = 11
_ALIGNED, _REVERSED = Mixture(1, 0), Mixture(0, 1)


@dataclass(frozen=True)
class Measured:
    """A statistic of a finished model.

    Args:
        estimate: of these weights, for other patients.
        low: lower end of its interval.
        high: upper end.
    """

    estimate: Estimate
    low: float
    high: float

    @property
    def value(self) -> float:
        """The statistic itself."""
        return self.estimate.value


class TwoStates:
    """Statistics of one confounder at one dose; patients are resampled, and shared by all of them.

    Args:
        table: prediction table; every case has both scores.
        weights: resampled patients; None: drawn from the table's own.
        seed: of the resampling.
        confidence: of the intervals.
    """

    def __init__(
        self,
        table: pd.DataFrame,
        weights: PatientWeights | None = None,
        seed: int = 0,
        confidence: float = 0.95,
    ) -> None:
        self.table = table
        self.weights = weights or resample_patients(table["patient_id"], REPLICATES, seed)
        self.confidence = confidence
        of_label = table.groupby("label")["patient_id"].nunique()
        self.negatives, self.positives = (int(of_label.get(label, 0)) for label in (0, 1))
        self._freedom = image_freedom(self.positives, self.negatives)

    def auc(self, mixture: Mixture) -> Measured:
        """AUC where the confounder is carried as a mixture says."""
        statistic = self._area(mixture)
        estimated = self._estimated(statistic)
        return Measured(estimated, *auc_interval(estimated, self.positives, self.negatives, self.confidence))

    def loss_under_reversal(self) -> Measured:
        """AUC where all positives carry the confounder minus AUC where all negatives do.

        Of a model that does not react it is 0. It is below 0 where the confounder lowers the score.
        """
        return self.difference_of_areas(_ALIGNED, _REVERSED)

    def difference_of_areas(self, first: Mixture, second: Mixture) -> Measured:
        """AUC of the first mixture minus that of the second, paired."""
        areas = [self._area(mixture) for mixture in (first, second)]
        estimated = self._estimated(difference(*areas))
        errors = [boundary_error(area.value, self.positives, self.negatives) for area in areas]
        estimated = widened(estimated, errors)
        return Measured(estimated, *estimated.interval(self.confidence, -1.0, 1.0))

    def mixture_curve(self) -> pd.DataFrame:
        """AUC from "all positives carry it" (step 0) to "all negatives do" (step 1): step, auc, low, high."""
        rows = []
        for step in np.linspace(0, 1, STEPS):
            area = self.auc(Mixture(float(1 - step), float(step)))
            rows.append({"step": float(step), "auc": area.value, "low": area.low, "high": area.high})
        return pd.DataFrame(rows)

    def effect(self) -> Measured:
        """Mean change of the log-odds of a case."""
        return self._mean(resampled_effect(self.table, self.weights), -np.inf, np.inf)

    def probability_effect(self) -> Measured:
        """Mean change of the probability of a case."""
        change = self.table["score_confounded"] - self.table["score_clean"]
        return self._of_cases(change.to_numpy(), -1.0, 1.0)

    def superiority(self) -> Measured:
        """P(a case with the confounder scores higher than another, clean case of the same label)."""
        return self._mean(resampled_superiority(self.table, self.weights), 0.0, 1.0)

    def same_direction(self) -> Measured:
        """Share of the cases whose score moves the way of the majority; ties count half."""
        change = np.sign(self._shift())
        share_up = (change > 0) + 0.5 * (change == 0)
        return self._of_cases(share_up if share_up.mean() >= 0.5 else 1 - share_up, 0.0, 1.0)

    def flips(self, threshold: float) -> Measured:
        """Share of the cases whose decision changes at a threshold.

        Args:
            threshold: probability; at or above it a case is called positive.
        """
        clean, confounded = (self.table[f"score_{name}"] >= threshold for name in ("clean", "confounded"))
        return self._of_cases((clean != confounded).to_numpy(dtype=float), 0.0, 1.0)

    def slope(self) -> tuple[float, float]:
        """Slope and intercept of confounded on clean log-odds (least squares): (1, 0) is no reaction."""
        clean = log_odds(self.table["score_clean"])
        if np.ptp(clean) == 0:
            return float("nan"), float("nan")
        slope, intercept = np.polyfit(clean, clean + self._shift(), 1)
        return float(slope), float(intercept)

    def _shift(self) -> np.ndarray:
        return log_odds(self.table["score_confounded"]) - log_odds(self.table["score_clean"])

    def _area(self, mixture: Mixture) -> ResampledStatistic:
        entries = mixture_entries(self.table, mixture)
        entries = entries[entries["share"] > 0]
        ranking = Ranking(
            entries["label"].to_numpy(),
            entries["score"].to_numpy(),
            self.weights.rows(entries["patient_id"]),
            shares=entries["share"].to_numpy(),
        )
        return resampled_auc(ranking, self.weights, with_influence=False)

    def _estimated(self, statistic: ResampledStatistic) -> Estimate:
        return mean_over_trainings([statistic], self._freedom)

    def _mean(self, statistic: ResampledStatistic, low: float, high: float) -> Measured:
        estimated = self._estimated(statistic)
        return Measured(estimated, *estimated.interval(self.confidence, low, high))

    def _of_cases(self, values: np.ndarray, low: float, high: float) -> Measured:
        rows = self.weights.rows(self.table["patient_id"])
        return self._mean(resampled_mean(values, rows, self.weights), low, high)
