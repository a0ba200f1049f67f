"""The model card: what the model is, what it was tested for and what nobody knows of it."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import jinja2
import pandas as pd

from srcmatters import numbers
from srcmatters.evaluation.natural_shortcut import NaturalShortcut
from srcmatters.export.licence import NOT_STATED, licence_terms
from srcmatters.export.model_card.author_statements import NOT_KNOWN, Authors
from srcmatters.export.model_card.chai import applied_model_card
from srcmatters.export.model_card.statements import (
    MISSING_AUDIT,
    environments_in_words,
    limitations,
    not_measured,
    probability_noun,
    source_data,
    summary,
)
from srcmatters.export.performance import age_in_words
from srcmatters.export.study_evidence import verdict
from srcmatters.reports.provenance import versions, written_on
from srcmatters.runs.trained_run import TrainedRun, TrainingImages

NOTICE = "Research software, not a medical device: not for diagnosis or any decision about a patient."
_PARTS = {"train": "training", "validation": "validation", "test": "test"}
_REFERENCES = (
    "Juodelyte et al., Source Matters: Source Dataset Impact on Model Robustness in Medical Imaging, 2024,"
    " arXiv 2403.04484",
    "Coalition for Health AI, Applied Model Card, 2024",
)


@dataclass(frozen=True)
class CardFacts:
    """What a card is made of.

    Args:
        run: the run.
        rules: ``clinical.json``.
        figures: of :func:`srcmatters.export.performance.performance`.
        subgroups: likewise.
        parity: largest difference of a logit by file of the network.
        shortcut: of the target; a sentence where it could not be measured, None where no image was opened.
        images: of the training, None where none was opened.
        failures: of :func:`srcmatters.export.model_card.failures.described`.
        authors: what they say.
    """

    run: TrainedRun
    rules: Mapping[str, Any]
    figures: dict[str, dict[str, Any]]
    subgroups: list[dict[str, Any]]
    parity: dict[str, float]
    shortcut: NaturalShortcut | str | None
    images: TrainingImages | None
    failures: list[dict[str, Any]]
    authors: Authors = field(default_factory=Authors)


def model_card(facts: CardFacts) -> dict[str, Any]:
    """The card as data, without any identifier of a patient or case.

    What a run cannot know is there as well, and says so. "AppliedModelCard" holds the same in the form of the
    Coalition for Health AI.
    """
    rules, settings = facts.rules, facts.run.settings
    finding, say = rules["finding"]["positive"], facts.authors.say
    what = "CT" if rules["modality"] == "ct" else "radiographs"
    source = source_data(str(settings["source"]), settings["network"])
    target = {
        "name": settings["target"],
        "sha256": facts.run.record.get("dataset_sha256") or NOT_KNOWN,
        "licence": say("target_licence"),
        "splits": _splits(facts),
    }
    card = {
        "name": rules["name"],
        "version": rules["model_version"],
        "date": written_on(),
        "notice": NOTICE,
        "audited": rules["audited"],
        "developer": say("developer"),
        "contact": say("contact"),
        "summary": summary(facts.run, rules),
        "intended_use": say(
            "intended_use",
            f"Research on {finding} on {what} like those of {settings['target']}: audits of shortcut"
            " learning, comparison of sources.",
        ),
        "intended_users": say("intended_users"),
        "population": say("population"),
        "out_of_scope": _out_of_scope(rules),
        "input": {
            **rules["input"],
            **{name: rules[name] for name in ("modality", "body_part", "unit", "window", "patch_mm")},
        },
        "decision": {
            "threshold": rules["threshold"],
            "calibration": rules["calibration"],
            "output": probability_noun(rules),
        },
        "target_data": target,
        "source_data": source,
        "licence": licence_terms(say("licence", NOT_STATED), source, target),
        "performance": facts.figures,
        "not_measured": not_measured(rules, facts.figures),
        "environments": environments_in_words(facts.run, rules),
        "subgroups": facts.subgroups,
        "audit": rules["audit"] or MISSING_AUDIT,
        "verdict": verdict(rules["audit"]) if rules["audited"] else MISSING_AUDIT,
        "shortcut": rules.get("shortcut") or "",
        "natural_shortcut": _shortcut(facts.shortcut),
        "monitors": _monitors(rules),
        "distance": _distance(rules),
        "failures": facts.failures,
        "limitations": limitations(facts.run, rules),
        **{name: say(name) for name in ("maintenance", "funding", "availability", "stakeholders")},
        **{name: say(name) for name in ("publications", "consent")},
        "checklist_answers": {
            name: dict(item_answers) for name, item_answers in facts.authors.answers.items()
        },
        "regulatory_status": "None: not a medical device.",
        "clinical_evaluation": "MISSING: no prospective or external evaluation.",
        "training": {**settings, "unreadable_images": facts.run.record.get("unreadable_images", 0)},
        "mlflow_run": rules["mlflow_run"] or NOT_KNOWN,
        "parity": facts.parity,
        "versions_at_export": versions(),
        "references": list(_REFERENCES),
    }
    return {**card, "AppliedModelCard": applied_model_card(card)}


def render_card(card: Mapping[str, Any], pictures: Mapping[str, bytes] | None = None) -> str:
    """The card as one page that needs nothing but itself.

    Args:
        card: of :func:`model_card`.
        pictures: JPEG by the name that ``card["failures"]`` gives it.
    """
    embedded = {
        name: f"data:image/jpeg;base64,{base64.b64encode(content).decode()}"
        for name, content in (pictures or {}).items()
    }
    environment = jinja2.Environment(
        loader=jinja2.ChoiceLoader(
            [jinja2.PackageLoader("srcmatters.export"), jinja2.PackageLoader("srcmatters.reports")]
        ),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {"number": numbers.number, "share": numbers.share, "figure": _shown}
    return environment.get_template("model_card.html.j2").render(card=card, pictures=embedded)


def _shown(figure: Mapping[str, float | None] | None) -> str:
    """A figure with its interval, ".87 [.80, .92]"; a dash where it does not exist."""
    if figure is None or figure["value"] is None:
        return "–"
    if figure["low"] is None:
        return numbers.number(figure["value"])
    return numbers.interval(figure["value"], figure["low"], figure["high"])


#: A receiver of a bundle learns it from refusals otherwise.
GREY_VALUES = "CT in HU, as DICOM has it: trained on 8-bit grey values, it refuses that."


def _out_of_scope(rules: Mapping[str, Any]) -> list[str]:
    views = rules["input"]["views"]
    grey = rules["modality"] == "ct" and rules["unit"] == "display"
    return [
        "Any decision about a patient.",
        *([GREY_VALUES] if grey else []),
        f"Modalities other than {'CT' if rules['modality'] == 'ct' else 'radiography (CR, DX, RG)'}.",
        f"Body parts other than {rules['body_part']}." if rules["body_part"] else f"Body part: {NOT_KNOWN}",
        f"View positions other than {numbers.listed(views)}." if views else f"View positions: {NOT_KNOWN}",
        "Images that a monitor finds unlike those of the training, or to carry an audited confounder.",
    ]


def _splits(facts: CardFacts) -> list[dict[str, Any]]:
    tables: dict[str, pd.DataFrame | None] = {
        "train": None if facts.images is None else facts.images.cases("train"),
        "validation": facts.run.validation,
        "test": facts.run.predictions,
    }
    return [{"part": _PARTS[name], **_demographics(table)} for name, table in tables.items()]


def _demographics(table: pd.DataFrame | None) -> dict[str, Any]:
    """Counts of a part; a column that the case table does not have is said to be missing."""
    if table is None:
        return dict.fromkeys(("cases", "patients", "positives", "sex", "age", "view"), NOT_KNOWN)
    counts = {
        "cases": len(table),
        "patients": int(table["patient_id"].nunique()),
        "positives": int(table["label"].sum()),
    }
    groups = {
        name: ", ".join(f"{value} {count}" for value, count in table[name].value_counts(dropna=True).items())
        if name in table and table[name].notna().any()
        else NOT_KNOWN
        for name in ("sex", "view")
    }
    ages = table["age"].dropna() if "age" in table else pd.Series(dtype=float)
    age = NOT_KNOWN
    if len(ages):
        mean, youngest, oldest = (age_in_words(age) for age in (ages.mean(), ages.min(), ages.max()))
        age = f"mean {mean}, from {youngest} to {oldest}"
    return {**counts, **groups, "age": age}


def _shortcut(shortcut: NaturalShortcut | str | None) -> dict[str, Any] | str:
    if isinstance(shortcut, NaturalShortcut):
        known = asdict(shortcut)  # JSON has no NaN
        del known["quintiles"]  # names cases
        return {name: None if value != value else value for name, value in known.items()}
    return f"MISSING: {shortcut or 'no image was opened for this export.'}"


def _monitors(rules: Mapping[str, Any]) -> list[dict[str, Any]] | str:
    fields = ("confounder", "auc", "sensitivity", "false_alarms")
    records = [{name: record[name] for name in fields} for record in rules["monitors"]]
    return records or "MISSING: no run-time monitor of a confounder travels with this model."


def _distance(rules: Mapping[str, Any]) -> dict[str, float] | str:
    if rules["ood"] is None:
        return "MISSING: no monitor detects images that are unlike the training images."
    return {name: rules["ood"][name] for name in ("quantile", "false_alarms")}
