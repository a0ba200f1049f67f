"""CLAIM 2024 and TRIPOD+AI, item by item: what the run knows, and what only its authors can say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from srcmatters.export.model_card.author_statements import NOT_KNOWN
from srcmatters.export.model_card.checklist_items import CLAIM, TRIPOD_AI

_AUTHORS = "The authors must say."
_NONE = "None."


def checklist(card: Mapping[str, Any]) -> str:
    """Both checklists as Markdown, every item with an answer or with who has to give it.

    Args:
        card: of :func:`srcmatters.export.model_card.card.model_card`.
    """
    answers, authors_answers = _answers(card), card["checklist_answers"]
    return (
        f"# Reporting checklist: {card['name']}\n\n{card['notice']}\n\n"
        "Items in our words, under the numbers that they have in CLAIM 2024 (Tejani et al. 2024) and"
        " TRIPOD+AI (Collins et al. 2024). Nothing is left out because it is unknown.\n\n"
        f"## CLAIM 2024\n\n{_table(CLAIM, answers, authors_answers['claim'])}\n\n"
        f"## TRIPOD+AI\n\n{_table(TRIPOD_AI, answers, authors_answers['tripod_ai'])}\n"
    )


def _table(
    items: tuple[tuple[str, str, str], ...], answers: Mapping[str, str], authors_answers: Mapping[str, str]
) -> str:
    rows = [
        f"| {number} | {item} | {_cell(authors_answers.get(number, answers[topic]))} |"
        for number, item, topic in items
    ]
    return "\n".join(["| | item | answer |", "|---|---|---|", *rows])


def _cell(answer: str) -> str:
    """Text that cannot end its cell."""
    return " ".join(answer.split()).replace("|", "\\|")


def _answers(card: Mapping[str, Any]) -> dict[str, str]:
    return {"authors": _AUTHORS, "none": _NONE, **_data(card), **_method(card), **_results(card)}


def _data(card: Mapping[str, Any]) -> dict[str, str]:
    target, training = card["target_data"], card["training"]
    parts = "; ".join(
        f"{part['part']} {part['cases']} cases of {part['patients']} patients, {part['positives']} positive"
        for part in target["splits"]
    )
    declared = ", ".join(
        f"{name} {value}" for name, value in card["input"].items() if value not in (None, "")
    )
    return {
        "data": f"{target['name']}, SHA-256 {target['sha256']}; the rest: {_AUTHORS}",
        "retrospective": f"Retrospective: images acquired before the model was trained. The rest: {_AUTHORS}",
        "exclusion": f"{training['unreadable_images']} unreadable images left out; the rest: {_AUTHORS}",
        "preprocessing": "configs/inference.yaml, exactly.",
        "input": f"One image: {declared}.",
        "no_assessors": "None: predictors are pixels.",
        "identifiers": f"The bundle holds no identifier; of the data: {_AUTHORS}",
        "missing": NOT_KNOWN,
        "parts": f"{parts}.",
        "disjoint": f"By patient: no patient is in two parts. {parts}.",
        "sample": f"Not planned by the run: {parts}. Whether it suffices: see the intervals.",
        "demographics": "See the data section of model_card.html.",
        "imbalance": "Labels are drawn equally often in the training."
        if str(training.get("balanced")).lower() == "true"
        else "Nothing was done.",
    }


def _method(card: Mapping[str, Any]) -> dict[str, str]:
    training, source = card["training"], card["source_data"]
    calibration, threshold = card["decision"]["calibration"], card["decision"]["threshold"]
    fixed = f"on {threshold['cases']} validation cases"
    finetuned = training["depth"] == "finetune"
    return {
        "summary": card["summary"],
        "use": card["intended_use"],
        "model": f"{training['network']}; configs/inference.yaml and models/.",
        "software": ", ".join(f"{name} {version}" for name, version in card["versions_at_export"].items())
        + ", at export; those of the training are not known to it.",
        "initialisation": f"{source['name']}; SHA-256 of the weights: {source['sha256']}; licence:"
        f" {source['licence']}; citation: {source['citation']}",
        "training": _settings(training),
        "choice": "Lowest validation loss." if finetuned else "Regularisation chosen by inner folds.",
        "measures": "AUROC, AUPRC, Brier score, sensitivity, specificity, calibration slope and intercept.",
        "uncertainty": "95 % intervals that resample patients; Wilson's for sensitivity and specificity.",
        **_updating(calibration, fixed),
        "decision": f"{card['decision']['output'].capitalize()} (calibration: {calibration['method']}),"
        f" present from {threshold['value']:.4f}"
        f" ({threshold['rule']}), fixed {fixed}; sensitivity and specificity are in model_card.html.",
        "explainability": "Grad-CAM on request (Secondary Capture). MISSING: it has not been evaluated.",
        "settings": "See the settings in model_card.html.",
        "availability": "The files of this bundle; source code: srcmatters.",
        "guard": "`srcmatters predict` refuses or flags it by the rules in configs/clinical.json;"
        " configs/inference.yaml does not.",
    }


def _updating(calibration: Mapping[str, Any], fixed: str) -> dict[str, str]:
    if calibration["method"] == "none":
        return {"calibration": "None: the output is not calibrated.", "updating": _NONE}
    return {
        "calibration": f"The output is updated by a calibration ({calibration['method']}), fixed {fixed}.",
        "updating": "The calibration of item 12f is the only update; Brier score, calibration slope and"
        " intercept in model_card.html are those of the updated output.",
    }


def _results(card: Mapping[str, Any]) -> dict[str, str]:
    seen = " See the confounder audit in model_card.html." if card["audited"] else ""
    groups = len(card["subgroups"])
    return {
        "robustness": f"{card['verdict']}{seen}",
        "external": card["clinical_evaluation"],
        "clusters": "Patients are resampled as a whole; centres are not known to the run.",
        "performance": "See the performance section of model_card.html.",
        "subgroups": f"AUROC of {groups} subgroups in model_card.html; nothing was done about differences."
        if groups
        else "MISSING: the case table has no groups.",
        "failures": f"{len(card['failures'])} worst errors in model_card.html.",
        "limitations": " ".join(card["limitations"]),
    }


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
    return ", ".join(f"{name} {training[name]}" for name in names if name in training) + "."
