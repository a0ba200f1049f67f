"""Attributes in an audit: encoded, dependent, unequal, each without the others."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from audit_cases import BrightCorner, simulated_scores

from srcmatters.audit.audit_run import audit_model, audit_scores
from srcmatters.audit.case_images import CaseImages
from srcmatters.audit.check import Evidence, Finding
from srcmatters.audit.checks.attributes import Attributes
from srcmatters.audit.console import lines
from srcmatters.audit.page import render_page
from srcmatters.audit.record import as_record, read_record, write_record
from srcmatters.audit.result import Question
from srcmatters.audit.state_scores import StateScores
from srcmatters.cohorts import read_cases
from srcmatters.evaluation.attribute_encoding import attribute_encoding
from srcmatters.evaluation.attribute_groups import AttributeGroups, attribute_groups
from srcmatters.evaluation.attribute_performance import group_performance
from srcmatters.evaluation.outcomes import Outcome


def of_three_attributes(patients: int = 300) -> Evidence:
    """sex is encoded only, view dependent only, site unequal only; label and attributes are independent."""
    plain = simulated_scores({"tag": 0.0}, patients=patients)
    stream = np.random.default_rng(3)
    sex, view, site = (stream.integers(0, 2, patients) for _ in range(3))
    order = stream.permutation(patients)
    cases = plain.cases.iloc[order].reset_index(drop=True)
    cases = cases.assign(sex=np.where(sex, "M", "F"), view=np.where(view, "AP", "PA"), site=site)
    # Where the site is 1 the score knows less; its mean within each label is the same.
    noise = np.where(site == 1, 3.0, 0.3) * stream.normal(size=patients)
    clean = 1.5 * cases["label"].to_numpy() + 1.0 * view + noise
    features = stream.normal(size=(patients, 6))
    features[:, 2] += 2 * sex
    return Evidence(StateScores(cases, clean, {}), clean_features=features)


@pytest.fixture(scope="module")
def findings() -> dict[str, Finding]:
    return {one.subject: one for one in Attributes().run(of_three_attributes())}


def test_the_three_dissociate(findings: dict[str, Finding]) -> None:
    encoded = {name: max(row["low"] for row in one.details["encoded"]) for name, one in findings.items()}
    assert encoded["sex"] > 0.8 and encoded["view"] < 0.5 and encoded["site"] < 0.5
    dependent = {name: one.details["dependent"]["p_adjusted"] for name, one in findings.items()}
    assert dependent["view"] < 0.01 and min(dependent["sex"], dependent["site"]) > 0.05
    unequal = {
        name: min(
            row["p_adjusted"] for row in one.details["unequal"]["heterogeneity"] if row["metric"] == "auc"
        )
        for name, one in findings.items()
    }
    assert unequal["site"] < 0.001 and min(unequal["sex"], unequal["view"]) > 0.05


def test_the_sentences_say_direction_and_what_may_explain_it(findings: dict[str, Finding]) -> None:
    # PA is the last of the two in the order of the alphabet.
    assert "severity may explain it" in findings["view"].text and "scores of PA are" in findings["view"].text
    assert "SD lower than of AP within a label" in findings["view"].text
    assert findings["view"].high < 0 and "No dependence shown" in findings["sex"].text
    assert "lower in 1 than in 0" in findings["site"].text
    assert all(one.outcome is None for one in findings.values())


def test_groups_that_are_too_small_and_missing_values_are_named() -> None:
    evidence = of_three_attributes()
    evidence.clean_features = None
    site = pd.Series(["a"] * 150 + ["b"] * 130 + [None] * 15 + ["c"] * 5)
    notes = [f"text {place}" for place in range(300)]
    evidence.scores.cases["site"], evidence.scores.cases["notes"] = site, notes
    findings = {one.subject: one for one in Attributes().run(evidence)}
    assert findings["site"].details["patients"] == {"a": 150, "b": 130, "missing": 15}
    assert findings["site"].details["not_tested"]["c"] == "5 patients"
    assert "patients with positive" in findings["site"].details["not_tested"]["missing"]
    assert findings["notes"].outcome is Outcome.SKIPPED and "300 different texts" in findings["notes"].text


def test_console_page_and_record_show_the_same_table(tmp_path: Path, radiograph_cohort: Path) -> None:
    images = CaseImages(read_cases(radiograph_cohort))
    audited = audit_model(BrightCorner(), images, [Question("tag")])
    shown = "\n".join(lines(audited.outputs[0], lambda text, **_: text))
    page = render_page(audited, [Question("tag")])
    assert "Attributes: encoded, dependent, unequal" in shown and "severity may explain it" in shown
    assert "Attributes: encoded, dependent, unequal" in page
    record = read_record(write_record(audited, tmp_path))
    rows = [one for one in record["outputs"][0]["findings"] if one["check"] == "attributes"]
    tested = next(one for one in rows if one["subject"] == "sex")
    assert tested["details"]["encoded"] and tested["metric"] == "effect_in_sd"


def test_without_features_and_without_columns() -> None:
    evidence = of_three_attributes()
    evidence.clean_features = None
    findings = Attributes().run(evidence)
    assert all("Encoded: not tested" in one.text for one in findings)
    bare = audit_scores([simulated_scores({"tag": 0.0})], {"name": "m", "kind": "scores"})
    (none,) = [one for one in bare.outputs[0].findings if one.check == "attributes"]
    assert none.outcome is Outcome.NOT_APPLICABLE and json.dumps(as_record(bare))


def test_what_goes_with_the_label_alone_is_not_encoded() -> None:
    """Features that know the label know an attribute that goes with it; not so among cases of one label."""
    stream = np.random.default_rng(0)
    labels = stream.integers(0, 2, 200)
    groups = attribute_groups(
        pd.Series(stream.random(200) < 0.15 + 0.7 * labels, name="view"), np.arange(200)
    )
    assert isinstance(groups, AttributeGroups)
    features = stream.normal(size=(200, 4)) + 3 * labels[:, None]
    encodings = attribute_encoding(features, labels, np.arange(200), groups)
    assert [one.label for one in encodings] == [0, 1] and all(one.low < 0.5 for one in encodings)


def test_heterogeneity_of_equal_groups_is_seldom_shown() -> None:
    false = 0
    for seed in range(60):
        scores = simulated_scores({}, patients=120, images=2, seed=seed)
        sides = np.random.default_rng(seed).integers(0, 2, 120).repeat(2)
        groups = attribute_groups(pd.Series(sides, name="side"), scores.patients)
        assert isinstance(groups, AttributeGroups)
        _, tests, _ = group_performance(scores.clean, scores.labels, scores.patients, groups, 0.75)
        false += sum(test.p_value < 0.05 for test in tests)
    assert false <= 30, false  # of 300
