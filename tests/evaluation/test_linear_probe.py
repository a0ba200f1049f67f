"""A linear probe finds what is there, and nothing in a patient whom it has seen before."""

from __future__ import annotations

import numpy as np
import pytest

from srcmatters.errors import InputError
from srcmatters.evaluation import linear_probe as probe_module
from srcmatters.evaluation.linear_probe import linear_probe, probe_difference


def cases(shift: float, count: int = 120, size: int = 6) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Features of which the first tells of the label; two images per patient."""
    rng = np.random.default_rng(0)
    labels = np.repeat(rng.permutation([0, 1] * (count // 4)), 2)
    features = rng.standard_normal((count, size))
    features[:, 0] += shift * labels
    return features, labels, [f"P{number // 2}" for number in range(count)]


def test_what_separates_the_labels_is_found() -> None:
    assert linear_probe(*cases(8)).auc > 0.99
    some = linear_probe(*cases(1.5))
    assert 0.5 < some.low < 0.75 < some.auc < some.high <= 1


def test_nothing_is_found_where_nothing_is() -> None:
    probe = linear_probe(*cases(0))
    assert probe.low < 0.5 < probe.high


@pytest.mark.slow
def test_the_interval_misses_chance_as_rarely_as_it_says() -> None:
    rng, missed = np.random.default_rng(0), 0
    for number in range(150):
        labels = rng.permutation([0, 1] * 60)
        probe = linear_probe(
            rng.standard_normal((120, 8)), labels, [str(case) for case in range(120)], number
        )
        missed += not probe.low <= 0.5 <= probe.high
    assert missed <= 14  # 5 % are 7.5, and some 25 without the factor for shared training cases


def test_a_patient_is_never_recognised() -> None:
    rng = np.random.default_rng(0)
    patients = np.repeat(np.arange(30), 6)
    labels = (np.arange(30) % 2)[patients]
    # Every image shows whose it is, and nothing else: one image of a patient tells the label of the rest.
    features = 10 * rng.standard_normal((30, 40))[patients] + rng.standard_normal((180, 40))
    assert linear_probe(features, labels, [str(name) for name in patients]).auc < 0.75


def test_more_features_than_cases_are_welcome() -> None:
    features, labels, patients = cases(3, count=80, size=6)
    # Standardised features of one kind; the rest is empty, so that only the way to the solution differs.
    wide = np.hstack([features, np.zeros((80, 200))])
    narrow = linear_probe(features, labels, patients)
    assert linear_probe(wide, labels, patients).auc == pytest.approx(narrow.auc, abs=1e-3)
    assert linear_probe(1000 * features - 7, labels, patients).auc == pytest.approx(narrow.auc, abs=1e-3)


def test_differences_are_paired() -> None:
    features, labels, patients = cases(1.5)
    nearly = features + 0.05 * np.random.default_rng(1).standard_normal(features.shape)
    one, other = (linear_probe(each, labels, patients) for each in (features, nearly))
    same = probe_difference(one, linear_probe(features, labels, patients))
    assert (same.auc, same.low, same.high) == (0, 0, 0)
    difference = probe_difference(one, other)
    assert difference.high - difference.low < 0.5 * (one.high - one.low)


def test_too_few_patients_are_said() -> None:
    features, labels, _ = cases(1)
    with pytest.raises(InputError, match="1 patients, expected 4"):
        linear_probe(features, labels, [f"P{label}" for label in labels])
    with pytest.raises(InputError, match="0 patients"):
        linear_probe(features, np.zeros(120, dtype=int), [str(number) for number in range(120)])


def test_four_patients_a_label_are_enough() -> None:
    features, labels = np.random.default_rng(0).standard_normal((8, 3)), [0, 1] * 4
    assert 0 <= linear_probe(features, labels, [str(number) for number in range(8)]).auc <= 1


def test_features_that_are_no_numbers_are_refused() -> None:
    features, labels, patients = cases(1)
    features[3, 2] = np.nan
    with pytest.raises(InputError, match="NaN"):
        linear_probe(features, labels, patients)
    with pytest.raises(InputError, match="120 rows of features, 119 labels"):
        linear_probe(cases(1)[0], labels[1:], patients)


def test_only_cases_of_one_fold_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    """Probes of different folds have scales of their own: moving all scores of a fold changes nothing."""
    stream = np.random.default_rng(0)
    labels, patients = np.arange(60) % 2, [f"p{case}" for case in range(60)]
    features = stream.normal(size=(60, 4)) + labels[:, None]
    before = linear_probe(features, labels, patients)
    calls = iter(range(100))

    def moved(*arguments: object) -> np.ndarray:
        return original(*arguments) + 100.0 * next(calls)

    original = probe_module._scores
    monkeypatch.setattr(probe_module, "_scores", moved)
    after = linear_probe(features, labels, patients)
    assert after.auc == pytest.approx(before.auc)
    np.testing.assert_allclose(after.resampled, before.resampled)
