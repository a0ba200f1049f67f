"""The verdict of one run: what it claims holds over many simulated ones."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from srcmatters.evaluation.outcomes import Outcome
from srcmatters.evaluation.run_verdict import run_verdict


def predictions(seed: int, signal: float, push: float, patients: int = 120) -> pd.DataFrame:
    """Scores of a model that knows the disease by ``signal`` and reads the confounder by ``push``."""
    stream = np.random.default_rng(seed)
    label = np.arange(patients) % 2
    clean = stream.normal(0, 1, patients) + signal * label
    confounded = clean + push + stream.normal(0, 0.1, patients)
    scores = {"score_clean": clean, "score_confounded": confounded}
    return pd.DataFrame(
        {
            "case_id": [f"c{number}" for number in range(patients)],
            "patient_id": [f"p{number}" for number in range(patients)],
            "label": label,
            "carries": label == 1,
            **{name: 1 / (1 + np.exp(-values)) for name, values in scores.items()},
        }
    )


def test_a_model_that_reads_the_confounder_leans_and_says_by_how_much() -> None:
    outcome, text = run_verdict(predictions(1, 1.5, 2.0), 1.0)
    assert outcome is Outcome.LEANS
    assert "more than the margin of .05" in text
    assert "p_art 0" in text
    assert "p_art 0" not in run_verdict(predictions(1, 1.5, 2.0), 0.0)[1]


def test_a_model_that_does_not_react_is_within_the_margin_where_cases_suffice() -> None:
    outcome, text = run_verdict(predictions(1, 1.5, 0.0, patients=400), 1.0)
    assert outcome is Outcome.WITHIN_MARGIN
    assert "within the margin" in text


def test_a_model_that_does_not_know_the_target_is_not_ranked() -> None:
    outcome, text = run_verdict(predictions(2, 0.0, 0.0), 1.0)
    assert outcome is Outcome.NOT_RANKED
    assert "not be evidence of robustness" in text


def test_a_model_that_knows_the_confounder_alone_leans() -> None:
    """At chance without it: the loss is there, as the audit of the same network says."""
    outcome, text = run_verdict(predictions(2, 0.0, 2.0), 1.0)
    assert outcome is Outcome.LEANS and "more than the margin of .05" in text


def test_few_cases_decide_nothing() -> None:
    assert run_verdict(predictions(1, 1.5, 0.15, patients=40), 1.0)[0] is Outcome.INCONCLUSIVE


@pytest.mark.slow
def test_at_the_margin_a_lean_is_claimed_as_rarely_as_the_level_says() -> None:
    """A push of .155 costs .05 AUC at a signal of 1.5 SD: Phi(1.655 / 2.01^.5) - Phi(1.345 / 2.01^.5)."""
    outcomes = [run_verdict(predictions(seed, 1.5, 0.155), 1.0)[0] for seed in range(300)]
    for claim in (Outcome.LEANS, Outcome.WITHIN_MARGIN):
        assert np.mean([one is claim for one in outcomes]) < 0.09
