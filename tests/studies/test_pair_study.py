"""A study of a pair beside its confounders, interrupted and resumed, up to the report and what refuses it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import yaml
from click.testing import CliRunner, Result
from conftest import InlineExecutor

from srcmatters.cli import command
from srcmatters.errors import InputError
from srcmatters.studies import commands
from srcmatters.studies.executors.base import CellTask, Outcome

BUNDLE = Path(__file__).parents[2] / "bundles" / "xray_classification"
LARGE = {"height": 0.5, "position": [0.1, 0.1]}
PAIR = {"tag": LARGE, "carriers": "independent", "p_art_second": 0.5}
STUDY = {
    "name": "pairs",
    "bundle": str(BUNDLE),
    "depth": "screen",
    "tracking_uri": "",
    "axes": {
        "source": ["random"],
        "network": ["resnet18"],
        "confounder": [{"name": "tag", "args": LARGE}, {"name": "tag+noise", "args": PAIR}],
        "p_art": [0.8],
        "p_neg": [0.2],
        "mitigation": ["none", "paired"],
        "fold": [0, 1],
    },
    "analysis": {"p_art": 0.8, "replicates": 200},
    "overrides": {"image_size": 64, "num_workers": 0, "device": "cpu", "num_folds": 3, "validation_folds": 3,
                  "force": True},
}  # fmt: skip
Ask = Callable[..., Result]


@pytest.fixture
def ask(tmp_path: Path, radiograph_cohort: Path, monkeypatch: pytest.MonkeyPatch) -> Ask:
    """`srcmatters WORDS ...` in a folder with the study file; cells run in this process."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pairs.yaml").write_text(yaml.safe_dump({**STUDY, "dataset_dir": str(radiograph_cohort)}))
    monkeypatch.setattr(commands, "_executor", lambda *_: InlineExecutor())
    return lambda *words: CliRunner().invoke(command, list(words))


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        ("tag+tag", "got 'tag+tag', expected two different ones, such as tag+noise"),
        ("tag+noise+tube", "got 'tag+noise+tube', expected two different ones, such as tag+noise"),
        ("tag+nose", "'nose' of tag+nose is unknown: did you mean 'noise'"),
    ],
)
def test_a_plan_refuses_a_pair_that_no_cell_could_be_taught(ask: Ask, pair: str, message: str) -> None:
    refused = ask("study", "plan", "pairs.yaml", "--confounder", pair)
    assert isinstance(refused.exception, InputError), refused.output
    assert f"confounder: {message}" in str(refused.exception) and "\n" not in str(refused.exception)
    assert not refused.output


def test_a_study_of_pairs_alone_has_a_report_of_its_own(ask: Ask, tmp_path: Path) -> None:
    pair = yaml.safe_dump({"name": "tag+noise", "args": PAIR}, default_flow_style=True).strip()
    done = ask(
        "study", "run", "pairs.yaml", "--confounder", f"[{pair}]", "--mitigation", "none", "--fold", "0"
    )
    assert done.exit_code == 0, done.output
    assert "1 cell finished" in done.output and "not the report" not in done.output
    page = (tmp_path / "mlruns" / "studies" / "pairs" / "report.html").read_text()
    assert "Two confounders at once: pairs" in page and "tag reversed, noise as in training" in page
    assert "None: the grid is complete." in page and 'download="pairs.csv"' in page


@pytest.mark.slow
def test_an_interrupted_study_of_a_pair_goes_on_and_is_reported(
    ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[str] = []

    def interrupt(task: CellTask) -> Outcome | None:
        started.append(task.cell_id)
        if len(started) == 4:
            raise KeyboardInterrupt
        return None

    monkeypatch.setattr(commands, "_executor", lambda *_: InlineExecutor(interrupt))
    assert ask("study", "run", "pairs.yaml").exit_code == 130
    out = tmp_path / "mlruns" / "studies" / "pairs"
    before = {path: path.stat().st_mtime_ns for path in out.glob("cells/*/predictions.csv")}
    assert len(before) == 3
    monkeypatch.setattr(commands, "_executor", lambda *_: InlineExecutor())
    done = ask("study", "run", "pairs.yaml")
    assert done.exit_code == 0 and "8 cells finished, 5 of them now, 0 failed" in done.output, done.output
    assert all(path.stat().st_mtime_ns == time for path, time in before.items())
    page = (out / "report.html").read_text()
    assert "Two confounders at once" in page and "tag reversed, noise as in training" in page
    assert "random, paired" in page and "Arms treat the first" in page
    words = " ".join(page.split())
    assert "8 runs</p>" in words and "(4 runs, in no other section but the settings)" in words
    assert "tag, tag+noise" in words  # the settings are those of all runs
    assert "(p_art .8), .2 of the negative ones; the same shares held" in words
    assert "runs with an arm against the confounder (paired)" in words and "no negative one did" not in words
    pairs = pd.read_csv(out / "tables" / "pairs.csv")
    assert set(pairs["mitigation"]) == {"none", "paired"} and set(pairs["confounder"]) == {"tag+noise"}
    verdicts = pd.read_csv(out / "tables" / "verdicts.csv")
    spoken = verdicts[verdicts["confounder"] == "tag+noise"]
    assert list(spoken["metric"]) == ["loss, first_reversed", "loss, second_reversed", "loss, ood"]
    assert ask("report", str(out)).exit_code == 0
    table = ask("results", str(out)).output
    assert "tag+noise" in table and table.count("paired") == 2
    run = next(path.parent for path in out.glob("cells/*tag+noise*/predictions.csv"))
    refit = ("audit", "refit", str(run), "--dataset_dir", "phantom", "--confounder", "tag", "--out", "refit")
    for words in (("export", str(run), "--to", "bundle"), refit):
        refused = ask(*words)
        assert isinstance(refused.exception, InputError), refused.output
        assert "a run of the pair tag+noise" in str(refused.exception)
