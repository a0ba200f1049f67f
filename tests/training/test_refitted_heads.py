"""Heads fitted again: the ridge regression it says, on patients as they were drawn; exact permutations."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import Ridge
from sklearn.metrics import roc_auc_score

from srcmatters.cohorts import CaseChoice, choose_cases
from srcmatters.evaluation.resampling import resample_patients
from srcmatters.training.refitted_heads import FrozenCell, _redrawn, permuted_aucs, refitted_aucs


def frozen_cell(signal: float = 1.0, p_art: float = 1.0, images: int = 160, seed: int = 0) -> FrozenCell:
    stream = np.random.default_rng(seed)
    cases = pd.DataFrame(
        {"patient_id": [f"p{case // 2}" for case in range(images)], "label": np.arange(images) // 2 % 2}
    )
    cases["case_id"] = [f"c{case}" for case in range(images)]
    features = stream.normal(size=(images, 30))
    features[:, 0] += signal * cases["label"]
    moved = features + 2.0 * (np.arange(30) == 1)
    chosen = choose_cases(cases, CaseChoice(p_art=p_art, num_folds=3))
    return FrozenCell(features, moved, cases, chosen, strength=0.2, p_art=p_art)


def test_a_refit_is_the_ridge_regression_on_the_patients_that_were_drawn() -> None:
    cell = frozen_cell()
    aucs = refitted_aucs(cell, refits=5)
    weights = resample_patients(cell.cases["patient_id"], 5)
    times = weights.counts[weights.rows(cell.cases["patient_id"])]
    labels = cell.cases["label"].to_numpy()
    train, test = cell.chosen.split.train, cell.chosen.split.test
    for number in range(5):
        drawn = np.repeat(train, times[train, number])
        carries = cell.chosen.carries[drawn, None]
        model = Ridge(alpha=4 / cell.strength)
        model.fit(np.where(carries, cell.confounded[drawn], cell.clean[drawn]), 2 * labels[drawn] - 1)
        for name, carrying in (("clean", np.zeros(len(test), bool)), ("ood", labels[test] == 0)):
            scores = model.predict(np.where(carrying[:, None], cell.confounded[test], cell.clean[test]))
            expected = roc_auc_score(labels[test], scores, sample_weight=times[test, number])
            assert aucs[f"{name}_auc"][number] == pytest.approx(expected, abs=1e-9)


def test_sources_folds_and_p_art_draw_the_same_patients() -> None:
    one, other = refitted_aucs(frozen_cell(p_art=0.0)), refitted_aucs(frozen_cell(p_art=0.0, seed=1))
    pd.testing.assert_frame_equal(one, refitted_aucs(frozen_cell(p_art=0.0)))
    assert (one["iid_auc"] == one["clean_auc"]).all(), "nobody carries"
    assert not other["clean_auc"].equals(one["clean_auc"])


def test_carriers_are_drawn_anew_at_a_share_and_stay_where_all_carry() -> None:
    half = frozen_cell(p_art=0.5)
    kept = FrozenCell(**{**vars(half), "p_art": 1.0})  # carriers as chosen
    assert not refitted_aucs(half, 5)["iid_auc"].equals(refitted_aucs(kept, 5)["iid_auc"])


def test_negatives_that_carry_are_drawn_anew_as_well() -> None:
    cell = replace(frozen_cell(p_art=0.5), p_neg=0.25)
    labels, test = cell.cases["label"].to_numpy(), cell.chosen.split.test
    drawn = [_redrawn(cell, labels, number) for number in range(2)]
    negatives = test[labels[test] == 0]
    assert [one[negatives].sum() for one in drawn] == [round(0.25 * len(negatives))] * 2
    assert (drawn[0][negatives] != drawn[1][negatives]).any()
    others = _redrawn(replace(cell, p_neg=0.0), labels, 0)
    assert (drawn[0][labels == 1] == others[labels == 1]).all() and not others[labels == 0].any()


def test_the_permutation_test_is_exact_where_labels_say_nothing() -> None:
    ranks = []
    for seed in range(60):
        areas = permuted_aucs(frozen_cell(signal=0.0, p_art=0.0, images=60, seed=seed), 39)["clean_auc"]
        ranks.append((areas <= areas[0]).mean())
    assert 0.35 < np.mean(ranks) < 0.67 and np.mean(np.array(ranks) > 0.95) < 0.2
    assert (permuted_aucs(frozen_cell(signal=2.0, p_art=0.0), 99)["clean_auc"].rank(ascending=False)[0]) == 1


def test_permuted_labels_are_at_chance_on_average() -> None:
    aucs = permuted_aucs(frozen_cell(p_art=0.0), 400)
    assert aucs["clean_auc"][1:].mean() == pytest.approx(0.5, abs=0.03)
    assert len(aucs) == 401 and aucs["permutation"].tolist() == list(range(401))
