"""What an audit leaves: JSON, tables, a page, a terminal, MLflow, an exit status."""

import json
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import mlflow
import numpy as np
import pytest
from audit_cases import simulated_scores
from click.testing import CliRunner

from srcmatters.audit.audit_run import audit_scores
from srcmatters.audit.check import AuditPlan
from srcmatters.audit.commands import audit as command
from srcmatters.audit.compare import compare
from srcmatters.audit.console import lines
from srcmatters.audit.exit_rule import ExitRule
from srcmatters.audit.mlflow_record import track
from srcmatters.audit.page import headline, render_page, write_page
from srcmatters.audit.record import as_record, is_audit, read_record, write_record
from srcmatters.audit.result import Audit, Question
from srcmatters.errors import InputError
from srcmatters.evaluation.outcomes import Outcome


@lru_cache
def audited(name: str = "model a", seed: int = 0, **reaction: float) -> Audit:
    scores = simulated_scores(reaction or {"tag": 1.0, "noise": 0.0}, patients=160, spread=0.1, seed=seed)
    return audit_scores([scores], {"name": name, "kind": "scores", "sha256": None}, AuditPlan())


def test_the_record_is_valid_json_without_identifiers(tmp_path: Path) -> None:
    one = audited()
    record = read_record(write_record(one, tmp_path))
    assert record["outcome"] == "LEANS" and record["outputs"][0]["outcome"] == "LEANS"
    assert is_audit(tmp_path) and is_audit(tmp_path / "audit.json")
    text = (tmp_path / "audit.json").read_text()
    assert "NaN" not in text and '"p17"' not in text and "c17" not in text
    sensitivities = {
        row["subject"]: row["value"]
        for row in record["outputs"][0]["findings"]
        if row["check"] == "sensitivity"
    }
    assert sensitivities["tag"] == one.outputs[0].verdicts[0].value


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("version", 2, "version 1"),
        ("outcome", "FINE", "outcome"),
        ("plan", {"margin": 3, "confidence": 0.95}, "margin"),
        ("outputs", [], "outputs"),
    ],
)
def test_a_record_that_is_none_is_refused_by_field(
    field: str, value: object, expected: str, tmp_path: Path
) -> None:
    record = {**as_record(audited()), field: value}
    (tmp_path / "audit.json").write_text(json.dumps(record))
    with pytest.raises(InputError, match=expected):
        read_record(tmp_path)


def test_the_same_seed_gives_the_same_record() -> None:
    first, second = (as_record(audited()) for _ in range(2))
    assert first == second


def test_the_terminal_has_the_worst_first_and_what_to_do(tmp_path: Path) -> None:
    shown = lines(audited().outputs[0], lambda text, **_: text)
    assert shown[0].startswith("Clean AUC .")
    assert shown[1].startswith("LEANS ") and "A letter in the corner (tag) raises the score" in shown[1]
    assert "next: " in shown[2] and shown[3].startswith("WITHIN MARGIN")


def test_the_page_needs_nothing_and_says_the_verdict(tmp_path: Path) -> None:
    one = audited()
    page = render_page(one, [Question("tag"), Question("noise")])
    assert "http://" not in page.replace("http://www.w3.org", "") and 'src="http' not in page
    assert headline(one.outputs[0]) in page and "LEANS" in page
    assert page.count("<svg") >= 5
    assert write_page(one, tmp_path, [Question("tag")]).stat().st_size > 20_000


def test_headlines() -> None:
    assert headline(audited(tag=1.0).outputs[0]).startswith("The score depends on tag")
    assert headline(audited(noise=0.0).outputs[0]).startswith("No confounder of the 1 that were tested")


def test_exit_rules() -> None:
    leaning, innocent = audited(tag=1.0), audited(noise=0.0)
    assert ExitRule.parse("leans").fails(leaning) and not ExitRule.parse("leans").fails(innocent)
    assert ExitRule.parse("loss > .05").fails(leaning) and not ExitRule.parse("loss>0.05").fails(innocent)
    few = audit_scores([simulated_scores({"tag": 0.0}, patients=8)], {"name": "m", "kind": "scores"})
    assert few.outcome is Outcome.SKIPPED and ExitRule.parse("leans").fails(few)  # silence is no pass
    for text in ("lean", "loss>", "loss>2", "auc<.5"):
        with pytest.raises(InputError, match="--fail-if"):
            ExitRule.parse(text)


