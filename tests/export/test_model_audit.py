"""An audit of the model as the evidence of its export."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from audit_cases import simulated_scores
from card_cases import make_card, write_run

from srcmatters.audit.audit_run import audit_scores
from srcmatters.audit.check import AuditPlan
from srcmatters.audit.record import write_record
from srcmatters.errors import InputError
from srcmatters.export.mlflow_descriptions import version_text
from srcmatters.export.model_audit import model_audit
from srcmatters.export.model_card.card import render_card
from srcmatters.export.run_export import evidence
from srcmatters.exported_bundle.disclaimers import audit_disclaimer, disclaimers
from srcmatters.files import sha256_of
from srcmatters.runs.file_names import WEIGHTS
from srcmatters.runs.trained_run import TrainedRun


def audit_of(run: TrainedRun, folder: Path, **reaction: float) -> Path:
    scores = simulated_scores(reaction, patients=160, spread=0.1)
    model = {"name": "mine", "kind": "run", "sha256": sha256_of(run.folder / WEIGHTS)}
    folder.mkdir()
    write_record(audit_scores([scores], model, AuditPlan()), folder)
    return folder


@pytest.fixture
def run(tmp_path: Path) -> TrainedRun:
    run = write_run(tmp_path / "run")
    (run.folder / WEIGHTS).write_bytes(b"weights")
    return run


def test_a_model_is_exported_with_the_audit_of_itself(run: TrainedRun, tmp_path: Path) -> None:
    folder = audit_of(run, tmp_path / "audit", tag=1.0, noise=0.0, jpeg=-1.0)
    record = evidence(run, folder)
    assert record is not None and record["outcome"] == "LEANS" and record["of"] == "this network"
    outcomes = {row["confounder"]: row["outcome"] for row in record["tested"]}
    assert outcomes == {"tag": "LEANS", "noise": "WITHIN MARGIN", "jpeg": "LEANS"}
    tag, jpeg, noise = (
        next(m for m in record["marks"] if f"({name})" in m) for name in ("tag", "jpeg", "noise")
    )
    assert tag.startswith("LEANS: A letter in the corner raises the score; AUC falls by .")
    assert "lowers the score; AUC falls by ." in jpeg and "−" not in jpeg
    assert noise.startswith("WITHIN MARGIN") and record["marks"][-1] == noise
    row = next(row for row in record["tested"] if row["confounder"] == "tag")
    loss = row["iid_auc"]["value"] - row["ood_auc"]["value"]
    assert row["iid_minus_ood"]["value"] == pytest.approx(loss) and loss > 0.1
    assert any("pacemaker" in line for line in record["not_tested"])
    assert record["checks"] and not any("SKIPPED" in line for line in record["checks"])


def test_card_and_archive_say_what_the_audit_says(run: TrainedRun, tmp_path: Path) -> None:
    record = model_audit(run, audit_of(run, tmp_path / "audit", tag=1.0))
    card = make_card(run, audited=True, audit=record)
    page = render_card(card)
    assert "What else its audit says" in page and record["checks"][0].split(" [")[0] in page
    assert "all positives carry the confounder" in card["environments"]
    rules: dict[str, Any] = {"audited": True, "audit": record}
    assert audit_disclaimer(rules) == "LEANS ON A CONFOUNDER" and record["marks"][0] in disclaimers(rules)
    assert "p_art" not in json.dumps(card["AppliedModelCard"]["TrustIngredients"], default=str)
    text = version_text(
        {"threshold": {"value": 0.5, "rule": "r", "cases": 3}, "calibration": {"method": "none"}}, card
    )
    assert "**tag**: clean" in text


def test_an_audit_of_another_network_is_no_evidence(run: TrainedRun, tmp_path: Path) -> None:
    folder = audit_of(run, tmp_path / "audit", tag=1.0)
    (run.folder / WEIGHTS).write_bytes(b"other weights")
    with pytest.raises(InputError, match=r"audit is of another model \(mine, SHA-256"):
        evidence(run, folder)


def test_an_audit_that_tested_nothing_is_no_evidence(run: TrainedRun, tmp_path: Path) -> None:
    folder = audit_of(run, tmp_path / "audit", tag=1.0)
    record = json.loads((folder / "audit.json").read_text())
    for one in record["outputs"][0]["findings"]:
        if one["check"] == "sensitivity":
            one |= {"value": None, "low": None, "high": None, "outcome": "SKIPPED", "reason": "too few"}
    (folder / "audit.json").write_text(json.dumps(record))
    with pytest.raises(InputError, match="nothing could be tested"):
        evidence(run, folder)
