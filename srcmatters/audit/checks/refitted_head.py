"""Refitted heads: does the head use the confounder, or do the features bring it along?"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from sklearn.linear_model import Ridge, RidgeCV
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.preprocessing import StandardScaler

from srcmatters.audit.check import Check, Evidence, Finding
from srcmatters.audit.checks.sensitivity import in_words
from srcmatters.cohorts.null_controls import shuffled_by_patient
from srcmatters.evaluation.outcomes import Outcome
from srcmatters.numbers import interval, number
from srcmatters.training.refitted_heads import columnwise_auc

PERMUTATIONS = 199
_FOLDS = 5
_STRENGTHS = tuple(10.0**power for power in range(0, 6))


class RefittedHead(Check):
    """The model's own head against heads fitted on its features.

    Ridge regression on the standardised features of clean images, each case scored by a head that has not
    seen its patient (five folds): one with the true labels, 199 with the labels permuted by patient. If the
    head with true labels loses as much as the model's own, the features bring the reaction along; what heads
    of permuted labels lose is chance.
    """

    code = "refitted_head"
    title = "Refitted head"
    question = "Would another head on the same features lean as well?"
    needs = ("features",)

    def findings(self, evidence: Evidence) -> list[Finding]:
        """One per confounder."""
        assert evidence.features is not None
        clean, confounded = evidence.features
        labels, patients = evidence.scores.labels, evidence.scores.patients
        patients_per_label = [len(set(patients[labels == label])) for label in (0, 1)]
        if min(patients_per_label) < _FOLDS:
            reason = f"{min(patients_per_label)} patients of the rarer label, expected {_FOLDS} or more"
            return [Finding(self.code, "", Outcome.SKIPPED, f"Not refitted: {reason}.", reason=reason)]
        stream = np.random.default_rng(evidence.plan.seed)
        permuted = (shuffled_by_patient(labels, patients, stream) for _ in range(PERMUTATIONS))
        columns = np.array([labels, *permuted]).T
        areas = _losses(clean, confounded, columns, labels, patients, evidence.plan.seed)
        return [self._finding(evidence, name, *areas[name]) for name in areas]

    def _finding(self, evidence: Evidence, confounder: str, true: float, permuted: np.ndarray) -> Finding:
        own = evidence.states(confounder).loss_under_reversal()
        low, high = np.quantile(permuted, [0.025, 0.975])
        p_value = float((1 + np.sum(np.abs(permuted) >= abs(true))) / (1 + len(permuted)))
        text = (
            f"{in_words(confounder)}: the model's own head loses {interval(own.value, own.low, own.high)}"
            f" under reversal, a head refitted on its features with the true labels {number(true)}, heads of"
            f" permuted labels {number(low)} to {number(high)} (p = {number(p_value, 3)})."
        )
        details = {
            "own": own.value,
            "refitted": true,
            "permuted_low": float(low),
            "permuted_high": float(high),
        }
        return Finding(
            self.code,
            confounder,
            None,
            text,
            true,
            float(low),
            float(high),
            "loss_of_refitted_head",
            details={**details, "p_value": p_value, "permutations": len(permuted)},
        )


def _losses(
    clean: np.ndarray,
    confounded: Mapping[str, np.ndarray],
    columns: np.ndarray,
    labels: np.ndarray,
    patients: np.ndarray,
    seed: int,
) -> dict[str, tuple[float, np.ndarray]]:
    """By confounder the loss under reversal of the head of the true labels, and (count,) of permuted ones."""
    scores = {name: np.empty(columns.shape) for name in ("", *confounded)}
    strength = None
    folds = StratifiedGroupKFold(_FOLDS, shuffle=True, random_state=seed)
    for seen, unseen in folds.split(clean, labels, patients):
        scaler = StandardScaler().fit(clean[seen])
        inside = scaler.transform(clean[seen])
        if strength is None:
            strength = float(RidgeCV(_STRENGTHS).fit(inside, 2 * labels[seen] - 1).alpha_)
        head = Ridge(strength).fit(inside, 2 * columns[seen] - 1)
        for name in scores:
            features = clean if name == "" else confounded[name]
            scores[name][unseen] = head.predict(scaler.transform(features[unseen]))
    results = {}
    for name in confounded:
        areas = []
        for carrying in (columns == 1, columns == 0):  # who carries it follows the head's own labels
            assigned = np.where(carrying, scores[name], scores[""])
            areas.append(columnwise_auc(columns, assigned))
        losses = areas[0] - areas[1]
        results[name] = (float(losses[0]), losses[1:])
    return results
