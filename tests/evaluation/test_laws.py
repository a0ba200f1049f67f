"""Laws of the analysis for any table: order, names of labels and copies of patients do not matter."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings, strategies as st
from synthetic_study import draw_study

from srcmatters.evaluation import AnalysisPlan, Mixture, analyse, environment_auc
from srcmatters.evaluation.resampling import resample_patients
from srcmatters.runs.finished_runs import StudyResults

PLAN = AnalysisPlan(replicates=200, subgroups=("sex",))
STUDY = draw_study({"a": 2.0, "b": 0.0}, folds=2, cases=30)
BEFORE = analyse(STUDY, PLAN)
TABLES = ("environments", "gaps", "leans", "contrasts", "curves", "interactions", "subgroups")


@settings(max_examples=4, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_no_order_of_cases_columns_or_runs_changes_the_analysis(seed: int) -> None:
    stream = np.random.default_rng(seed)
    runs = stream.permutation(len(STUDY.cells))

    def shuffled(table: pd.DataFrame) -> pd.DataFrame:
        return table.iloc[stream.permutation(len(table))][list(stream.permutation(table.columns))]

    cells = STUDY.cells.iloc[runs]
    cells.attrs = STUDY.cells.attrs
    after = analyse(StudyResults(cells, shuffled(STUDY.predictions), shuffled(STUDY.validation)), PLAN)
    for name in TABLES:
        pd.testing.assert_frame_equal(getattr(BEFORE, name), getattr(after, name), rtol=1e-9)


@settings(max_examples=40, deadline=None)
@given(
    labels=st.lists(st.integers(0, 1), min_size=6, max_size=40).filter(lambda one: len(set(one)) == 2),
    seed=st.integers(0, 2**32 - 1),
)
def test_exchanging_the_labels_and_turning_the_scores_round_leaves_every_auc(
    labels: list[int], seed: int
) -> None:
    stream = np.random.default_rng(seed)
    label = np.array(labels)
    scores = np.round(stream.random((2, len(label))), 1)  # with ties
    table = pd.DataFrame({"case_id": [f"c{n}" for n in range(len(label))], "patient_id": "p", "label": label})
    table = table.assign(carries=label == 1, score_clean=scores[0], score_confounded=scores[1])
    turned = table.assign(label=1 - label, score_clean=1 - scores[0], score_confounded=1 - scores[1])
    for name in ("clean", "iid", "confounded"):
        assert environment_auc(turned, name) == pytest.approx(environment_auc(table, name))
    # Who carries is turned round with the labels: reversed is what every old negative carries.
    assert environment_auc(turned, Mixture(1.0, 0.0)) == pytest.approx(environment_auc(table, "ood"))


def test_copies_of_all_patients_leave_every_value_and_narrow_the_intervals() -> None:
    twin = STUDY.predictions.assign(
        case_id=STUDY.predictions["case_id"] + "x", patient_id=STUDY.predictions["patient_id"] + "x"
    )
    doubled = replace(STUDY, predictions=pd.concat([STUDY.predictions, twin], ignore_index=True))
    after = analyse(doubled, replace(PLAN, subgroups=()))
    for name, column in (("environments", "auc"), ("gaps", "effect"), ("leans", "lean")):
        np.testing.assert_allclose(getattr(after, name)[column], getattr(BEFORE, name)[column], atol=1e-12)
    assert (after.leans["of_patients"] < 0.9 * BEFORE.leans["of_patients"])[
        lambda one: BEFORE.leans["lean"] != 0
    ].all()


def test_resamples_belong_to_the_patient_whatever_the_order_of_the_cases() -> None:
    """The counts alone are the same for any four patients; which row is whose is what matters."""
    names = np.array(["b", "a", "c", "a", "d"])
    one, other = resample_patients(names, 50, seed=3), resample_patients(names[::-1], 50, seed=3)
    for name in "abcd":
        np.testing.assert_array_equal(one.counts[one.rows([name])], other.counts[other.rows([name])])
    assert len({one.rows([name])[0] for name in "abcd"}) == 4
    assert one.counts.dtype == np.uint8 and not np.array_equal(one.counts[0], one.counts[1])
