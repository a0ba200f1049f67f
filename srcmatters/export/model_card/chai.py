"""The card in the form that the Coalition for Health AI has given it, as XML that its tools read.

Source: Coalition for Health AI, Applied Model Card, schema v0.2 (https://mc.chai.org/v0.2/schema.xsd).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any
from xml.etree import ElementTree

NAMESPACE = "https://mc.chai.org/v0.2/schema.xsd"
_MEASURES = ("auroc", "auprc", "sensitivity", "specificity", "brier")
_AREAS = {"clean_auc": "clean AUC", "iid_auc": "i.i.d. AUC", "ood_auc": "o.o.d. AUC"}
# XML knows no way to write these, not even escaped.
_UNWRITABLE = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
Tree = dict[str, Any]


def applied_model_card(card: Mapping[str, Any]) -> Tree:
    """The elements of an applied model card, in the order of its schema.

    What the schema asks for and no run can know is there, and says so.

    Args:
        card: of :func:`srcmatters.export.model_card.card.model_card`.

    Returns:
        Nested mappings of element names to texts; a list stands for an element that is repeated.
    """
    return {
        "BasicInfo": {
            "ModelName": card["name"],
            "ModelDeveloper": card["developer"],
            "DeveloperContact": card["contact"],
        },
        "ReleaseInfo": {
            "ReleaseStage": "Research use only" + ("" if card["audited"] else ", NOT AUDITED"),
            "ReleaseDate": card["date"],
            "ReleaseVersion": card["version"],
            "GlobalAvailability": card["availability"],
            "RegulatoryApproval": card["regulatory_status"],
        },
        "ModelSummary": {
            "Summary": f"{card['summary']} {card['notice']}",
            "Keywords": {"Keyword": ["medical imaging", "shortcut learning", card["input"]["modality"]]},
        },
        "UsesAndDirections": {
            "IntendedUseAndWorkflow": card["intended_use"],
            "PrimaryIntendedUsers": card["intended_users"],
            "HowToUse": f"README.md: a file or folder in, a {card['decision']['output']} and a decision out.",
            "TargetedPatientPopulation": f"{card['population']} Trained and tested on {_population(card)}",
            "CautionedOutOfScopeSettings": _points(card["out_of_scope"]),
        },
        "Warnings": {
            "KnownRisksAndLimitations": _points(card["limitations"]),
            "KnownBiasesOrEthicalConsiderations": _biases(card),
            "ClinicalRiskLevel": "Not assessed: not a medical device.",
        },
        "TrustIngredients": _ingredients(card),
        "KeyMetrics": {
            "UsefulnessUsabilityEfficacy": _metric(
                card, "Separate the two labels on images without a confounder.", _efficacy(card)
            ),
            "FairnessEquity": _metric(card, "The same performance in every subgroup.", _fairness(card)),
            "SafetyReliability": _metric(
                card, "The same performance where a confounder's correlation is reversed.", _reliability(card)
            ),
        },
        "Resources": {
            "EvaluationReferences": _points(card["references"]),
            "ClinicalTrial": card["clinical_evaluation"],
            "PeerReviewedPublications": card["publications"],
            "ReimbursementStatus": "None.",
            "PatientConsentOrDisclosure": card["consent"],
        },
        "Bibliography": "",
    }


def as_xml(tree: Mapping[str, Any]) -> str:
    """An applied model card as XML.

    Args:
        tree: of :func:`applied_model_card`.
    """
    root = ElementTree.Element("AppliedModelCard", xmlns=NAMESPACE)
    _add(root, tree)
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _add(parent: ElementTree.Element, content: Mapping[str, Any]) -> None:
    for name, value in content.items():
        for one in value if isinstance(value, list) else [value]:
            element = ElementTree.SubElement(parent, name)
            if isinstance(one, Mapping):
                _add(element, one)
            else:
                element.text = _UNWRITABLE.sub(" ", str(one))


def _points(lines: list[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _population(card: Mapping[str, Any]) -> str:
    people = "; ".join(
        f"{part['part']}: {part['cases']} cases of {part['patients']} patients, sex {part['sex']},"
        f" age {part['age']}"
        for part in card["target_data"]["splits"]
    )
    return f"{card['target_data']['name']}: {people}"


def _biases(card: Mapping[str, Any]) -> str:
    if not card["audited"]:
        return str(card["verdict"])
    return _points([card["verdict"], *(f"Not tested: {line}" for line in card["audit"]["not_tested"])])


def _ingredients(card: Mapping[str, Any]) -> Tree:
    decision, source = card["decision"], card["source_data"]
    return {
        "AISystemFacts": {
            "OutcomesAndOutputs": (
                f"A {decision['output']} (calibration: {decision['calibration']['method']}), and a decision"
                f" at {decision['threshold']['value']:.4f} ({decision['threshold']['rule']})."
            ),
            "ModelType": str(card["training"]["network"]),
            "FoundationModels": (
                f"{source['name']}; SHA-256 of the weights: {source['sha256']}; licence: {source['licence']};"
                f" {source['citation']}"
            ),
            "InputDataSource": f"{card['target_data']['name']}, SHA-256 {card['target_data']['sha256']}",
            "OutputAndInputDataTypes": ", ".join(
                f"{name} {value}" for name, value in card["input"].items() if value not in (None, "")
            ),
            "DevelopmentDataCharacterization": _population(card),
            "BiasMitigationApproaches": (
                "None in the training. Images that carry an audited confounder are flagged at run time."
                if isinstance(card["monitors"], list)
                else f"None. {card['monitors']}"
            ),
            "OngoingMaintenance": card["maintenance"],
            "Transparency": "Settings, seeds, versions at export and hashes are in model_card.json.",
        },
        "TransparencyInformation": {
            "FundingSource": card["funding"],
            "ThirdPartyInformation": _points([f"{row['part']}: {row['licence']}" for row in card["licence"]]),
            "StakeholdersConsulted": card["stakeholders"],
        },
    }


def _metric(card: Mapping[str, Any], goal: str, results: list[Tree]) -> Tree:
    test = next(part for part in card["target_data"]["splits"] if part["part"] == "test")
    missing = {
        "Label": "MISSING",
        "ValueJson": json.dumps({"kind": "single", "value": "not measured"}),
    }
    return {
        "MetricGoal": goal,
        "Results": {"MetricResult": results or [missing]},
        "Interpretation": "See model_card.html: metrics with their 95 % intervals, and what limits them.",
        "TestType": "Retrospective, internal: a part of the same data.",
        "TestingDataDescription": ", ".join(f"{name} {value}" for name, value in test.items()),
        "ValidationProcessAndJustification": (
            f"No patient is in two parts; what decides was fixed on {card['decision']['threshold']['cases']}"
            " validation cases."
        ),
    }


def _result(label: str, figure: Mapping[str, float | None] | None) -> list[Tree]:
    """One result in the coalition's notation; none where there is no figure."""
    if figure is None or figure["value"] is None:
        return []
    value: dict[str, Any] = {"kind": "single", "value": figure["value"]}
    if figure["low"] is not None:
        bounds = {"estimate": figure["value"], "lower": figure["low"], "upper": figure["high"]}
        value = {"kind": "estimate_ci", **bounds, "level": 95}
    return [{"Label": label, "ValueJson": json.dumps(value)}]


def _efficacy(card: Mapping[str, Any]) -> list[Tree]:
    return [
        result
        for environment, figures in card["performance"].items()
        for name in _MEASURES
        for result in _result(f"{environment} {name}", figures[name])
    ]


def _fairness(card: Mapping[str, Any]) -> list[Tree]:
    return [
        result
        for row in card["subgroups"]
        for result in _result(f"{row['environment']} AUROC, {row['column']} {row['value']}", row["auroc"])
    ]


def _reliability(card: Mapping[str, Any]) -> list[Tree]:
    if not card["audited"]:
        return []
    return [
        result
        for row in card["audit"]["tested"]
        for key, shown in (*_AREAS.items(), ("iid_minus_ood", "i.i.d. minus o.o.d. AUC"))
        for result in _result(f"{_setting(row)}: {shown}", row.get(key))
    ]


def _setting(row: Mapping[str, Any]) -> str:
    name = str(row["confounder"])
    return name if row["p_art"] is None else f"{name}, p_art {row['p_art']}"
