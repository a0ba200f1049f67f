"""The card in the coalition's form: every element of its schema, in its order, and none that is empty."""

from __future__ import annotations

import json
from typing import Any
from xml.etree import ElementTree

import pytest
from card_cases import make_card, write_run

from srcmatters.export.model_card.chai import NAMESPACE, applied_model_card, as_xml
from srcmatters.export.model_card.checklist import checklist
from srcmatters.export.model_card.checklist_items import CLAIM, TRIPOD_AI

_METRIC = (
    "MetricGoal Results Interpretation TestType TestingDataDescription ValidationProcessAndJustification"
)
#: Sequences of the schema (v0.2); those in brackets may be left out.
SCHEMA = {
    "AppliedModelCard": "BasicInfo ReleaseInfo ModelSummary UsesAndDirections Warnings TrustIngredients"
    " KeyMetrics Resources Bibliography",
    "BasicInfo": "ModelName ModelDeveloper DeveloperContact",
    "ReleaseInfo": "ReleaseStage ReleaseDate ReleaseVersion GlobalAvailability [EHRCompatibility]"
    " [RegulatoryApproval]",
    "ModelSummary": "Summary Keywords",
    "UsesAndDirections": "IntendedUseAndWorkflow PrimaryIntendedUsers HowToUse TargetedPatientPopulation"
    " CautionedOutOfScopeSettings",
    "Warnings": "KnownRisksAndLimitations KnownBiasesOrEthicalConsiderations ClinicalRiskLevel",
    "TrustIngredients": "AISystemFacts TransparencyInformation",
    "AISystemFacts": "OutcomesAndOutputs ModelType [FoundationModels] InputDataSource OutputAndInputDataTypes"
    " DevelopmentDataCharacterization BiasMitigationApproaches OngoingMaintenance [Security] [Transparency]",
    "TransparencyInformation": "FundingSource [ThirdPartyInformation] StakeholdersConsulted",
    "KeyMetrics": "UsefulnessUsabilityEfficacy FairnessEquity SafetyReliability",
    "UsefulnessUsabilityEfficacy": _METRIC,
    "FairnessEquity": _METRIC,
    "SafetyReliability": _METRIC,
    "MetricResult": "Label ValueJson",
    "Resources": "[EvaluationReferences] [ClinicalTrial] PeerReviewedPublications [ReimbursementStatus]"
    " PatientConsentOrDisclosure",
}
_REPEATED = {"Keywords": "Keyword", "Results": "MetricResult"}
_MAY_BE_EMPTY = {"Bibliography"}


@pytest.fixture(scope="module")
def card(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return make_card(write_run(tmp_path_factory.mktemp("card") / "run"))


def check(element: ElementTree.Element) -> None:
    """An element has the children that the schema wants, in its order, and a text where it has none."""
    name = element.tag.removeprefix(f"{{{NAMESPACE}}}")
    children = [child.tag.removeprefix(f"{{{NAMESPACE}}}") for child in element]
    if name in SCHEMA:
        allowed = [word.strip("[]") for word in SCHEMA[name].split()]
        required = [word for word in SCHEMA[name].split() if not word.startswith("[")]
        assert children == [word for word in allowed if word in children], name
        assert set(required) <= set(children), name
    elif name in _REPEATED:
        assert children and set(children) == {_REPEATED[name]}
    else:
        assert not children
        assert (element.text or "").strip() or name in _MAY_BE_EMPTY, name
    for child in element:
        check(child)


def results(tree: dict[str, Any], part: str) -> dict[str, Any]:
    """Label -> value of a part of the key metrics."""
    metrics = tree["KeyMetrics"][part]["Results"]["MetricResult"]
    return {one["Label"]: json.loads(one["ValueJson"]) for one in metrics}


def test_every_element_of_the_schema_is_there_in_its_order(card: dict[str, Any]) -> None:
    root = ElementTree.fromstring(as_xml(card["AppliedModelCard"]))
    assert root.tag == f"{{{NAMESPACE}}}AppliedModelCard"
    check(root)


def test_figures_are_those_of_the_card_with_their_intervals(card: dict[str, Any]) -> None:
    figure = card["performance"]["clean"]["auroc"]
    tree = card["AppliedModelCard"]
    assert results(tree, "UsefulnessUsabilityEfficacy")["clean auroc"] == {
        "kind": "estimate_ci",
        "estimate": figure["value"],
        "lower": figure["low"],
        "upper": figure["high"],
        "level": 95,
    }
    groups = results(tree, "FairnessEquity")
    assert {"clean AUROC, sex F", "clean AUROC, sex M"} <= set(groups)


def test_a_card_without_an_audit_says_so_wherever_one_would_look(card: dict[str, Any]) -> None:
    tree = card["AppliedModelCard"]
    assert results(tree, "SafetyReliability") == {"MISSING": {"kind": "single", "value": "not measured"}}
    assert "NOT AUDITED" in tree["ReleaseInfo"]["ReleaseStage"]
    assert "MISSING" in tree["Warnings"]["KnownBiasesOrEthicalConsiderations"]


def test_an_audit_is_the_evidence_of_reliability(card: dict[str, Any]) -> None:
    figure = {"value": 0.25, "low": 0.1, "high": 0.4}
    row = {"confounder": "tag", "p_art": 1.0, "ood_auc": figure, "iid_minus_ood": figure}
    audited = {**card, "audited": True, "verdict": "This network leans on a confounder: tag at p_art 1."}
    audited["audit"] = {"tested": [row], "not_tested": ["noise"]}
    tree = applied_model_card(audited)
    metrics = results(tree, "SafetyReliability")
    assert set(metrics) == {"tag, p_art 1.0: o.o.d. AUC", "tag, p_art 1.0: i.i.d. minus o.o.d. AUC"}
    biases = tree["Warnings"]["KnownBiasesOrEthicalConsiderations"]
    assert biases == "- This network leans on a confounder: tag at p_art 1.\n- Not tested: noise"


def test_text_that_xml_cannot_hold_does_not_break_it(card: dict[str, Any]) -> None:
    tree = applied_model_card({**card, "name": "a\x00b\x1b <Mass> & 'more' \ud800"})
    root = ElementTree.fromstring(as_xml(tree).encode())
    name = root.find(f".//{{{NAMESPACE}}}ModelName")
    assert name is not None and name.text == "a b  <Mass> & 'more'  "


def test_both_checklists_are_whole_and_every_item_is_answered(card: dict[str, Any]) -> None:
    assert [number for number, _, _ in CLAIM] == [str(number) for number in range(1, 45)]
    assert len({number.rstrip("abcdefg") for number, _, _ in TRIPOD_AI}) == 27
    piped = {**card, "summary": "a | b\nc"}
    rows = [line for line in checklist(piped).splitlines() if line.startswith("| ")][2:]
    assert len(rows) >= len(CLAIM) + len(TRIPOD_AI)
    for row in rows:
        cells = row.replace("\\|", "").strip("|").split("|")
        assert len(cells) == 3 and cells[2].strip(), row
