"""A regularised linear head on frozen features, its strength chosen on patients that are held out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.preprocessing import StandardScaler
from torch import nn

from srcmatters.errors import InputError

#: C of the logistic regression, the inverse of its penalty: 1e-5 .. 1 in half decades, one of them is chosen.
STRENGTHS: tuple[float, ...] = tuple(float(10.0**power) for power in np.arange(-5, 0.25, 0.5))
INNER_FOLDS = 5


@dataclass(frozen=True)
class LinearHead:
    """A classification head on features as they come out of the network.

    Args:
        weight: (F,) float64.
        bias: of the log-odds.
        strength: the C that was chosen.
        losses: mean log loss of held-out training cases for each of :data:`STRENGTHS`.
    """

    weight: np.ndarray
    bias: float
    strength: float
    losses: tuple[float, ...]

    def log_odds(self, features: np.ndarray) -> np.ndarray:
        """(n,) log-odds of label 1 for features (n, F)."""
        return features.astype(np.float64) @ self.weight + self.bias

    @torch.no_grad()
    def put_into(self, head: nn.Linear) -> None:
        """Make a network's head of two classes compute these log-odds: logit of label 1 minus logit of 0."""
        half = torch.from_numpy(self.weight / 2)
        head.weight.copy_(torch.stack([-half, half]))
        head.bias.copy_(torch.tensor([-self.bias / 2, self.bias / 2]))


@dataclass(frozen=True)
class Rotation:
    """Standardised features in the basis of the training cases, in which a head has few dimensions.

    Args:
        scaler: of the training cases.
        basis: (dimensions, F) orthonormal rows.
    """

    scaler: StandardScaler
    basis: np.ndarray

    @classmethod
    def of(cls, features: np.ndarray) -> tuple[Rotation, np.ndarray]:
        """The rotation of some training cases (n, F), and these in it, (n, dimensions)."""
        scaler = StandardScaler().fit(features.astype(np.float64))
        standardised = scaler.transform(features.astype(np.float64))
        left, singular, basis = np.linalg.svd(standardised, full_matrices=False)
        return cls(scaler, basis), left * singular

    def head(
        self, model: LogisticRegression, losses: np.ndarray, scales: np.ndarray | float = 1.0
    ) -> LinearHead:
        """The head of a model that was fitted to rotated features times ``scales`` (dimensions,)."""
        weight = ((model.coef_[0] * scales) @ self.basis) / self.scaler.scale_
        bias = float(model.intercept_[0] - weight @ self.scaler.mean_)
        return LinearHead(weight, bias, float(model.C), tuple(float(loss) for loss in losses))


def fit_head(
    features: np.ndarray,
    labels: np.ndarray,
    patients: np.ndarray,
    seed: int = 0,
    weights: np.ndarray | None = None,
) -> LinearHead:
    """L2-regularised logistic regression on standardised features, its strength chosen by inner folds.

    The penalty is blind to rotations, and its solution lies in the span of the training cases: in their own
    basis there are no more dimensions than cases, and the head is the same. Standardisation and basis come
    from all training cases and know no label, so the inner folds share them.

    Args:
        features: (n, F) of the training cases, each in its state.
        labels: (n,) 0 or 1.
        patients: (n,); images of one patient are in the same inner fold.
        seed: seed of the inner folds.
        weights: (n,) of the cases in the loss, also of the held-out ones; mean 1. None: all the same.

    Raises:
        InputError: fewer than two patients in a class.
    """
    rotation, rotated = Rotation.of(features)
    losses = held_out_losses(rotated, labels, patients, seed, weights)
    return rotation.head(fit_exactly(rotated, labels, best_strength(losses), weights), losses)


def fit_exactly(
    rotated: np.ndarray, labels: np.ndarray, strength: float, weights: np.ndarray | None = None
) -> LogisticRegression:
    """The logistic regression of one strength, to its end."""
    return LogisticRegression(C=strength, tol=1e-7, max_iter=10_000).fit(rotated, labels, weights)


def best_strength(losses: np.ndarray) -> float:
    """That of :data:`STRENGTHS` with the smallest loss; of equal ones the strongest penalty."""
    return STRENGTHS[int(np.argmin(losses))]


def held_out_losses(
    rotated: np.ndarray,
    labels: np.ndarray,
    patients: np.ndarray,
    seed: int,
    weights: np.ndarray | None = None,
    scales: Callable[[float], np.ndarray] | None = None,
) -> np.ndarray:
    """(strengths,) mean log loss over all training cases, each predicted without its patient.

    Args:
        rotated: (n, dimensions) features.
        labels, patients, seed, weights: as :func:`fit_head` takes them.
        scales: factors (dimensions,) of the features at a strength; None: 1.

    Raises:
        InputError: fewer than two patients in a class.
    """
    rarest = min(len(set(patients[labels == label])) for label in (0, 1))
    if rarest < 2:
        raise InputError(
            f"cases: the rarer class has {rarest} patients for training, expected 2 or more to choose the"
            " strength of the regularisation"
        )
    parts = StratifiedGroupKFold(min(INNER_FOLDS, rarest), shuffle=True, random_state=seed)
    losses = np.zeros(len(STRENGTHS))
    weights = np.ones(len(labels)) if weights is None else weights
    for seen, unseen in parts.split(rotated, labels, patients):
        # Each strength starts from the solution of the one before it.
        model = LogisticRegression(warm_start=True, max_iter=1000)
        signs = 2 * labels[unseen] - 1
        for number, strength in enumerate(STRENGTHS):
            scaled = rotated if scales is None else rotated * scales(strength)
            model.set_params(C=strength).fit(scaled[seen], labels[seen], weights[seen])
            losses[number] += weights[unseen] @ np.logaddexp(
                0, -signs * model.decision_function(scaled[unseen])
            )
    return losses / weights.sum()
