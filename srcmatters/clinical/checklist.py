"""CLAIM 2024 and TRIPOD+AI: the items that a run can answer, and those that only its authors can."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from srcmatters.clinical.model_card import NOT_KNOWN

_AUTHORS = "The authors must say."


def checklist(card: Mapping[str, Any]) -> str:
    """The checklist as Markdown, every item with an answer or with who has to give it.

    Args:
        card: of :func:`srcmatters.clinical.model_card.model_card`.
    """
    rows = "\n".join(
        f"| {item} | {claim} | {tripod} | {answer} |" for item, claim, tripod, answer in _items(card)
    )
    return (
        f"# Reporting checklist: {card['name']}\n\n{card['notice']}\n\n"
        "Items in our words, with the places that they have in CLAIM 2024 (Tejani et al. 2024) and TRIPOD+AI"
        " (Collins et al. 2024). Nothing is left out because it is unknown.\n\n"
        f"| item | CLAIM | TRIPOD+AI | answer |\n|---|---|---|---|\n{rows}\n"
    )


def _items(card: Mapping[str, Any]) -> list[tuple[str, str, str, str]]:
    training, target = card["training"], card["target_data"]
    splits = "; ".join(
        f"{part['part']} {part['cases']} cases of {part['patients']} patients, {part['positives']} positive"
        for part in target["splits"]
    )
    threshold, calibration = card["decision"]["threshold"], card["decision"]["calibration"]
    audited = "see the audit in model_card.html" if card["audited"] else str(card["audit"])
    return [
        ("Identified as a study of AI, with its method", "1", "1", card["summary"]),
        ("Scientific and clinical background", "3", "3", _AUTHORS),
        ("Intended use and users", "3", "3c", card["intended_use"]),
        ("Objectives and hypotheses", "4", "4", _AUTHORS),
        ("Prospective or retrospective", "5", "5", _AUTHORS),
        ("Data sources", "7", "5a", f"{target['name']}, SHA-256 {target['sha256']}"),
        ("Dates and places of the data", "7", "5b", _AUTHORS),
        ("Inclusion and exclusion", "8", "6b", f"{training['unreadable_images']} unreadable images left out;"
         f" the rest: {_AUTHORS}"),
        ("Preprocessing", "9", "7", "configs/inference.yaml, exactly"),
        ("Reference standard", "12 to 15", "8", _AUTHORS),
        ("De-identification", "10", "17", f"The bundle holds no identifier; of the data: {_AUTHORS}"),
        ("Missing data", "11", "11", NOT_KNOWN),
        ("Sample size", "19", "10", f"{splits}; whether it suffices: see the intervals"),
        ("Partition, and at which level it is disjoint", "20, 21", "12a", f"{splits}; disjoint by patient"),
        ("Model, inputs and outputs", "22", "12c", card["summary"]),
        ("Software", "23", "12", _listed(card["versions"])),
        ("Initialisation of the weights", "24", "12", f"{card['source_data']['name']}, licence"
         f" {card['source_data']['licence']}"),
        ("Training", "25", "12", _settings(training)),
        ("Choice of the final model", "26", "12", "lowest validation loss" if training["depth"] == "finetune"
         else "regularisation by inner folds"),
        ("Measures of performance", "28", "12e", "AUROC, AUPRC, Brier score, sensitivity, specificity,"
         " calibration; with 95 % intervals"),
        ("Threshold and how it was fixed", "28", "15", f"{threshold['value']:.4f}, {threshold['rule']}, on"
         f" {threshold['cases']} validation cases"),
        ("Calibration", "28", "12f", f"{calibration['method']}, on {calibration['cases']} validation cases"),
        ("Robustness and sensitivity analysis", "30", "12", audited),
        ("Explainability", "31", "12", "MISSING: no explanation was evaluated"),
        ("External test", "32", "16", card["clinical_evaluation"]),
        ("Demographics by partition", "34, 35", "20b", "see the data section of model_card.html"),
        ("Results with uncertainty", "36, 37", "23a", "see the performance section of model_card.html"),
        ("Subgroups and fairness", "38", "14, 23", f"{len(card['subgroups'])} rows in model_card.json"
         if card["subgroups"] else "MISSING: the case table has no groups"),
        ("Failure analysis", "39", "24", f"{len(card['failures'])} worst errors listed in model_card.html"),
        ("Limitations", "40", "26", " ".join(card["limitations"])),
        ("Patient and public involvement", "–", "19", _AUTHORS),
        ("Registration and protocol", "41, 42", "18c, 18d", _AUTHORS),
        ("Code and model", "43", "18f", "the files of this bundle"),
        ("Funding and conflicts", "44", "18a, 18b", _AUTHORS),
    ]  # fmt: skip


def _settings(training: Mapping[str, Any]) -> str:
    names = (
        "depth",
        "max_epochs",
        "batch_size",
        "learning_rate",
        "weight_decay",
        "dropout",
        "augmentation",
        "seed",
    )
    return ", ".join(f"{name} {training[name]}" for name in names if name in training)


def _listed(versions: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in versions.items())
