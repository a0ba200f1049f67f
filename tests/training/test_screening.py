"""The linear head of the screen depth: exact whatever the shortcut, and chosen by patients held out."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler
from torch import nn

from srcmatters.errors import InputError
from srcmatters.training.linear_head import STRENGTHS, fit_head

CASES, FEATURES = 60, 200


def drawn(signal: float, cases: int = CASES, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features of very different scales, labels, and patients of two images each."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(rng.permutation(np.arange(cases // 2) % 2), 2)
    features = rng.normal(size=(cases, FEATURES)) + signal * labels[:, None] * (np.arange(FEATURES) < 20)
    features = features * np.logspace(-3, 3, FEATURES) + np.arange(FEATURES)
    return features.astype(np.float32), labels, np.repeat(np.arange(cases // 2), 2)


def test_the_head_is_the_logistic_regression_on_all_features() -> None:
    features, labels, patients = drawn(signal=1)
    head = fit_head(features, labels, patients)
    scaler = StandardScaler().fit(features.astype(float))
    model = LogisticRegression(C=head.strength, tol=1e-10, max_iter=100_000)
    model.fit(scaler.transform(features.astype(float)), labels)
    unseen, _, _ = drawn(signal=1, seed=1)
    expected = model.decision_function(scaler.transform(unseen.astype(float)))
    np.testing.assert_allclose(head.log_odds(unseen), expected, atol=1e-4)


def test_a_constant_feature_is_no_obstacle() -> None:
    features, labels, patients = drawn(signal=1)
    features[:, 3] = 7
    assert np.isfinite(fit_head(features, labels, patients).log_odds(features)).all()


def test_the_fit_depends_on_its_arguments_alone() -> None:
    features, labels, patients = drawn(signal=1)
    first = fit_head(features, labels, patients, seed=0)
    np.random.seed(5)  # noqa: NPY002  what is global must not matter
    again = fit_head(features, labels, patients, seed=0)
    assert first.losses == again.losses and np.array_equal(first.weight, again.weight)
    assert fit_head(features, labels, patients, seed=1).losses != first.losses


def test_noise_is_shrunk_and_signal_is_not() -> None:
    noise, signal = fit_head(*drawn(signal=0)), fit_head(*drawn(signal=1.5))
    assert noise.strength < signal.strength
    assert min(noise.losses) > 0.6 > min(signal.losses)
    unseen, labels, _ = drawn(signal=1.5, seed=1)
    assert roc_auc_score(labels, signal.log_odds(unseen)) > 0.9


def test_images_of_one_patient_are_held_out_together() -> None:
    """Twins of a training case would make a head look good that has learnt the patients by heart."""
    rng = np.random.default_rng(0)
    one_each = rng.normal(size=(40, FEATURES)).astype(np.float32)
    labels = np.repeat(np.arange(40) % 2, 4)
    features = np.repeat(one_each, 4, axis=0)
    by_patient = fit_head(features, labels, np.repeat(np.arange(40), 4))
    by_image = fit_head(features, labels, np.arange(160))
    assert min(by_image.losses) < 0.3 and min(by_patient.losses) > 0.6


def test_the_chosen_strength_has_the_least_loss() -> None:
    head = fit_head(*drawn(signal=1))
    assert len(head.losses) == len(STRENGTHS)
    assert head.losses[STRENGTHS.index(head.strength)] == min(head.losses)


def test_a_network_with_the_head_gives_its_log_odds() -> None:
    features, labels, patients = drawn(signal=1)
    features = features / np.logspace(-3, 3, FEATURES, dtype=np.float32)  # what single precision can hold
    head = fit_head(features, labels, patients)
    layer = nn.Linear(FEATURES, 2)
    head.put_into(layer)
    # Summed in double precision: how a processor adds up single ones is not what is tested.
    logits = layer.double()(torch.from_numpy(features).double()).detach().numpy()
    np.testing.assert_allclose(logits[:, 1] - logits[:, 0], head.log_odds(features), rtol=1e-3, atol=1e-2)


def test_a_class_of_one_patient_is_refused() -> None:
    features, labels, patients = drawn(signal=1)
    labels[:] = 0
    labels[:2] = 1
    with pytest.raises(InputError, match="the rarer class has 1 patients for training, expected 2"):
        fit_head(features, labels, patients)
