"""What `srcmatters study` says at its beginning, on its way and at its end."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import mlflow
import pandas as pd
import pytest
from click.testing import CliRunner

from srcmatters.cli import command
from srcmatters.errors import InputError
from srcmatters.studies.cells import expand
from srcmatters.studies.commands import run
from srcmatters.studies.conclusion import description, verdict_lines
from srcmatters.studies.executors.base import Outcome
from srcmatters.studies.progress import Lines
from srcmatters.studies.study_file import Study

QUICK = "xray_classification/quick"


def test_a_mistyped_source_is_refused_by_the_plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["study", "plan", QUICK, "--source", "imagnet,random"]
    done = CliRunner().invoke(command, words)
    assert isinstance(done.exception, InputError)
    assert "did you mean 'imagenet'" in str(done.exception)


@pytest.mark.parametrize(("folds", "warned"), [("0,1", True), ("0,1,2", False)])
def test_a_plan_of_two_trainings_a_cell_is_told_what_it_cannot_show(
    folds: str, warned: bool, radiograph_cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["study", "plan", QUICK, "--source", "random", "--fold", folds, "--depth", "finetune"]
    done = CliRunner().invoke(command, [*words, "--dataset_dir", str(radiograph_cohort)])
    assert done.exit_code == 0, done.output
    text = " ".join(done.output.replace("│", " ").split())
    assert ("2 trainings of a cell cannot show how trainings differ" in text) is warned


def test_a_hint_after_ctrl_c_is_the_command_as_it_was_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, study_file: Callable[..., Path]
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("srcmatters.studies.runner.StudyRun.run", interrupted)
    words = ["study", "run", str(study_file()), "--p_art", "0,1", "--output_dir", str(tmp_path / "my study")]
    monkeypatch.setattr(sys, "argv", ["srcmatters", *words])
    done = CliRunner().invoke(command, words)
    assert done.exit_code == 130
    assert (
        f"srcmatters study run {study_file()} --p_art 0,1 --output_dir '{tmp_path / 'my study'}'"
        in done.output
    )


def test_without_a_terminal_every_cell_is_a_line(
    tiny_study: Callable[..., Study], capsys: pytest.CaptureFixture[str]
) -> None:
    first, second, *_ = expand(tiny_study())
    lines = Lines()
    with lines.shown(2):
        lines.advance(first, Outcome(first.cell_id, "finished"))
        lines.advance(second, Outcome(second.cell_id, "failed", error="no space"))
    printed = capsys.readouterr().err.splitlines()
    assert printed[0] == "2 cells to run" and printed[1].startswith(f"1/2 {first.cell_id} (left: ")
    assert printed[2].startswith(f"2/2 {second.cell_id} failed: no space")


def test_the_end_prints_the_verdicts_comparisons_first(tmp_path: Path) -> None:
    assert verdict_lines(tmp_path) == []
    (tmp_path / "tables").mkdir()
    kinds = ["control", "lean", "comparison", "lean"]
    table = pd.DataFrame({"kind": kinds, "outcome": "INCONCLUSIVE", "text": [f"text {n}" for n in range(4)]})
    table.to_csv(tmp_path / "tables" / "verdicts.csv", index=False)
    lines = verdict_lines(tmp_path, most=3)
    assert [line.split()[-1] for line in lines[:3]] == ["2", "1", "3"] and lines[0].startswith(
        "INCONCLUSIVE: "
    )
    assert lines[3].startswith("and 1 more in")


def test_the_description_has_every_verdict_no_path_and_no_link_of_a_user(tmp_path: Path) -> None:
    (tmp_path / "tables").mkdir()
    texts = [*(f"text {number}" for number in range(20)), "[x](http://example.org) leans more"]
    table = pd.DataFrame({"kind": "lean", "outcome": "LEANS", "text": texts})
    table.to_csv(tmp_path / "tables" / "verdicts.csv", index=False)
    text = description(tmp_path)
    assert "- **LEANS** text 19\n" in text
    assert "report.html" in text
    assert str(tmp_path) not in text
    assert "](http" not in text


def test_the_end_names_verdict_report_and_mlflow(
    study_file: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "out"

    def concluded(study_dir: Path) -> Path:
        (study_dir / "tables").mkdir()
        table = pd.DataFrame(
            {"kind": ["comparison"], "outcome": ["WITHIN MARGIN"], "text": ["they are alike"]}
        )
        table.to_csv(study_dir / "tables" / "verdicts.csv", index=False)
        (study_dir / "report.html").write_text("")
        return study_dir / "tables"

    monkeypatch.setattr("srcmatters.studies.conclusion.conclude", concluded)
    store = f"sqlite:///{tmp_path}/mlruns/mlflow.db"
    words = [str(study_file()), "--output_dir", str(folder), "--tracking_uri", store, "--workers", "1"]
    done = CliRunner().invoke(run, [*words, "--source", "good", "--p_art", "0", "--fold", "0"])
    assert done.exit_code == 0, done.output
    assert "WITHIN MARGIN: they are alike" in done.output
    assert f"Report: {folder / 'report.html'}" in done.output
    parent = json.loads((folder / "study.json").read_text())["parent_run_id"]
    note = mlflow.MlflowClient(store).get_run(parent).data.tags["mlflow.note.content"]
    assert note.startswith("- **WITHIN MARGIN** they are alike")
    assert f"mlflow ui --backend-store-uri {store}" in done.output
    assert "study run" not in done.output
