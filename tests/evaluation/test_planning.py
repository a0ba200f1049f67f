"""What a study can show: it follows from its size, and agrees with the analysis."""

from __future__ import annotations

from dataclasses import replace

import pytest
from scipy import stats

from srcmatters.evaluation.estimates import Estimate
from srcmatters.evaluation.planning import (
    StudySize,
    lean_error,
    patients_for,
    smallest_difference,
    smallest_margin,
)

SIZE = StudySize(161, 161)


def test_it_is_the_detectable_difference_of_such_an_estimate() -> None:
    error, freedom = lean_error(SIZE)
    estimate = Estimate(0.0, error, freedom, 5)
    assert smallest_difference(SIZE) == pytest.approx(estimate.detectable_difference())
    margin = smallest_margin(SIZE)
    # A true difference of 0 passes both one-sided tests with 80 %: each with 90 %.
    assert margin / error == pytest.approx(stats.t.ppf(0.95, freedom) + stats.t.ppf(0.9, freedom))


def test_more_patients_folds_and_seeds_show_less() -> None:
    first = smallest_difference(SIZE)
    for larger in (StudySize(644, 644), replace(SIZE, folds=10)):
        assert smallest_difference(larger) < first
        assert smallest_margin(larger) < smallest_margin(SIZE)
    assert smallest_difference(StudySize(20, 302)) > first, "the rarer class decides"


def test_within_5_hundredths_is_out_of_reach_with_440_images_and_one_seed() -> None:
    assert smallest_margin(SIZE) > 0.05


def test_what_it_would_take_is_what_shows_it() -> None:
    many = replace(SIZE, folds=5, seeds=5)
    needed = patients_for(0.08, many)
    assert needed is not None
    assert smallest_difference(StudySize(needed // 2, needed - needed // 2, 5, 5)) <= 0.0801
    fewer = round(0.9 * needed)
    assert smallest_difference(StudySize(fewer // 2, fewer - fewer // 2, 5, 5)) > 0.08
    assert patients_for(0.001, SIZE) is None, "runs differ, however many patients there are"
