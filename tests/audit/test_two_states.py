"""What is computed of a two-state table."""

import numpy as np
import pytest
from audit_cases import simulated_scores
from scipy.special import ndtr
from sklearn.metrics import roc_auc_score

from srcmatters.audit.state_scores import State, column_of
from srcmatters.audit.two_states import TwoStates
from srcmatters.evaluation.environments import Mixture


def states(shift: float, **settings: float) -> TwoStates:
    return TwoStates(simulated_scores({"tag": shift}, **settings).pairs(State("tag")))


def test_loss_is_the_difference_of_two_aucs() -> None:
    scores = simulated_scores({"tag": 0.7})
    loss = TwoStates(scores.pairs(State("tag"))).loss_under_reversal()
    confounded, labels = scores.confounded[State("tag")], scores.labels
    aligned = roc_auc_score(labels, np.where(labels == 1, confounded, scores.clean))
    reversed_ = roc_auc_score(labels, np.where(labels == 0, confounded, scores.clean))
    assert loss.value == pytest.approx(aligned - reversed_, abs=1e-12)
    assert loss.low < loss.value < loss.high


def test_a_confounder_that_lowers_the_score_has_a_negative_loss() -> None:
    assert states(-0.7).loss_under_reversal().high < 0 < states(0.7).loss_under_reversal().low


def test_mixtures_run_from_all_positives_to_all_negatives() -> None:
    one = states(0.7)
    curve = one.mixture_curve()
    assert curve["step"].tolist() == pytest.approx(np.linspace(0, 1, 11))
    assert curve["auc"].iloc[0] == pytest.approx(one.auc(Mixture(1, 0)).value)
    assert curve["auc"].iloc[-1] == pytest.approx(one.auc(Mixture(0, 1)).value)
    assert (np.diff(curve["auc"]) < 0).all() and (curve["low"] < curve["auc"]).all()


def test_superiority_of_a_shift_of_normal_scores() -> None:
    # Two draws of N(0, 1.09) and N(shift, 1.18): P(second > first) by the normal distribution.
    value = states(1.0, patients=3000).superiority().value
    assert value == pytest.approx(ndtr(1.0 / np.sqrt(2 * 1.09 + 0.09)), abs=0.02)


def test_effect_direction_and_flips() -> None:
    one = states(1.0, spread=0.0)
    assert one.effect().value == pytest.approx(1.0, abs=1e-6)
    assert one.same_direction().value == 1.0
    assert one.slope() == pytest.approx((1.0, 1.0), abs=1e-6)
    clean = one.table["score_clean"].to_numpy()
    confounded = one.table["score_confounded"].to_numpy()
    assert one.flips(0.5).value == pytest.approx(np.mean((clean < 0.5) & (confounded >= 0.5)))


def test_patients_with_several_images_count_once() -> None:
    alone = states(0.7, patients=200, images=1).loss_under_reversal()
    four = states(0.7, patients=50, images=4).loss_under_reversal()
    width = [one.high - one.low for one in (alone, four)]
    assert width[1] > 1.4 * width[0]  # 200 images of 50 patients are fewer than 200 of 200


def test_a_case_without_a_score_leaves_the_pair() -> None:
    scores = simulated_scores({"tag": 0.7})
    scores.clean[3] = np.nan
    scores.confounded[State("tag")][5] = np.nan
    assert len(scores.pairs(State("tag"))) == len(scores.cases) - 2
    assert column_of(State("tag", 1 / 3)) in scores.table()
