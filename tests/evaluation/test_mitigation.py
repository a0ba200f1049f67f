"""Recovered shares and the transfer matrix: by their formulas, and where the truth is known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from mitigation_study import EFFECTS, draw_mitigation_study as study

from srcmatters.evaluation import AnalysisPlan, environment_auc
from srcmatters.evaluation.estimates import Estimate
from srcmatters.evaluation.mitigation import UPPER_BOUND, analyse_mitigation
from srcmatters.evaluation.recovery import recovered_share
from srcmatters.evaluation.resampled_statistics import ResampledStatistic, mean_over_trainings

PLAN = AnalysisPlan(replicates=400)


def only(table: pd.DataFrame, **values: Any) -> pd.Series:
    rows = table[np.logical_and.reduce([table[name] == value for name, value in values.items()])]
    assert len(rows) == 1
    return rows.iloc[0]


def test_the_recovered_share_is_its_formula_and_its_interval_holds_the_truth() -> None:
    results = study(EFFECTS, {})
    mitigation = analyse_mitigation(results, PLAN)
    assert mitigation is not None
    means = {}
    for arm, rows in results.predictions.groupby(
        results.predictions["cell"].map(results.cells["mitigation"] + results.cells["control"])
    ):
        folds = [one for _, one in rows.groupby("fold")]
        means[arm] = [np.mean([environment_auc(one, name) for one in folds]) for name in ("clean", "ood")]
    clean, ood = means["nonenone"]
    for arm in ("paired", "balanced", "balanced_fake"):
        row = only(mitigation.recovered, mitigation=arm)
        assert row["recovered"] == pytest.approx((means[arm + "none"][1] - ood) / (clean - ood))
        assert row["low"] < row["recovered"] < row["high"]
        assert row["clean_difference"] == pytest.approx(means[arm + "none"][0] - clean)
    paired, fake = (only(mitigation.recovered, mitigation=name) for name in ("paired", "balanced_fake"))
    assert paired["low"] > 0.7 and paired["p_adjusted"] < 0.001
    assert fake["low"] < 0 < fake["high"] and np.isnan(fake["p_adjusted"]), "a null arm is in no family"
    assert only(mitigation.recovered, mitigation=UPPER_BOUND)["recovered"] == pytest.approx(1, abs=0.05)
    assert np.isnan(only(mitigation.recovered, mitigation="none")["recovered"])


def test_nothing_is_recovered_where_nothing_is_lost() -> None:
    mitigation = analyse_mitigation(study({"none": 0.0, "paired": 0.0}, {}), PLAN)
    assert mitigation is not None
    assert np.isnan(only(mitigation.recovered, mitigation="paired")["recovered"])


def test_an_arm_that_makes_another_confounder_worse_is_found_in_either_direction() -> None:
    for harm, carried_by in ((2.0, "negatives"), (-2.0, "positives")):
        results = study(
            {"none": 3.0, "paired": 0.3, "balanced": 0.3}, {"none": 0.2, "paired": harm, "balanced": 0.2}
        )
        mitigation = analyse_mitigation(results, PLAN)
        assert mitigation is not None
        untreated = mitigation.matrix[mitigation.matrix["tested"] == "noise"]
        worse = untreated[untreated["worse"]]
        assert worse[["mitigation", "carried_by"]].to_numpy().tolist() == [["paired", carried_by]]
        assert untreated["p_adjusted"].notna().all()
        treated = mitigation.matrix[mitigation.matrix["tested"] == "tag"]
        assert treated["p_adjusted"].isna().all() and not treated["worse"].any(), "not in the family"


def test_a_smaller_reaction_is_not_a_harm_although_the_inflated_auc_sinks() -> None:
    mitigation = analyse_mitigation(study({"none": 3.0, "paired": 0.3}, {"none": 2.0, "paired": 0.1}), PLAN)
    assert mitigation is not None
    untreated = mitigation.matrix[mitigation.matrix["tested"] == "noise"]
    positives = only(untreated, carried_by="positives")
    assert positives["high"] < 0 and positives["p_value"] == 1, "the AUC sinks, to the clean one"
    assert not untreated["worse"].any()
    assert only(untreated, carried_by="negatives")["p_adjusted"] < 0.001, "and it is better where it fell"


def test_a_study_without_arms_has_no_such_analysis() -> None:
    assert analyse_mitigation(study({"none": 1.0}, {}), PLAN) is None
    assert analyse_mitigation(study({"paired": 1.0}, {}), PLAN) is None


def test_fiellers_interval_covers_a_share_as_often_as_it_says() -> None:
    stream, covered, true = np.random.default_rng(0), 0, 0.6
    simulations = 300

    def over(statistics: dict[tuple[int, int], ResampledStatistic]) -> Estimate:
        return mean_over_trainings(list(statistics.values()), 200.0)

    for _ in range(simulations):
        sides: list[dict[tuple[int, int], ResampledStatistic]] = [{}, {}]
        for fold in range(5):
            noise = stream.multivariate_normal([0, 0], [[0.0016, 0.0008], [0.0008, 0.0016]], size=201)
            for side, mean, errors in zip(sides, (0.3 * true, 0.3), noise.T, strict=True):
                value = mean + errors[0]
                side[fold, 0] = ResampledStatistic(value, value + errors[1:], np.zeros(1))
        share = recovered_share(*sides, over)
        covered += share.low <= true <= share.high
    assert 0.92 <= covered / simulations <= 0.995
