"""The other tests between sources: what they can and cannot say."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import ttest_1samp
from statsmodels.stats.multitest import multipletests

from srcmatters.evaluation.analysis_plan import AnalysisPlan
from srcmatters.evaluation.contrasts import adjusted_p_values, with_families
from srcmatters.evaluation.fold_tests import nadeau_bengio_p_value, permutation_test_over_folds

LOWEST = 2 / 252


def test_five_against_five_folds_cannot_fall_below_the_published_p() -> None:
    """Sources that could not be further apart still get .0079, the p of the publication."""
    tested = permutation_test_over_folds(np.zeros(5) + 0.01 * np.arange(5), np.ones(5))
    assert tested.p_value == pytest.approx(LOWEST)
    assert tested.attainable == pytest.approx(1 / 126)
    assert round(tested.attainable, 4) == 0.0079


@pytest.mark.parametrize(("first", "second", "attainable"), [(1, 1, 1), (2, 2, 2 / 6), (3, 3, 0.1)])
def test_fewer_folds_can_attain_less(first: int, second: int, attainable: float) -> None:
    tested = permutation_test_over_folds(np.zeros(first), np.ones(second))
    assert tested.attainable == pytest.approx(attainable)
    assert tested.p_value >= attainable - 1e-12


def test_equal_folds_do_not_differ() -> None:
    values = np.array([0.7, 0.8, 0.75, 0.72, 0.81])
    assert permutation_test_over_folds(values, values).p_value == 1
    assert np.isnan(nadeau_bengio_p_value(values - values, 0.25))


def test_many_folds_are_permuted_at_random_and_say_how_low_they_can_go() -> None:
    values = np.linspace(0, 1, 15)
    tested = permutation_test_over_folds(values, values + 5)
    assert tested.p_value == tested.attainable == 2 / 10_000
    assert permutation_test_over_folds(values, values + 0.1).p_value > 0.3


def test_the_corrected_test_is_the_t_test_where_folds_share_nothing() -> None:
    values = np.array([0.1, 0.03, 0.05, -0.02, 0.08])
    assert nadeau_bengio_p_value(values, 0.0) == pytest.approx(ttest_1samp(values, 0).pvalue)
    assert nadeau_bengio_p_value(values, 0.25) > 2 * nadeau_bengio_p_value(values, 0.0)
    assert np.isnan(nadeau_bengio_p_value(values[:1], 0.25))


def test_of_the_papers_18_tests_none_survives_holm_and_seven_benjamini_hochberg() -> None:
    """Seven are at the lowest p that 5 against 5 folds can give; of the others it is known that p > .05."""
    p_values = pd.Series([LOWEST] * 7 + list(np.linspace(0.056, 1, 11)))
    assert (adjusted_p_values(p_values, "holm") < 0.05).sum() == 0
    assert (adjusted_p_values(p_values, "fdr_bh") < 0.05).sum() == 7


def test_an_unknown_p_does_not_count_in_its_family() -> None:
    adjusted = adjusted_p_values(pd.Series([0.01, np.nan, 0.04]), "holm")
    assert adjusted[[0, 2]].tolist() == pytest.approx([0.02, 0.04])
    assert np.isnan(adjusted[1])


def contrasts() -> pd.DataFrame:
    rows = [
        (metric, confounder, p_art, pair, control)
        for metric in ("ood_auc", "clean_auc")
        for confounder in ("tag", "noise")
        for p_art in (0.5, 1.0)
        for pair in (("a", "b"), ("a", "c"))
        for control in ("none", "shuffled_labels")
    ]
    names = ["metric", "confounder", "p_art", "pair", "control"]
    table = pd.DataFrame(rows, columns=names).assign(p_value=0.02, p_equivalence=0.01)
    return table.assign(source_a="a", source_b=table["pair"].str[1])


@pytest.mark.parametrize(
    ("plan", "primary"),
    [
        (AnalysisPlan(metric="ood_auc"), 4),
        (AnalysisPlan(metric="ood_auc", confounder="tag"), 2),
        (AnalysisPlan(metric="ood_auc", confounder="tag", sources=("b", "a")), 1),
        (AnalysisPlan(p_art=0.2), 0),
    ],
)
def test_the_primary_family_is_what_the_plan_declares(plan: AnalysisPlan, primary: int) -> None:
    table = with_families(contrasts(), plan)
    primary_rows = table[table["family"] == "primary"]
    assert len(primary_rows) == primary
    np.testing.assert_allclose(primary_rows["p_adjusted"], 0.02 * primary)
    np.testing.assert_allclose(primary_rows["p_equivalence_adjusted"], 0.01 * primary)
    assert primary_rows["equivalent"].all()
    assert set(primary_rows["correction"]) <= {"holm"}
    others = table[table["family"] != "primary"]
    assert set(others["correction"]) == {"bh"}
    np.testing.assert_allclose(others["p_adjusted"], 0.02)  # all p are equal: the rate is theirs
    assert set(table.loc[table["control"] != "none", "family"]) == {"control"}


def test_runs_at_p_art_0_do_not_dilute_a_family() -> None:
    table = contrasts()
    more = pd.concat([table, table.assign(p_art=0.0, p_value=0.9)], ignore_index=True)
    few, many = (with_families(rows, AnalysisPlan(metric="ood_auc")) for rows in (table, more))
    assert set(many.loc[many["p_art"] == 0, "family"]) == {"reference", "control"}
    for name in ("primary", "secondary"):
        of_few, of_many = (rows.loc[rows["family"] == name, "p_adjusted"].tolist() for rows in (few, many))
        assert of_few == of_many


def test_corrections_are_those_of_the_library() -> None:
    p_values = pd.Series([0.01, 0.04, 0.03, 0.005, 0.9, 0.01])
    for method in ("holm", "fdr_bh"):
        expected = multipletests(p_values, method=method)[1]
        np.testing.assert_allclose(adjusted_p_values(p_values, method), expected, rtol=1e-12)