def test_which_of_two_models_leans_less(tmp_path: Path) -> None:
    for name, shift in (("a", 1.0), ("b", 0.5), ("c", 0.51)):
        write_record(audited(name, tag=shift, noise=0.0), tmp_path / name)
    comparisons = {one.confounder: one for one in compare(tmp_path / "a", tmp_path / "b")}
    assert comparisons["tag"].outcome is Outcome.LEANS and comparisons["tag"].text.startswith(
        "tag: a leans more than b"
    )
    assert comparisons["noise"].outcome is Outcome.WITHIN_MARGIN
    alike = {one.confounder: one.outcome for one in compare(tmp_path / "b", tmp_path / "c")}
    assert alike["tag"] is Outcome.WITHIN_MARGIN
    backwards = {one.confounder: one for one in compare(tmp_path / "b", tmp_path / "a")}
    assert backwards["tag"].difference == pytest.approx(-comparisons["tag"].difference)
    assert "size of the loss of a minus that of b: ." in comparisons["tag"].text
    assert "size of the loss of b minus that of a: −." in backwards["tag"].text


def test_the_stricter_of_two_margins_holds_in_either_order(tmp_path: Path) -> None:
    for name, margin in (("strict", 0.02), ("lax", 0.4)):
        one = audited(name, noise=0.0)
        write_record(replace(one, plan=replace(one.plan, margin=margin)), tmp_path / name)
    for order in (("strict", "lax"), ("lax", "strict")):
        (result,) = compare(*(tmp_path / name for name in order))
        assert "within the margin of .02" in result.text


def test_audits_of_other_confounders_name_what_each_has(tmp_path: Path) -> None:
    write_record(audited("a", tag=1.0), tmp_path / "a")
    write_record(audited("b", noise=0.0, tube=0.0), tmp_path / "b")
    with pytest.raises(InputError, match=r"a has tag and .*b has noise, tube, expected"):
        compare(tmp_path / "a", tmp_path / "b")


def test_a_confounder_that_lowers_the_score_counts_by_its_size(tmp_path: Path) -> None:
    for name, shift in (("up", 0.5), ("down", -1.0)):
        write_record(audited(name, tag=shift), tmp_path / name)
    (one,) = compare(tmp_path / "up", tmp_path / "down")
    assert one.outcome is Outcome.LEANS and "down leans more than up" in one.text


def test_audits_of_other_cases_cannot_be_compared(tmp_path: Path) -> None:
    write_record(audited("a"), tmp_path / "a")
    other = audited("other")
    other.outputs[0].scores.cases["case_id"] = "z" + other.outputs[0].scores.cases["case_id"]
    write_record(other, tmp_path / "b")
    with pytest.raises(InputError, match="no case in common"):
        compare(tmp_path / "a", tmp_path / "b")
    unlike = audited("unlike")
    unlike.outputs[0].scores.cases["label"] = 1 - unlike.outputs[0].scores.cases["label"]
    write_record(unlike, tmp_path / "c")
    with pytest.raises(InputError, match="has another label in each, expected audits of the same cases"):
        compare(tmp_path / "a", tmp_path / "c")
    result = CliRunner().invoke(command, ["compare", str(tmp_path / "a"), str(tmp_path / "a")])
    assert result.exit_code == 0 and "lean alike" in result.output


def test_models_stand_side_by_side_in_mlflow(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    for name, shift in (("a", 1.0), ("b", 0.0)):
        one = audited(name, tag=shift)
        folder = tmp_path / name
        write_record(one, folder)
        write_page(one, folder, [])
        assert "/runs" in track(one, folder, uri, "target")
    client = mlflow.MlflowClient(uri)
    runs = client.search_runs([client.get_experiment_by_name("audits").experiment_id])
    assert {run.data.tags["model"]: run.data.tags["verdict"] for run in runs} == {
        "a": "LEANS",
        "b": "WITHIN MARGIN",
    }
    losses = {run.data.tags["model"]: run.data.metrics["loss_tag"] for run in runs}
    assert losses["a"] > 0.2 and abs(losses["b"]) < 0.05
    names = {one.path for one in client.list_artifacts(runs[0].info.run_id)}
    assert names == {"audit.json", "audit.html"}
    assert np.isfinite(runs[0].data.metrics["clean_auc"])
