"""Sentences of the model card that depend on how the run was trained: what it is, and what limits it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from srcmatters import numbers
from srcmatters.confounders import confounder_summaries
from srcmatters.errors import InputError
from srcmatters.export.model_card.author_statements import NOT_KNOWN
from srcmatters.export.study_evidence import verdict
from srcmatters.runs.trained_run import TrainedRun
from srcmatters.sources.catalogue import find_entry

MISSING_AUDIT = (
    "MISSING: whether this model leans on a confounder has not been tested; exported with --unaudited."
)
_ENVIRONMENTS = ("clean", "i.i.d.", "o.o.d.")


def summary(run: TrainedRun, rules: Mapping[str, Any]) -> str:
    """What the model is, in a sentence; a second one where a confounder was part of its training."""
    settings, finding = run.settings, rules["finding"]
    what = "CT" if rules["modality"] == "ct" else "radiographs"
    random = settings["source"] == "random"
    origin = "initialised at random" if random else f"pre-trained on {settings['source']}"
    if settings.get("depth") == "screen":
        training = f"frozen, with a linear head fitted on {settings['target']}"
    else:
        training = f"{'trained' if random else 'fine-tuned'} on {settings['target']}"
    outcome = (
        f"{settings['network']}, {origin} and {training}, tells {finding['positive']} from"
        f" {finding['negative']} on {what}."
    )
    return f"{outcome} {_confounded_training(run)}".strip()


def probability_noun(rules: Mapping[str, Any]) -> str:
    """What the output is called: nothing is calibrated where no calibration was fitted."""
    return "probability" if rules["calibration"]["method"] == "none" else "calibrated probability"


def limitations(run: TrainedRun, rules: Mapping[str, Any]) -> list[str]:
    """What a reader has to know before believing a figure."""
    patients = run.predictions.groupby("label")["patient_id"].nunique()
    sentences = [
        f"Tested on {int(patients.min())} patients of the rarer class, all of the same target: no external"
        " validation.",
        _fixed_on(run, rules),
        _prevalence(run, rules),
        "Intervals cover other images, not other training runs of the network.",
    ]
    if _confounded_training(run):
        sentences.insert(0, _confounded_training(run))
    if rules["audited"]:
        sentences.insert(0, verdict(rules["audit"]))
    if rules["audited"] and rules["audit"]["of"] != "this network":
        sentences.append("The audit covers networks trained in the same way, not this one alone.")
    if not rules["audited"]:
        sentences.append(MISSING_AUDIT)
    if rules["ood"] is None:
        sentences.append("No monitor detects images that are unlike the training images.")
    return [*sentences, *_unchecked(rules)]


def _confounded_training(run: TrainedRun) -> str:
    """How a confounder was part of the training; "" where none was."""
    name, share = run.settings["confounder"], float(run.settings["p_art"])
    if name == "none" or share == 0:
        return ""
    if _sampled(run):
        return (
            f"Its training cases were chosen so that the confounder {name} goes with the finding (p_art"
            f" {numbers.share(share)}): it may have learnt {name} in place of the finding."
        )
    negatives = float(run.settings.get("p_neg", 0))
    also = f" and {numbers.share(negatives)} of the negatives (p_neg)" if negatives else ""
    return (
        f"It was trained with an injected confounder, {name}, in a share of {numbers.share(share)} of the"
        f" positives (p_art){also}, to measure how far it relies on it."
    )


def _fixed_on(run: TrainedRun, rules: Mapping[str, Any]) -> str:
    calibrated = rules["calibration"]["method"] != "none"
    rest = "Threshold and calibration rest" if calibrated else "The threshold rests"
    cases = f"{rest} on {len(run.validation)} validation cases"
    if run.settings.get("depth") != "screen":
        cases += ", which also selected the epoch of the weights"
    if _confounded_training(run):
        need = "neither need" if calibrated else "it need not"
        cases += f"; these are confounded as the training is, so {need} hold on images that are not"
    return f"{cases}."


def _prevalence(run: TrainedRun, rules: Mapping[str, Any]) -> str:
    if rules["calibration"]["method"] == "none":
        return "Its probabilities are not calibrated and must not be read as frequencies."
    labels = run.validation["label"]
    return (
        f"Probabilities hold at the prevalence of the validation cases, {numbers.number(labels.mean(), 3)}"
        f" ({int(labels.sum())} of {len(labels)}); where the finding is rarer they are too high, where it is"
        " more frequent too low."
    )


def _unchecked(rules: Mapping[str, Any]) -> Sequence[str]:
    """What the rules cannot check because no file said it."""
    names = {"spacing_mm": "pixel spacing", "size": "image size", "views": "view position"}
    unknown = [shown for name, shown in names.items() if rules["input"][name] is None]
    return (
        [f"Unknown for the training images and therefore not checked: {numbers.listed(unknown)}."]
        if unknown
        else []
    )


def environments_in_words(run: TrainedRun, rules: Mapping[str, Any]) -> str:
    """What clean, i.i.d. and o.o.d. are, in this run and in its audit."""
    usual = "clean: no case carries the confounder; i.i.d.: as in training; o.o.d.: the correlation reversed."
    tested = rules["audit"]["tested"] if rules["audited"] else []
    if any(row["p_art"] is None for row in tested):
        usual += " In the audit, i.i.d.: all positives carry the confounder; o.o.d.: all negatives do."
    columns = {row["confounder"] for row in tested} - set(confounder_summaries())
    if _sampled(run):
        columns.add(run.settings["confounder"])
    if not columns:
        return usual
    return (
        f"{usual} {numbers.listed(sorted(columns))} cannot be taken out of an image: there clean is the AUC"
        " among cases that agree in it, and any other metric called clean is of all test cases."
    )


def not_measured(rules: Mapping[str, Any], figures: Mapping[str, Any]) -> dict[str, str]:
    """The environments in which this network has no figure, each with the words that say so."""
    elsewhere = "; the audit is of networks trained alike" if rules["audited"] else ""
    return {name: f"MISSING: not tested{elsewhere}" for name in _ENVIRONMENTS if name not in figures}


def source_data(name: str, network: str) -> dict[str, str]:
    """What the network was pre-trained on: images, licence, citation, and the hash of the weights."""
    if name == "random":
        bare = {"licence": "none needed", "citation": "random initialisation, no source"}
        return {"name": name, **bare, "sha256": "none: there is no file"}
    try:
        entry = find_entry(name, network)
    except InputError:
        entry = None  # of another installation
    if entry is None:
        return {"name": name, **dict.fromkeys(("licence", "citation", "sha256"), NOT_KNOWN)}
    digest = entry.sha256 or "MISSING: the catalogue has none."
    if entry.sha256 and len(digest) < 64:
        digest += "... (only these digits were published)"
    return {
        "name": f"{name}: {entry.trained_on}",
        "licence": entry.licence or NOT_KNOWN,
        "citation": entry.citation or NOT_KNOWN,
        "sha256": digest,
    }


def _sampled(run: TrainedRun) -> bool:
    """Whether the confounder is a column of the case table: cases were chosen, no image was changed."""
    return "environment" in run.predictions
