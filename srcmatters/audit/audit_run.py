"""An audit from beginning to end: score every case in every state, ask every question, keep the answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from srcmatters.audit.case_images import CaseImages
from srcmatters.audit.check import AuditPlan, Check, Evidence
from srcmatters.audit.checks import CHECKS
from srcmatters.audit.checks.attributes import attribute_columns
from srcmatters.audit.checks.sensitivity import Sensitivity
from srcmatters.audit.doors.model import Model
from srcmatters.audit.doses import Dosed, available_doses
from srcmatters.audit.image_changes import image_changes
from srcmatters.audit.look_alikes import look_alikes
from srcmatters.audit.regions.masks import disease_column
from srcmatters.audit.result import Audit, OutputAudit, Question
from srcmatters.audit.scoring import Scored, Scorer
from srcmatters.audit.state_scores import State, StateScores
from srcmatters.errors import InputError
from srcmatters.evaluation.ladder import Ladder, climb
from srcmatters.evaluation.ladder_steps import column_step, image_steps
from srcmatters.evaluation.outcomes import Outcome


def all_checks() -> tuple[type[Check], ...]:
    """The package's checks, and those that other packages register under ``srcmatters.audit_checks``."""
    others = [entry.load() for entry in entry_points(group="srcmatters.audit_checks")]
    return (*CHECKS, *others)


def audit_model(
    model: Model,
    images: CaseImages,
    questions: Sequence[Question],
    plan: AuditPlan | None = None,
    *,
    twins: Sequence[Model] = (),
    training_table: pd.DataFrame | None = None,
    controls: bool = True,
    sweep: pd.DataFrame | None = None,
    batch_size: int = 32,
    num_workers: int = 0,
    store: Path | None = None,
    notes: Sequence[str] = (),
) -> Audit:
    """Audit a model that can be run.

    Args:
        model: behind its door.
        images: to ask it about.
        questions: the declared family of confounders.
        plan: margin, confidence, threshold, seed.
        twins: five or more models trained alike without any of the confounders.
        training_table: case table of the training data, with a column ``digest`` where its files are here.
        controls: ask the checks that score further images.
        sweep: input conventions, of :func:`srcmatters.audit.contract_sweep.sweep`.
        batch_size: inputs per forward pass.
        num_workers: processes that decode.
        store: folder in which finished chunks of scores are kept, so that an interrupted audit goes on.
        notes: remarks for the top of every output.

    Raises:
        InputError: no confounder, none that fits, or no image that can be scored.
    """
    plan = plan or AuditPlan()
    states, descriptions, missing = _planned(questions, plan.seed)
    scorer = Scorer(model, images, batch_size, num_workers, store)
    scored = scorer.score([None, *states.values()])
    losses = _losses_of_twins(twins, images, states, plan, batch_size, num_workers, store)
    outputs = []
    alike = None if training_table is None else look_alikes(images, training_table)
    ladder = _ladder(images, scored, plan.seed) if controls else None
    for place, output in enumerate(model.outputs):
        scores = _scores(scored, images.cases, states, place, descriptions, missing, output)
        evidence = Evidence(
            scores,
            plan,
            twins={name: values[place] for name, values in losses.items()} if twins else None,
            training_table=training_table,
            digests=scored.digests,
            look_alikes=alike,
            ladder=ladder,
            planar=images.modality != "ct",
        )
        if controls:
            _add_images(evidence, scorer, states, place)
            _add_features(evidence, scorer, states)
        findings = [one for check in all_checks() for one in check().run(evidence)]
        outputs.append(OutputAudit(output, scores, tuple(findings)))
    return Audit(
        {"name": model.name, "kind": model.kind, "sha256": model.sha256},
        tuple(outputs),
        plan,
        {name: {"value": value, "origin": origin} for name, value, origin in model.contract.rows()},
        sweep,
        _data(images.cases, scored.digests),
        _excluded(scored, images.cases, states),
        scored.seconds,
        tuple(notes),
    )


def audit_scores(
    scores: Sequence[StateScores],
    model: Mapping[str, Any],
    plan: AuditPlan | None = None,
    sent: Any = None,
    notes: Sequence[str] = (),
) -> Audit:
    """Audit a model of which only scores came back.

    Args:
        scores: one per output.
        model: name and kind.
        plan: margin, confidence, threshold, seed.
        sent: counts of what was sent and came back.
        notes: remarks for the top of every output.
    """
    plan, outputs = plan or AuditPlan(), []
    for one in scores:
        evidence = Evidence(one, plan, sent=sent)
        findings = [finding for check in all_checks() for finding in check().run(evidence)]
        outputs.append(OutputAudit(one.output, one, tuple(findings)))
    data = _data(scores[0].cases, [])
    nothing = pd.DataFrame(columns=["case_id", "state", "reason", "kind"])
    return Audit(model, tuple(outputs), plan, {}, None, data, nothing, {}, tuple(notes))


