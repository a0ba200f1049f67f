"""Paired states: the score of a case may not change when the confounder is put into it."""

from __future__ import annotations

import numpy as np
from sklearn.preprocessing import StandardScaler

from srcmatters.errors import InputError
from srcmatters.training.linear_head import LinearHead, Rotation, best_strength, fit_exactly, held_out_losses
from srcmatters.training.mitigation.training_cases import TrainingCases

PENALTY = 1.0


def fit_paired(cases: TrainingCases) -> LinearHead:
    r"""Penalise the squared difference of the log-odds of the two states of cases that do not carry it.

    .. math:: \min_\theta \frac{1}{n} \sum_i \ell(\theta; x_i, y_i)
              + \frac{\lambda}{m} \sum_{j: \text{no carrier}} (\theta^T (x_j^{+} - x_j))^2
              + \frac{1}{2Cn} |\theta|^2

    lambda = :data:`PENALTY` per squared log-odds: a change by one costs more than the log 2 that a balanced
    label is worth. With the eigenvectors of the penalty as a basis it is a factor of each feature,
    (1 + 2 C n lambda s / m)^(-1/2), and the fit that of ERM. C is chosen as ERM's.

    Needs to know: a model of the confounder, and some cases that do not carry it; labels are not asked.
    Cost: that of ERM and one eigendecomposition.
    Source: after Heinze-Deml and Meinshausen 2021, "Conditional variance penalties and domain shift
    robustness", with the pairs made by the confounder's model.

    Args:
        cases: of the training.

    Raises:
        InputError: the confounder is sampled, or every training case carries it.
    """
    cases.require_two_states("paired")
    rotation, rotated, spectrum = _in_the_basis_of_the_penalty(cases)

    def scales(strength: float) -> np.ndarray:
        return (1 + 2 * strength * len(cases.labels) * PENALTY * spectrum) ** -0.5

    losses = held_out_losses(rotated, cases.labels, cases.patients, cases.seed, scales=scales)
    factors = scales(best_strength(losses))
    model = fit_exactly(rotated * factors, cases.labels, best_strength(losses))
    return rotation.head(model, losses, factors)


def _in_the_basis_of_the_penalty(cases: TrainingCases) -> tuple[Rotation, np.ndarray, np.ndarray]:
    """Rotated features (n, dimensions), and the mean squared difference of the states along each dimension.

    The solution lies in the span of the training cases *and* of the differences: what the latter have beyond
    it can take a change back without touching a training score.
    """
    free = ~cases.carries
    if not free.any():
        raise InputError("mitigation: paired needs training cases that do not carry the confounder, got none")
    scaler = StandardScaler().fit(cases.own.astype(np.float64))
    standardised = scaler.transform(cases.own.astype(np.float64))
    changes = (cases.confounded[free].astype(np.float64) - cases.clean[free]) / scaler.scale_
    _, singular, basis = np.linalg.svd(np.concatenate([standardised, changes]), full_matrices=False)
    basis = basis[singular > singular[0] * 1e-12]
    inside = changes @ basis.T
    spectrum, axes = np.linalg.eigh(inside.T @ inside / len(changes))
    basis = axes.T @ basis
    return Rotation(scaler, basis), standardised @ basis.T, np.clip(spectrum, 0, None)
