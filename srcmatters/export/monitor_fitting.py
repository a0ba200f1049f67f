"""Fits what an exported bundle watches its input with, on the images that the network was trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from sklearn.covariance import LedoitWolf
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from srcmatters.errors import InputError
from srcmatters.evaluation.detectability import CASES_USED, PENALTY
from srcmatters.exported_bundle.monitors import ConfounderProbe, FeatureDistance, logits_and_features
from srcmatters.images.description import describe

#: Share of the clean images, and of the validation images, that a monitor lets pass.
QUANTILE = 0.99
_FOLDS = 5
_COMPONENTS = 64
_LEAST_SPREAD = 0.01  # of a feature, of the median one
_BATCH = 16


def fit_probe(
    confounder: str, clean: torch.Tensor, confounded: torch.Tensor, patients: Sequence[str], seed: int = 0
) -> ConfounderProbe:
    """Fit the detectability probe of a confounder so that it can be applied to single images.

    The threshold is the 99 % quantile of the scores of clean images, each from a probe that has not seen its
    patient: one false alarm in a hundred.

    Args:
        confounder: its name.
        clean: (n, 1, H, W[, D]), training images without the confounder.
        confounded: the same with it.
        patients: n patients, at least 2.
        seed: of the folds, and of the choice of 400 cases where there are more.

    Raises:
        InputError: fewer than two patients.
    """
    names = np.asarray([str(name) for name in patients])
    selected = np.arange(len(names))
    if len(selected) > CASES_USED:
        selected = np.sort(np.random.default_rng(seed).choice(selected, CASES_USED, replace=False))
    people = names[selected]
    if len(set(people)) < 2:
        raise InputError(f"monitor: {len(set(people))} patients to fit it on, expected 2 or more")
    described = [describe(images[int(case)]).numpy() for images in (clean, confounded) for case in selected]
    features, state = np.stack(described).astype(np.float64), np.repeat([0, 1], len(selected))
    probe = make_pipeline(StandardScaler(), LogisticRegression(C=PENALTY, max_iter=300))
    parts = GroupKFold(min(_FOLDS, len(set(people))), shuffle=True, random_state=seed)
    scores = cross_val_predict(
        probe, features, state, groups=np.tile(people, 2), cv=parts, method="decision_function"
    )
    scaler, model = probe.fit(features, state).steps[0][1], probe.steps[1][1]
    threshold = float(np.quantile(scores[state == 0], QUANTILE))
    flagged = scores >= threshold
    return ConfounderProbe(
        confounder=confounder,
        mean=scaler.mean_,
        scale=scaler.scale_,
        weight=model.coef_[0],
        bias=float(model.intercept_[0]),
        threshold=threshold,
        auc=float(roc_auc_score(state, scores)),
        sensitivity=float(flagged[state == 1].mean()),
        false_alarms=float(flagged[state == 0].mean()),
    )


def fit_distance(
    training: np.ndarray, validation: np.ndarray, test: np.ndarray, quantile: float = QUANTILE
) -> FeatureDistance:
    """Fit the distance to the training images.

    Args:
        training: (n, F) features of the training images.
        validation: (m, F) of the validation images, which fix the threshold.
        test: (t, F) of the test images, whose share of false alarms is recorded.
        quantile: share of the validation images that lie below it.

    Raises:
        InputError: fewer than 8 training or 2 validation images.

    Source: Lee et al. 2018, "A simple unified framework for detecting out-of-distribution samples" (all
    stages of the network); the covariance is shrunk after Ledoit and Wolf 2004.
    """
    if len(training) < 8 or len(validation) < 2:
        raise InputError(
            f"monitor: features of {len(training)} training and {len(validation)} validation images, expected"
            " 8 and 2 or more"
        )
    features = np.asarray(training, dtype=np.float64)
    spread = features.std(0)
    # A channel that is dead on the training images would make an image of any other one infinitely far away.
    scale = np.maximum(spread, max(_LEAST_SPREAD * float(np.median(spread)), 1e-12))
    standard = (features - features.mean(0)) / scale
    # Fewer components than cases: otherwise nothing is left over for what lies outside of them.
    pca = PCA(min(_COMPONENTS, len(features) // 4, features.shape[1]), svd_solver="full").fit(standard)
    inside = pca.transform(standard)
    outside = (standard**2).sum(1) - (inside**2).sum(1)
    others = max(features.shape[1] - pca.n_components_, 1)
    fitted = FeatureDistance(
        mean=features.mean(0),
        scale=scale,
        basis=pca.components_.T,
        precision=LedoitWolf(assume_centered=True).fit(inside).precision_,
        residual_variance=max(float(outside.mean()) / others, 1e-9),
        threshold=0.0,
        quantile=quantile,
        false_alarms=0.0,
    )
    threshold = float(np.quantile(fitted.distance(validation), quantile))
    alarms = float((fitted.distance(test) > threshold).mean())
    return replace(fitted, threshold=threshold, false_alarms=alarms)


def features_of(network: nn.Module, name: str, images: torch.Tensor) -> np.ndarray:
    """(n, F) mean activations of (n, 1, H, W[, D]) images (:func:`logits_and_features`), batch by batch."""
    batches = [logits_and_features(network, name, batch)[1] for batch in images.split(_BATCH)]
    return np.concatenate(batches)
