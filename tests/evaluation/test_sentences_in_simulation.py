"""The report's sentences against the truth, in simulated studies: few here, many behind the marker "slow"."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import inference
import numpy as np
import pytest
import simulated_studies

from srcmatters.evaluation import AnalysisPlan, analyse
from srcmatters.evaluation.resampled_runs import ResampledRuns
from srcmatters.evaluation.resampled_statistics import combine
from srcmatters.evaluation.verdicts import Outcome, Verdict, verdicts


def verdict(kind: str, outcome: Outcome, *sources: str, low: float = -1.0, high: float = 1.0) -> Verdict:
    ends = {"value": (low + high) / 2, "low": low, "high": high}
    axes = {"confounder": "tag0"}
    return Verdict(kind, outcome, axes, sources, 1.0, "", **ends, not_excluded=high)  # type: ignore[arg-type]


def test_what_is_false_is_counted_as_such() -> None:
    own = {("tag0", "a"): 0.04, ("tag0", "b"): 0.2}
    false = [
        verdict("lean", Outcome.LEANS, "a"),
        verdict("lean", Outcome.WITHIN_MARGIN, "b"),
        verdict("comparison", Outcome.LEANS, "a", "b"),
        verdict("comparison", Outcome.WITHIN_MARGIN, "a", "b"),
        verdict("control", Outcome.LEANS, "a"),
        verdict("lean", Outcome.INCONCLUSIVE, "b", low=0.01, high=0.19),
        verdict("comparison", Outcome.INCONCLUSIVE, "a", "b", low=-0.15, high=0.1),
    ]
    true = [
        verdict("lean", Outcome.LEANS, "b"),
        verdict("lean", Outcome.WITHIN_MARGIN, "a"),
        verdict("comparison", Outcome.LEANS, "b", "a"),
        verdict("lean", Outcome.INCONCLUSIVE, "b", low=0.01, high=0.21),
        verdict("comparison", Outcome.INCONCLUSIVE, "a", "b", low=-0.17, high=0.1),
        verdict("comparison", Outcome.NOT_RANKED, "a", "b"),
        verdict("control", Outcome.WITHIN_MARGIN, "a"),
    ]
    assert all(inference.is_false(one, own, 0.05) for one in false)
    assert not any(inference.is_false(one, own, 0.05) for one in true)
    assert inference.is_missed(verdict("lean", Outcome.LEANS, "b", low=0.1, high=0.19), own)
    assert not inference.is_missed(verdict("comparison", Outcome.LEANS, "b", "a", low=0.1, high=0.19), own)


def test_an_interrupted_simulation_goes_on_from_one_flat_object(tmp_path: Path) -> None:
    record = inference.read_counts(tmp_path / "none.json")
    record["near_1_88"].update({"studies": 10, "lean LEANS, sentences": 3})
    inference.write_counts(tmp_path / "counts.json", record)
    assert inference.read_counts(tmp_path / "counts.json") == record
    flat = json.loads((tmp_path / "counts.json").read_text())
    assert flat == {"near_1_88: studies": 10, "near_1_88: lean LEANS, sentences": 3}


def test_a_share_of_false_sentences_above_the_level_fails() -> None:
    scenario = simulated_studies.Scenario()
    counts = Counter({"studies": 1000, "shown": 1000})
    assert inference.failures(scenario, counts + Counter({"lean LEANS, false": 60})) == []
    assert len(inference.failures(scenario, counts + Counter({"lean LEANS, false": 70}))) == 1
    assert inference.failures(replace(scenario, power=True), Counter({"studies": 1000, "shown": 700}))
    assert inference.clopper_pearson(0, 10) == (0.0, pytest.approx(0.308, abs=1e-3))


def test_the_true_loss_is_that_of_many_images() -> None:
    source = simulated_studies.PlantedSource(1.6, 0.8, 0.3)
    stream = np.random.default_rng(0)
    weight = stream.normal(size=simulated_studies.DIMENSIONS)
    moved = simulated_studies.direction(source, source.shift)
    positives, negatives = stream.normal(size=(2, 100_000, simulated_studies.DIMENSIONS))
    positives[:, 0] += source.separation
    iid = ((positives + moved) @ weight > negatives @ weight).mean()
    ood = (positives @ weight > (negatives + moved) @ weight).mean()
    assert simulated_studies.population_loss(weight, source, moved) == pytest.approx(iid - ood, abs=0.006)


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("at_the_margin_440", {"images": 88, "folds": 3, "confounders": 1}),
        ("independent_440", {"images": 88, "folds": 3}),
    ],
)
def test_few_sentences_of_small_studies_are_false(name: str, changes: dict) -> None:
    """Of 8 studies three false ones show a share above .05; the next test gives that many."""
    scenario = replace(simulated_studies.SCENARIOS[name], **changes)
    counts = inference.measure(scenario, 8)
    assert inference.failures(scenario, counts) == []
    assert sum(count for name, count in counts.items() if name.endswith(", sentences")) > 0


def test_the_simulation_sees_a_verdict_that_takes_reaction_for_lean(monkeypatch: pytest.MonkeyPatch) -> None:
    """Were the loss itself called a lean, features that react would be said to lean: that must be seen."""
    scenario = replace(
        simulated_studies.SCENARIOS["reacts_up_440"],
        images=88,
        folds=3,
        sources={name: simulated_studies.PlantedSource(shift=0.05, reaction=1.2) for name in "ab"},
    )
    assert inference.failures(scenario, inference.measure(scenario, 8)) == []
    loss = ResampledRuns._loss

    def without_reference(runs, source, trained_at, p_art, name):  # type: ignore[no-untyped-def]
        statistics = loss(runs, source, trained_at, p_art, name)
        if trained_at > 0:
            return statistics
        return {place: combine((0.0,), (one,)) for place, one in statistics.items()}

    monkeypatch.setattr(ResampledRuns, "_loss", without_reference)
    assert inference.failures(scenario, inference.measure(scenario, 8)) != []


@pytest.mark.slow
@pytest.mark.parametrize("name", list(simulated_studies.SCENARIOS))
def test_no_kind_of_sentence_is_false_too_often_and_leans_are_told_apart(name: str) -> None:
    """The full number, 1,000 studies a scenario: scripts/benchmarks/inference.py."""
    scenario = simulated_studies.SCENARIOS[name]
    counts = inference.measure(scenario, 100)
    assert inference.failures(scenario, counts) == []


def test_sentences_do_not_depend_on_the_temperature_of_a_source() -> None:
    scenario = replace(simulated_studies.SCENARIOS["same_88_5_folds"], folds=3)
    plan = AnalysisPlan(replicates=200, subgroups=())
    texts = []
    for gain in (1.0, 3.0):
        sources = {name: replace(source, gain=gain) for name, source in scenario.sources.items()}
        draw = simulated_studies.draw_study(replace(scenario, sources=sources), 0)
        texts.append([one.text for one in verdicts(analyse(draw.results, plan, thorough=False))])
    assert texts[0] == texts[1]
