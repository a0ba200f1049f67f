"""Intervals of slope and intercept against the truth, with several images of a patient."""

import numpy as np
import pytest
import statsmodels.api as sm
from scipy.special import expit

from srcmatters.evaluation.recalibration import recalibrate

NAMES = ("calibration_intercept", "calibration_slope")


def drawn(seed: int, patients: int = 150, images: int = 3) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Images of a patient share label and log-odds: the others tell nothing new."""
    stream = np.random.default_rng(seed)
    scores = stream.normal(scale=1.5, size=patients)
    labels = (stream.random(patients) < expit(0.4 + 0.7 * scores)).astype(int)
    return scores.repeat(images), labels.repeat(images), np.arange(patients).repeat(images)


def test_intervals_cover_where_patients_have_several_images() -> None:
    large = drawn(99, patients=200_000, images=1)
    truth = {name: one.value for name, one in recalibrate(*large).items()}
    assert truth["calibration_slope"] == pytest.approx(0.7, abs=0.02)
    missed = dict.fromkeys(NAMES, 0)
    for seed in range(200):
        for name, one in recalibrate(*drawn(seed)).items():
            low, high = one.interval()
            missed[name] += not low <= truth[name] <= high
    # Of independent images the errors would be too small by sqrt(3), and a quarter of the intervals miss.
    assert all(1 <= count <= 20 for count in missed.values()), missed


def test_the_sandwich_agrees_with_statsmodels() -> None:
    scores, labels, owner = drawn(1)
    design = sm.add_constant(scores)
    fitted = sm.GLM(labels, design, family=sm.families.Binomial()).fit(
        cov_type="cluster", cov_kwds={"groups": owner, "use_correction": False}
    )
    clusters = 150
    slope = recalibrate(scores, labels, owner)["calibration_slope"]
    expected = fitted.bse[1] * np.sqrt(clusters / (clusters - 1))
    assert np.linalg.norm(slope.influence) == pytest.approx(expected, rel=1e-6)


def test_there_is_no_figure_of_one_class_or_of_classes_that_are_apart() -> None:
    scores, labels, owner = drawn(2)
    for one in recalibrate(scores, np.ones_like(labels), owner).values():
        assert np.isnan(one.value) and np.isnan(one.interval()).all()
    apart = recalibrate(labels * 2.0 - 1 + 0.1 * scores, labels, owner)
    assert np.isfinite(apart["calibration_intercept"].value)
    separated = recalibrate(labels * 20.0 - 10, labels, owner)
    assert np.isnan(separated["calibration_slope"].value)
