"""What `srcmatters audit run` came to, as the evidence of an exported model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from srcmatters import numbers
from srcmatters.audit.checks.sensitivity import Sensitivity
from srcmatters.audit.record import read_record
from srcmatters.confounders import confounder_summaries
from srcmatters.errors import InputError
from srcmatters.evaluation.outcomes import Outcome, gravest
from srcmatters.evaluation.sentences import in_words
from srcmatters.files import sha256_of
from srcmatters.runs.file_names import WEIGHTS
from srcmatters.runs.trained_run import TrainedRun

_AREAS = {"clean_auc": "clean", "iid_auc": "positives_carry", "ood_auc": "negatives_carry"}
_MODALITY = {"radiograph": "radiograph", "ct": "CT"}
_NOT_BY_ITSELF = {"picture", "compose"}  # need a picture, or the names of others


def model_audit(run: TrainedRun, path: str | Path) -> dict[str, Any]:
    """What an audit says of the network that is exported.

    Args:
        run: the run that is exported.
        path: folder or audit.json of :mod:`srcmatters.audit`.

    Returns:
        The form of :func:`srcmatters.export.study_evidence.audit`. i.i.d. is all positives with the
        confounder, o.o.d. all negatives; ``p_art`` is None, as nothing was trained for the audit. "checks":
        outcome and sentence of every other check.

    Raises:
        InputError: not an audit, of another network, or one in which nothing could be tested.
    """
    record = read_record(path)
    own, audited = sha256_of(run.folder / WEIGHTS), record["model"].get("sha256")
    if audited != own:
        raise InputError(
            f"--audit: {path} is of another model ({record['model']['name']}, SHA-256"
            f" {str(audited)[:12]}), expected one of {run.folder} (SHA-256 {own[:12]}):"
            f" srcmatters audit run {run.folder}"
        )
    findings = record["outputs"][0]["findings"]
    rows = [_row(one, findings) for one in findings if one["check"] == Sensitivity.code]
    if not any(row["lean"]["value"] is not None for row in rows):
        raise InputError(f"--audit: {path}: nothing could be tested, expected a confounder with a result")
    margin = record["plan"]["margin"]
    ordered = sorted(rows, key=lambda row: list(Outcome).index(row["outcome"]))
    marks = [_mark(row, margin) for row in ordered]
    return {
        "outcome": gravest(row["outcome"] for row in rows),
        "tested": rows,
        "marks": marks,
        "leans_on": [mark for mark in marks if mark.startswith(Outcome.LEANS)],
        "of": "this network",
        "notes": [str(note) for note in record.get("notes", [])],
        "not_tested": list(_not_tested(record, {row["confounder"].split()[0] for row in rows})),
        "checks": [
            f"{one['outcome']}: {one['text']}" if one["outcome"] else str(one["text"])
            for one in findings
            if one["check"] != Sensitivity.code and one["outcome"] != Outcome.SKIPPED
        ],
    }


def _row(finding: Mapping[str, Any], findings: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    details = finding.get("details", {})
    loss = {name: finding.get(name) for name in ("value", "low", "high")}
    nothing = dict.fromkeys(loss)
    effects = (one for one in findings if (one["check"], one["subject"]) == ("effect", finding["subject"]))
    effect = next(effects, None)
    return {
        "confounder": finding["subject"],
        "confounder_args": "{}",
        "p_art": None,
        **{name: details.get(f"auc_{key}", nothing) for name, key in _AREAS.items()},
        "iid_minus_ood": loss,
        "effect": nothing if effect is None else {name: effect.get(name) for name in loss},
        "outcome": Outcome(finding["outcome"] or Outcome.SKIPPED),
        "reason": finding.get("reason", ""),
        "metric": finding.get("metric", ""),
        "lean": loss,
        "detectability_auc": None,
        "trainings": 1,
        "output_dirs": [],
    }


def _mark(row: Mapping[str, Any], margin: float) -> str:
    name, (value, low, high) = row["confounder"], row["lean"].values()
    plain = in_words(name.split()[0])
    plain = plain[0].upper() + plain[1:] if plain != name.split()[0] else name
    if value is None:
        return f"{row['outcome']}: {plain}: {row['reason'] or 'without a result'} ({name})"
    if value < 0 and row["outcome"] is Outcome.LEANS:
        fall = numbers.interval(-value, -high, -low)
        text = (
            f"{plain} lowers the score; AUC falls by {fall} where all positives carry it, not all negatives"
        )
        return f"{row['outcome']}: {text} ({name})"
    fall = (
        f"AUC falls by {numbers.interval(value, low, high)} where all negatives carry it, not all positives"
    )
    # A loss in either direction is a lean.
    most = numbers.number(max(abs(low), abs(high))) if low is not None and high is not None else "any size"
    texts = {
        Outcome.LEANS: f"{plain} raises the score; {fall}",
        Outcome.WITHIN_MARGIN: f"{plain}: {fall}, within ±{numbers.number(margin)}",
        Outcome.INCONCLUSIVE: f"{plain}: {fall}, so a change by up to {most} is not excluded",
    }
    text = texts.get(row["outcome"], f"{plain}: {row['reason']}")
    return f"{row['outcome']}: {text} ({name})"


def _not_tested(record: Mapping[str, Any], tested: set[str]) -> Iterable[str]:
    contract = record.get("contract", {}).get("modality", {})
    modality = _MODALITY.get(str(contract.get("value")), "")
    others = [
        name
        for name, facts in confounder_summaries().items()
        if name not in tested | _NOT_BY_ITSELF and (not modality or modality in facts.modalities)
    ]
    if others:
        named = numbers.listed(others)
        yield f"Other confounders: {named} of the catalogue, and every one outside it."
    findings = record["outputs"][0]["findings"]
    for one in findings:
        if one["outcome"] == Outcome.SKIPPED and one["check"] != Sensitivity.code:
            yield str(one["text"])
    yield (
        "Images from elsewhere: the confounders were put on images of the same target; it is no external"
        " validation."
    )
