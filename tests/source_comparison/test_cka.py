"""CKA knows a representation again, whatever its axes and scale, and finds nothing where nothing is."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import ortho_group

from srcmatters.errors import InputError
from srcmatters.source_comparison.cka import centre, cka, cka_standard_errors, similarity_kernel


def features(seed: int, images: int = 60, size: int = 12) -> np.ndarray:
    """Features of unequal variance."""
    rng = np.random.default_rng(seed)
    return rng.standard_normal((images, size)) * np.linspace(0.2, 3, size)


def alike(one: np.ndarray, other: np.ndarray) -> float:
    return float(cka([similarity_kernel(one)], [similarity_kernel(other)])[0, 0])


def biased(one: np.ndarray, other: np.ndarray) -> float:
    """Linear CKA as it was first published (Kornblith et al. 2019, equation 8)."""
    one, other = one - one.mean(0), other - other.mean(0)
    shared = np.linalg.norm(other.T @ one) ** 2
    return float(shared / (np.linalg.norm(one.T @ one) * np.linalg.norm(other.T @ other)))


def song(one: np.ndarray, other: np.ndarray) -> float:
    """The unbiased estimate of HSIC, term by term (Song et al. 2012, equation 5)."""
    count = len(one)
    left, right = one @ one.T, other @ other.T
    np.fill_diagonal(left, 0)
    np.fill_diagonal(right, 0)
    trace = np.trace(left @ right)
    sums = left.sum() * right.sum() / ((count - 1) * (count - 2))
    mixed = 2 / (count - 2) * (left @ right).sum()
    return float((trace + sums - mixed) / (count * (count - 3)))


def test_a_representation_is_like_itself() -> None:
    assert alike(features(0), features(0)) == pytest.approx(1, abs=1e-12)


def test_rotation_scale_and_offset_change_nothing() -> None:
    one, other = features(0), features(0)[:, :8] ** 2
    rotated = 1e-9 * one @ ortho_group.rvs(12, random_state=0) + 1e-8
    assert alike(one, rotated) == pytest.approx(1, abs=1e-6)
    assert alike(rotated, other) == pytest.approx(alike(one, other), abs=1e-6)


def test_other_linear_transforms_do_change_it() -> None:
    one = features(0)
    assert alike(one, one @ np.diag(np.linspace(5, 0.05, 12))) < 0.9


def test_it_is_symmetric() -> None:
    kernels = [similarity_kernel(features(seed)) for seed in range(3)]
    np.testing.assert_allclose(cka(kernels, kernels), cka(kernels, kernels).T, atol=1e-14)


def test_it_is_the_unbiased_estimate_of_song() -> None:
    one = features(0)
    other = one[:, :5] ** 2 + 0.5 * features(1)[:, :5]
    expected = song(one, other) / np.sqrt(song(one, one) * song(other, other))
    assert alike(one, other) == pytest.approx(expected, rel=1e-10)


def test_independent_features_are_unlike_however_many_there_are() -> None:
    rng = np.random.default_rng(0)
    draws = [(rng.standard_normal((40, 2000)), rng.standard_normal((40, 2000))) for _ in range(12)]
    similarities = np.array([alike(*draw) for draw in draws])
    assert abs(similarities.mean()) < 0.03
    assert min(biased(*draw) for draw in draws) > 0.9  # what it would say without the correction


def test_what_is_shared_is_found_behind_many_features() -> None:
    rng = np.random.default_rng(0)
    shared = 20 * rng.standard_normal((40, 3))
    one, other = (np.hstack([shared, rng.standard_normal((40, 500))]) for _ in range(2))
    assert 0.5 < alike(one, other) < 1


def test_a_centred_kernel_sums_to_zero_and_stays_as_it_is() -> None:
    kernel = similarity_kernel(features(0))
    np.testing.assert_allclose(kernel.sum(0), 0, atol=1e-12)
    np.testing.assert_allclose(centre(kernel), kernel, atol=1e-12)


def test_part_of_a_kernel_is_the_kernel_of_fewer_images() -> None:
    one, other, rows = features(0), features(1), np.arange(0, 60, 3)
    part = [centre(similarity_kernel(each)[np.ix_(rows, rows)]) for each in (one, other)]
    expected = alike(one[rows], other[rows])
    assert float(cka(part[:1], part[1:])[0, 0]) == pytest.approx(expected, abs=1e-10)


def test_features_that_never_change_are_like_nothing() -> None:
    constant = np.full((60, 5), 3e4) + 1e-4 * np.random.default_rng(0).standard_normal((60, 5))
    assert np.isnan(alike(constant, features(0)))
    assert np.isnan(alike(np.zeros((60, 5)), features(0)))


def test_the_standard_error_is_the_spread_over_other_images() -> None:
    rng = np.random.default_rng(0)
    values, errors = [], []
    for _ in range(60):
        one = rng.standard_normal((80, 10))
        other = one + rng.standard_normal((80, 10))
        kernels = [similarity_kernel(one)], [similarity_kernel(other)]
        values.append(cka(*kernels)[0, 0])
        errors.append(cka_standard_errors(*kernels, patients=[str(n) for n in range(80)])[0])
    assert 0.75 < np.mean(errors) / np.std(values, ddof=1) < 1.35


def test_copies_of_an_image_add_no_certainty() -> None:
    rng = np.random.default_rng(0)
    one = rng.standard_normal((60, 6))
    other = one + rng.standard_normal((60, 6))
    patients = np.repeat([str(n) for n in range(60)], 4)
    copied = [similarity_kernel(np.repeat(each, 4, axis=0)) for each in (one, other)]
    whole = cka_standard_errors(copied[:1], copied[1:], patients)[0]
    apart = cka_standard_errors(copied[:1], copied[1:], [str(n) for n in range(240)])[0]
    assert whole > 1.4 * apart


def test_no_standard_error_from_one_patient() -> None:
    kernel = similarity_kernel(features(0))
    assert np.isnan(cka_standard_errors([kernel], [kernel], ["P"] * 60)).all()


@pytest.mark.parametrize(
    ("wrong", "message"), [(np.ones((3, 5)), "3 images"), (np.full((9, 2), np.nan), "NaN")]
)
def test_what_cannot_be_compared_is_said(wrong: np.ndarray, message: str) -> None:
    with pytest.raises(InputError, match=message):
        similarity_kernel(wrong)
