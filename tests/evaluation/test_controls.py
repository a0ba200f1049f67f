"""Null controls: judged together, by a margin, and against the right null."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit, logit
from synthetic_study import draw_study

from srcmatters.evaluation import AnalysisPlan, analyse
from srcmatters.evaluation.verdicts import Outcome, control_verdicts
from srcmatters.runs.finished_runs import StudyResults

PLAN = AnalysisPlan(replicates=300, subgroups=())


def with_control(
    control: str, effect: float = 0.0, reaction: float = 0.0, separation: float = 1.5
) -> StudyResults:
    """A study at p_art 0, and a control at .5 in which half of either class carries a confounder."""
    study = draw_study({"a": 0.0}, p_arts=(0.0, 1.0), cases=200, seeds=2, separation=separation)
    stream = np.random.default_rng(1)
    controls = study.cells["p_art"] == 1
    cells = study.cells.assign(
        control=np.where(controls, control, "none"), p_art=np.where(controls, 0.5, study.cells["p_art"])
    )
    table = study.predictions
    mine = table["cell"].map(controls)
    carries = np.where(mine, stream.random(len(table)) < 0.5, table["carries"])
    shift = reaction + effect * mine
    moved = expit(logit(table["score_clean"]) + shift)
    return replace(study, cells=cells, predictions=table.assign(carries=carries, score_confounded=moved))


def test_a_reaction_is_part_of_the_null_of_an_independent_confounder() -> None:
    """i.i.d. - o.o.d. is not 0 in such a control, and need not be."""
    analysis = analyse(with_control("independent_confounder", reaction=1.0), PLAN)
    gap = analysis.gaps[analysis.gaps["control"] != "none"]
    assert (gap["low"] > 0.1).all()
    (row,) = analysis.controls.itertuples()
    assert row.null == "the same at p_art 0" and abs(row.value) < 0.05
    assert all(one.outcome is not Outcome.LEANS for one in control_verdicts(analysis))


def test_a_control_that_learnt_something_fails() -> None:
    analysis = analyse(with_control("independent_confounder", effect=1.5, reaction=1.0), PLAN)
    (verdict,) = control_verdicts(analysis)
    assert verdict.outcome is Outcome.LEANS and "fails: beyond ±.05" in verdict.text


def test_without_runs_at_p_art_0_an_independent_confounder_is_not_judged() -> None:
    study = with_control("independent_confounder", reaction=1.0)
    kept = study.cells["control"] != "none"
    tables = study.predictions[study.predictions["cell"].map(kept)]
    (verdict,) = control_verdicts(analyse(StudyResults(study.cells[kept], tables), PLAN))
    assert verdict.outcome is Outcome.SKIPPED and verdict.reason and "cannot be judged" in verdict.text
    at_0 = study.cells.assign(control="independent_confounder")
    rows = analyse(replace(study, cells=at_0), PLAN).controls
    assert (rows["p_art"] > 0).all(), "where nobody carries there is no control"


def test_shuffled_labels_are_judged_by_two_metrics_that_are_corrected_together() -> None:
    analysis = analyse(with_control("shuffled_labels", separation=0.0), PLAN)
    controls = analysis.controls
    assert controls["metric"].tolist() == ["iid_minus_ood_auc", "clean_auc"]
    for name in ("p_beyond", "p_equivalence"):
        smallest, other = sorted(controls[name])
        adjusted = sorted(controls[f"{name}_adjusted"])
        assert adjusted[0] == pytest.approx(min(1, 2 * smallest))
        assert adjusted[1] == pytest.approx(min(1, max(2 * smallest, other)))
    assert all(one.outcome is not Outcome.LEANS for one in control_verdicts(analysis))
    leaking = control_verdicts(analyse(with_control("shuffled_labels", separation=1.0), PLAN))
    (clean,) = (one for one in leaking if one.metric == "clean_auc")
    assert clean.outcome is Outcome.LEANS and "deviates from chance" in clean.text


def test_permuted_labels_give_a_baseline_and_an_exact_p() -> None:
    study = with_control("shuffled_labels", separation=0.0)
    controls = study.cells.index[study.cells["control"] != "none"]
    stream = np.random.default_rng(0)
    tables = []
    for cell in controls:
        areas = {name: 0.52 + 0.05 * stream.normal(size=100) for name in ("clean_auc", "iid_auc", "ood_auc")}
        areas["clean_auc"][0] = 0.9  # as trained: far from every permutation
        tables.append(pd.DataFrame(areas).assign(permutation=np.arange(100.0), cell=cell))
    table = analyse(replace(study, permutations=pd.concat(tables)), PLAN).controls.set_index("metric")
    assert table.at["clean_auc", "permutation_mean"] == pytest.approx(0.02, abs=0.01)
    assert table.at["clean_auc", "p_permutation"] == pytest.approx(1 / 100)
    assert table.at["iid_minus_ood_auc", "p_permutation"] > 0.01
