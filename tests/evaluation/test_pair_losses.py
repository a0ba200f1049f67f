"""Four states of a pair: every environment, what was learnt of either confounder, and the words for it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from pair_study import draw_four_states, draw_pair_study
from sklearn.metrics import roc_auc_score

from srcmatters.evaluation import AnalysisPlan
from srcmatters.evaluation.environments import compute_metrics
from srcmatters.evaluation.four_states import ENVIRONMENTS, compute_pair_metrics, pair_auc
from srcmatters.evaluation.pairs import analyse_pairs
from srcmatters.evaluation.run_verdict import pair_verdicts
from srcmatters.reports.pair_section import pair_section
from srcmatters.runs.finished_runs import StudyResults

PLAN = AnalysisPlan(p_art=1.0, replicates=300)


def by_hand(table: pd.DataFrame, environment: str) -> float:
    """Case by case, as the definition has it."""
    scores = []
    for row in table.itertuples():
        carried = []
        for who, assigned in zip(
            ENVIRONMENTS[environment], (row.carries_first, row.carries_second), strict=True
        ):
            answers = {"nobody": False, "everybody": True, "assigned": assigned, "reversed": row.label == 0}
            carried.append(answers[who])
        name = {(0, 0): "clean", (1, 0): "first", (0, 1): "second", (1, 1): "both"}[tuple(map(int, carried))]  # type: ignore[index]
        scores.append(getattr(row, f"score_{name}"))
    return float(roc_auc_score(table["label"], scores))


@pytest.fixture
def table() -> pd.DataFrame:
    return draw_four_states(np.random.default_rng(1), (1.0, 0.4), p_art=0.6)


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_an_environment_is_what_its_definition_says(table: pd.DataFrame, environment: str) -> None:
    assert pair_auc(table, environment) == by_hand(table, environment)


def test_each_alone_has_the_metrics_of_a_single_confounder(table: pd.DataFrame) -> None:
    metrics = compute_pair_metrics(table)
    for name in ("first", "second"):
        columns = {f"score_{name}": "score_confounded", f"carries_{name}": "carries"}
        single = compute_metrics(table.rename(columns=columns))
        assert metrics[f"{name}_alone_reversed_auc"] == single["ood_auc"]
        assert metrics["clean_auc"] == single["clean_auc"]


def losses(effects: dict[float, tuple[float, float]]) -> pd.DataFrame:
    table = analyse_pairs(draw_pair_study(effects), PLAN)
    return table[(table["p_art"] == 1) & table["loss"].notna()].set_index("environment")


def test_who_leans_on_the_first_alone_loses_where_it_is_reversed() -> None:
    table = losses({1.0: (2.0, 0.0)})
    assert set(table["metric"]) == {"loss"}
    assert table["outcome"]["first_reversed"] == table["outcome"]["ood"] == "LEANS"
    assert table["outcome"]["second_reversed"] == "WITHIN MARGIN"
    assert table["loss"]["second_reversed"] == 0
    assert table["loss"]["first_alone_reversed"] == pytest.approx(table["loss"]["first_reversed"])
    assert (table["p_beyond_adjusted"] >= table["p_beyond"]).all()


def test_a_loss_that_was_there_at_p_art_0_was_not_learnt() -> None:
    table = losses({0.0: (0.6, 0.0), 1.0: (0.6, 2.0)})
    assert set(table["metric"]) == {"learned"}
    assert table["loss"]["first_alone_reversed"] == pytest.approx(0, abs=1e-12)
    assert table["outcome"]["second_alone_reversed"] == table["outcome"]["second_reversed"] == "LEANS"


def test_who_does_not_know_the_disease_is_not_ranked() -> None:
    results = draw_pair_study({1.0: (2.0, 0.0)})
    labels = results.four_states["label"]
    results.four_states["label"] = np.random.default_rng(0).permutation(labels)
    outcomes = analyse_pairs(results, PLAN).set_index("environment")["outcome"]
    assert outcomes["second_reversed"] == "NOT RANKED"
    assert outcomes["first_reversed"] == "LEANS", "it is at chance since it reads the first alone"


def test_the_section_says_which_of_both_it_leans_on() -> None:
    section = pair_section(draw_pair_study({0.0: (0.0, 0.0), 1.0: (2.0, 0.0)}), PLAN)
    assert section is not None
    first, second, both = section.verdicts
    assert first.outcome == both.outcome == "LEANS" and second.outcome == "WITHIN MARGIN"
    assert "a, tag+noise, p_art 1: with tag reversed, noise as in training, the network loses ." in first.text
    assert "AUC more than at p_art 0, beyond the margin of" in first.text
    assert "noise reversed, tag as in training" in second.text and "within the margin" in second.text
    areas, loss = section.tables
    assert [row[1] for row in areas.rows] == ["0", "1"] and [row[1] for row in loss.rows] == ["1"]
    assert all(len(row) == len(table.columns) for table in section.tables for row in table.rows)
    assert pair_section(StudyResults(pd.DataFrame(), pd.DataFrame()), PLAN) is None


@pytest.mark.parametrize(("folds", "remark"), [(1, "one training run"), (3, "With 3 training runs"), (5, "")])
def test_few_training_runs_are_remarked_on(folds: int, remark: str) -> None:
    results = draw_pair_study({1.0: (2.0, 0.0)})
    results.pairs.drop(results.pairs.index[results.pairs["fold"] >= folds], inplace=True)
    section = pair_section(results, PLAN)
    assert section is not None
    note = str(section.tables[1].note)
    assert remark in note and (remark or "training run" not in note)


def test_a_run_by_itself_says_it_of_each() -> None:
    table = draw_four_states(np.random.default_rng(1), (2.0, 0.0))
    outcomes = pair_verdicts(table, ("tag", "noise"), (1.0, 1.0))
    assert [outcome for outcome, _ in outcomes] == ["LEANS", "WITHIN MARGIN", "LEANS"]
    assert outcomes[0][1].startswith("Reversing tag alone, with noise as in training, costs .")
    assert outcomes[2][1].startswith("Reversing both tag and noise costs .")
