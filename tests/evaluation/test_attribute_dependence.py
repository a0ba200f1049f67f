"""Attributes: who is permuted with whom, and how often a score that depends on none is said to."""

from itertools import permutations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest

from srcmatters.evaluation.attribute_arrangements import arrangements
from srcmatters.evaluation.attribute_dependence import Dependence, attribute_dependence
from srcmatters.evaluation.attribute_groups import AttributeGroups, attribute_groups
from srcmatters.evaluation.resampling import resample_patients


def cohort(
    seed: int, patients: int = 60, effect: float = 0.0, varying: bool = False
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Scores, labels, patients, attribute: 1 to 8 images of each, of some with both labels."""
    stream = np.random.default_rng([seed, patients])
    images = stream.integers(1, 9, patients)
    rows = np.repeat(np.arange(patients), images)
    of_most = stream.integers(0, 2, patients)
    labels = of_most[rows]
    both = (stream.random(patients) < 0.2)[rows]
    labels = np.where(both, stream.integers(0, 2, len(rows)), labels)
    # It goes with the label, which the score knows: only a comparison within labels is fair.
    of_patient = (stream.random(patients) < 0.3 + 0.4 * of_most)[rows]
    attribute = stream.random(len(rows)) < 0.3 + 0.4 * labels if varying else of_patient
    own = stream.normal(size=patients)[rows]
    scores = labels + 1.5 * own + 0.5 * stream.normal(size=len(rows)) + effect * attribute
    return scores, labels, rows.astype(str), attribute.astype(int)


def dependence(
    seed: int, effect: float = 0.0, varying: bool = False, by_rows: bool = False, permutations: int = 199
) -> Dependence:
    scores, labels, patients, attribute = cohort(seed, effect=effect, varying=varying)
    if by_rows:  # every image a patient of its own
        patients = np.arange(len(patients)).astype(str)
    groups = attribute_groups(pd.Series(attribute, name="sex"), patients)
    assert isinstance(groups, AttributeGroups)
    weights = resample_patients(patients, 200, seed)
    return attribute_dependence(
        scores, labels, patients, groups, weights, permutations=permutations, seed=seed
    )


def rejected(count: int, **how: bool) -> int:
    return sum(dependence(seed, **how).p_value < 0.05 for seed in range(count))


@pytest.mark.parametrize("varying", [False, True])
def test_an_independent_score_is_seldom_called_dependent(varying: bool) -> None:
    false = rejected(150, varying=varying)
    assert binomtest(false, 150, 0.05).pvalue > 0.001, false


def test_a_permutation_of_rows_calls_too_many_dependent() -> None:
    false = rejected(60, by_rows=True)
    assert binomtest(false, 60, 0.07, alternative="greater").pvalue < 1e-6, false


@pytest.mark.slow
@pytest.mark.parametrize("varying", [False, True])
def test_type_i_error_over_1000_tables(varying: bool) -> None:
    false = rejected(1000, varying=varying) / 1000
    assert 0.03 <= false <= 0.07, false
    assert rejected(1000, varying=False, by_rows=True) / 1000 > 0.07


def test_a_dependent_score_with_its_effect_and_direction() -> None:
    result = dependence(1, effect=2.0, permutations=999)
    assert result.p_value == 1 / 1000 and result.effect.group == "1" and result.against == "0"
    spread = np.sqrt(1.5**2 + 0.5**2 + 4 / 4)
    assert result.effect.low < 2.0 / spread < result.effect.high and result.effect.value > 0
    down = dependence(1, effect=-2.0)
    assert down.effect.high < 0


def test_all_arrangements_are_compared_where_they_are_few() -> None:
    scores = np.array([3.0, 2.5, 0.0, 0.3, 1.0, 2.0, 0.1, 0.2])
    labels, patients = np.array([1, 1, 1, 1, 0, 0, 0, 0]), np.array(list("abcdefgh"))
    attribute = np.array([1, 1, 0, 0, 1, 1, 0, 0])
    groups = AttributeGroups("sex", ("F", "M"), attribute, False, {}, 0)
    result = attribute_dependence(scores, labels, patients, groups, resample_patients(patients, 50))
    means = []
    for first in set(permutations([1, 1, 0, 0])):
        for second in set(permutations([1, 1, 0, 0])):
            one = np.array([*first, *second])
            means.append(scores[one == 1].sum() - scores[one == 0].sum())
    observed = scores[attribute == 1].sum() - scores[attribute == 0].sum()
    expected = np.mean(np.abs(means) >= abs(observed) - 1e-9)
    assert result.exact and result.permutations == 36 and result.p_value == pytest.approx(expected)


def test_patients_keep_what_belongs_to_them() -> None:
    """a and b have one value each; c's images differ, and so do those of d, who has as many."""
    patients = np.array(list("aabccddde"))
    labels = np.array([0, 0, 0, 0, 1, 0, 0, 1, 1])
    member = np.array([1, 1, 0, 1, 0, 0, 1, 1, 1])
    ways = arrangements(member, labels, patients)
    (drawn,) = ways.sampled(200, np.random.default_rng(0))
    assert (drawn[:, 0] == drawn[:, 1]).all()  # images of one patient stay together
    assert (drawn[:, 0] != drawn[:, 2]).all() and 0 < drawn[:, 0].mean() < 1  # a and b change places
    assert (drawn[:, 3] == 1).all() and (drawn[:, 4] == 0).all()  # nobody else has c's numbers of images
    assert (drawn[:, 5] != drawn[:, 6]).all() and 0 < drawn[:, 5].mean() < 1  # within d and label 0
    assert (drawn[:, 7] == 1).all() and (drawn[:, 8] == 1).all()
    assert ways.movable == 3


def test_missing_values_small_groups_and_free_text() -> None:
    patients = np.arange(60)
    ages = pd.Series(np.r_[np.arange(45.0), np.full(15, np.nan)], name="age")
    groups = attribute_groups(ages, patients)
    assert isinstance(groups, AttributeGroups)
    assert groups.levels == ("0 to 15", "15 to 29", "29 to 44", "missing") and groups.numeric
    sites = attribute_groups(pd.Series(["a"] * 30 + ["b"] * 26 + ["c"] * 4, name="site"), patients)
    assert isinstance(sites, AttributeGroups)
    assert sites.levels == ("a", "b") and sites.small == {"c": 4} and (sites.member[-4:] == -1).all()
    assert attribute_groups(pd.Series(["a"] * 60), patients) == "every value is 'a'"
    assert "60 different texts" in str(attribute_groups(pd.Series([f"t{n}" for n in range(60)]), patients))