def _planned(
    questions: Sequence[Question], seed: int
) -> tuple[dict[State, Dosed], dict[State, str], dict[str, dict[float, str]]]:
    """Every state that is scored, its parameters in words, and doses that do not exist."""
    states: dict[State, Dosed] = {}
    missing: dict[str, dict[float, str]] = {}
    for question in questions:
        present, missing[question.title] = available_doses(question.name, question.args, seed)
        states |= {State(question.title, one.dose): one for one in present}
    if not states:
        raise InputError("confounders: none to ask about, expected one or more")
    return states, {state: one.description for state, one in states.items()}, missing


def _scores(
    scored: Scored,
    cases: pd.DataFrame,
    states: Mapping[State, Dosed],
    place: int,
    descriptions: Mapping[State, str],
    missing: Mapping[str, Mapping[float, str]],
    output: str,
) -> StateScores:
    confounded = {state: scored.log_odds[row, :, place] for row, state in enumerate(states, start=1)}
    unchanged = frozenset(state for row, state in enumerate(states, start=1) if not scored.changed[row])
    clean = scored.log_odds[0, :, place]
    return StateScores(cases, clean, confounded, descriptions, missing, output, unchanged)


def _ladder(images: CaseImages, scored: Scored, seed: int) -> tuple[Ladder, np.ndarray] | None:
    """What is knowable of the label without the model, of the cases with clean scores."""
    rows = np.flatnonzero(np.isfinite(scored.log_odds[0]).all(axis=1))
    cases = images.cases.iloc[rows]
    try:
        features = image_steps(images.grey(int(row)) for row in rows)
        columns, _, _ = column_step(cases[attribute_columns(cases)])
        if columns is not None:
            features["columns"] = columns
        labels = cases["label"].to_numpy(dtype=int)
        return climb(features, labels, cases["patient_id"].to_numpy(), seed), rows
    except InputError:  # too few patients, or images that are no larger than a thumbnail
        return None


def _losses_of_twins(
    twins: Sequence[Model],
    images: CaseImages,
    states: Mapping[State, Dosed],
    plan: AuditPlan,
    batch_size: int,
    num_workers: int,
    store: Path | None,
) -> dict[str, list[list[float]]]:
    """By confounder, by output: the loss under reversal of every twin."""
    default = {state: one for state, one in states.items() if state.dose == 1.0}
    losses: dict[str, list[list[float]]] = {}
    for number, twin in enumerate(twins, start=1):
        scorer = Scorer(twin, images, batch_size, num_workers, store)
        scored = scorer.score([None, *default.values()], f"twin {number} of {len(twins)}")
        for place, output in enumerate(twin.outputs):
            evidence = Evidence(_scores(scored, images.cases, default, place, {}, {}, output), plan)
            for state in default:
                of_outputs = losses.setdefault(state.confounder, [[] for _ in twin.outputs])
                of_outputs[place].append(evidence.states(state.confounder).loss_under_reversal().value)
    return losses


def _add_images(evidence: Evidence, scorer: Scorer, states: Mapping[State, Dosed], place: int) -> None:
    def score(rows: np.ndarray, change: Any) -> np.ndarray:
        return scorer.changed(rows, change)[:, place]

    evidence.score_images = score
    evidence.disease = disease_column(scorer.images.cases)
    evidence.region = scorer.images.region
    evidence.changes = image_changes(scorer.images, scorer.model.contract, states)


def _add_features(evidence: Evidence, scorer: Scorer, states: Mapping[State, Dosed]) -> None:
    """Features of clean images, and of the confounders that lean, where the door gives them."""
    if np.isnan(evidence.scores.clean).any():
        return
    sensitivity = Sensitivity().run(evidence)
    leaning = {one.subject for one in sensitivity if one.outcome is Outcome.LEANS}
    if not leaning and not attribute_columns(evidence.scores.cases):
        return
    clean = evidence.clean_features = scorer.features(None)
    if clean is None or not leaning:
        return
    confounded = {}
    for state, one in states.items():
        if state.confounder in leaning and state.dose == 1.0:
            features = scorer.features(one)
            assert features is not None
            confounded[state.confounder] = features
    evidence.features = (clean, confounded)


def _excluded(scored: Scored, cases: pd.DataFrame, states: Mapping[State, Dosed]) -> pd.DataFrame:
    """case_id, state, reason and "kind", the reason without the names of file and case."""
    names = ["clean", *(f"{state.confounder} x{state.dose:.3g}" for state in states)]
    rows = []
    for state, row, reason in scored.refused:
        case_id, path = str(cases["case_id"].iloc[row]), Path(cases["image"].iloc[row])
        kind = reason.replace(str(path), "image").replace(path.name, "image").replace(case_id, "…")
        rows.append({"case_id": case_id, "state": names[state], "reason": reason, "kind": kind})
    return pd.DataFrame(rows, columns=["case_id", "state", "reason", "kind"])


def _data(cases: pd.DataFrame, digests: Sequence[str]) -> dict[str, Any]:
    labels = cases["label"].astype(int)
    return {
        "cases": len(cases),
        "positives": int(labels.sum()),
        "patients": int(cases["patient_id"].nunique()),
        "readable": sum(bool(one) for one in digests) if digests else len(cases),
    }
