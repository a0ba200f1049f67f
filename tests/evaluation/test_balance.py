"""What else differs between the classes of a sampled cohort."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from synthetic_study import draw_study

from srcmatters.evaluation import AnalysisPlan, analyse
from srcmatters.evaluation.balance import standardised_mean_difference
from srcmatters.runs.finished_runs import StudyResults


def test_the_difference_is_in_standard_deviations() -> None:
    stream = np.random.default_rng(0)
    labels = np.tile([0, 1], 20_000)
    ages = pd.Series(50 + 10 * stream.normal(size=40_000) + 5 * labels)
    assert standardised_mean_difference(ages, labels) == pytest.approx(0.5, abs=0.03)
    assert standardised_mean_difference(-ages, labels) == pytest.approx(0.5, abs=0.03)
    views = pd.Series(np.where(stream.random(40_000) < 0.5 + 0.2 * labels, "AP", "PA"))
    expected = 0.2 / np.sqrt((0.25 + 0.21) / 2)
    assert standardised_mean_difference(views, labels) == pytest.approx(expected, abs=0.03)
    assert standardised_mean_difference(pd.Series(["a", "a"]), np.array([0, 1])) == 0
    assert np.isnan(
        standardised_mean_difference(pd.Series([f"text {n}" for n in range(50)]), np.arange(50) % 2)
    )


def test_a_column_that_goes_with_the_label_is_warned_of() -> None:
    study = draw_study({"a": 0.0}, p_arts=(1.0,))
    table = study.predictions
    environment = np.where((table["label"] == 1) == (table["sex"] == "F"), "iid", "ood")
    view = np.where((table["label"] == 0) & (environment == "iid"), "AP", "PA")
    sampled = table.assign(environment=environment, carries=table["sex"] == "F", view=view)
    cells = study.cells.assign(confounder="sex")
    analysis = analyse(StudyResults(cells, sampled), AnalysisPlan(replicates=200, subgroups=()))
    rows = analysis.balance.set_index(["set", "column"])["standardised_difference"]
    assert rows["iid", "view"] > 0.25 > rows["ood", "view"]
    warned = [note for note in analysis.notes if "differ in view" in note]
    assert len(warned) == 1 and "the iid set" in warned[0]
