"""A study of the X-ray bundle from the command line: planned, refused, run, looked at."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from click.testing import CliRunner, Result
from conftest import InlineExecutor

from srcmatters.cli import command
from srcmatters.errors import InputError
from srcmatters.studies import commands

BUNDLE = Path(__file__).parents[2] / "bundles" / "xray_classification"
# Features of a random network on 64 pixels see no smaller one.
LARGE_TAG = {"name": "tag", "args": {"height": 0.5, "position": [0.1, 0.1]}}
STUDY = {
    "name": "phantoms",
    "bundle": str(BUNDLE),
    "depth": "screen",
    "tracking_uri": "",
    "axes": {"source": ["random"], "network": ["resnet18"], "confounder": [LARGE_TAG], "p_art": [0, 1]},
    "controls": ["shuffled_labels", "independent_confounder"],
    "analysis": {"p_art": 1.0, "replicates": 200},
    "overrides": {"image_size": 64, "num_workers": 0, "device": "cpu", "num_folds": 3, "validation_folds": 3},
}
Ask = Callable[..., Result]


@pytest.fixture
def executor(monkeypatch: pytest.MonkeyPatch) -> InlineExecutor:
    used = InlineExecutor()
    monkeypatch.setattr(commands, "_executor", lambda *_: used)
    return used


@pytest.fixture
def study(tmp_path: Path, radiograph_cohort: Path, monkeypatch: pytest.MonkeyPatch) -> Ask:
    """`srcmatters study WORD FILE ...` in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    axes = {**STUDY["axes"], "fold": [0, 1, 2]}  # type: ignore[dict-item]
    content = {**STUDY, "axes": axes, "dataset_dir": str(radiograph_cohort)}
    (tmp_path / "phantoms.yaml").write_text(yaml.safe_dump(content))

    def ask(word: str, *words: str, file: str = "phantoms.yaml") -> Result:
        return CliRunner().invoke(command, ["study", word, file, *words])

    return ask


def figures(folder: Path) -> dict[str, np.ndarray]:
    """(cells, 3) clean, i.i.d. and o.o.d. AUC by control, without one at p_art 1."""
    by_control: dict[str, list[list[float]]] = {}
    for path in sorted(folder.glob("cells/*/metrics.json")):
        record = json.loads(path.read_text())
        settings = record["settings"]
        if settings["p_art"] > 0:
            row = [record[f"{name}_auc"] for name in ("clean", "iid", "ood")]
            by_control.setdefault(settings["control"], []).append(row)
    return {control: np.array(rows) for control, rows in by_control.items()}


def test_a_study_of_phantoms_from_plan_to_status(
    study: Ask, executor: InlineExecutor, tmp_path: Path
) -> None:
    planned = study("plan")
    assert planned.exit_code == 0, planned.output
    assert (
        "12, 6 of them null controls" in planned.output
        and "unknown: no cell has been timed" in planned.output
    )
    assert "can show" in planned.output and "--seed 0,1,2,3,4" in planned.output
    assert "to show .05" not in planned.output
    assert "to show .05" in study("plan", "--detect", ".05").output
    assert not executor.order and not (tmp_path / "mlruns").exists()
    timed = study("plan", "--time-one")
    assert timed.exit_code == 0 and len(executor.order) == 1 and "11 × " in timed.output
    done = study("run", "--no-report")
    out = tmp_path / "mlruns" / "studies" / "phantoms"
    assert done.exit_code == 0, done.output
    assert "12 cells finished, 11 of them now, 0 failed" in done.output
    shown = study("status", file=str(out))
    assert "complete" in shown.output and shown.exit_code == 0
    assert study("watch", file=str(out)).exit_code == 0
    aucs = figures(out)
    assert aucs["none"].shape == (3, 3)
    gaps = {control: (rows[:, 1] - rows[:, 2]).mean() for control, rows in aucs.items()}
    # With 22 training cases chance alone moves the gap of a control, but not as a shortcut that is learnt.
    assert gaps["none"] > 0.3 + max(abs(gaps[control]) for control in STUDY["controls"])  # type: ignore
    # 48 cases: the standard error of an AUC at chance is .08.
    assert abs(aucs["shuffled_labels"][:, 0].mean() - 0.5) < 0.25


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--dataset_dir", "nowhere"), "dataset_dir: nowhere is not a folder"),
        (("--source", "random,imagnet"), "did you mean 'imagenet'"),
        (("--confounder", "tga"), "did you mean 'tag'"),
        (("--image_size", "0"), "image_size: got 0"),
        (("--fold", "3"), "fold: got 3 of num_folds 3"),
        (("--image_siez", "64"), "has no 'image_siez': did you mean 'image_size'"),
        (("--quux", "64"), "expected an id of "),
        (("--mitigation", "none,augmnt"), "mitigation: 'augmnt' is unknown: did you mean 'augment'"),
        (("--train_size", "5000"), "train_size: "),
        (("--pooling", "mean"), "pooling: got 'mean', expected none: resnet18 has no tokens"),
        (
            ("--adaptation", "full,lp_ft"),
            "adaptation: got full, lp_ft at depth screen",
        ),
        (("--tested", "[tag, tga]"), "tested: 'tga' is unknown: did you mean 'tag'"),
        (("--confounder", "[{name: tag, args: {colour: 1}}]"), "colour"),
        (("--image_size", "["), "--image_size: got '[', expected a value as YAML has it"),
        (("--source", "[random"), "--source: got '[random', expected a value as YAML has it"),
        (("--seed",), "--seed: no value"),
        (("64",), "64: not understood, expected --name value"),
    ],
)
def test_what_is_wrong_with_all_cells_is_said_once_and_first(
    study: Ask, executor: InlineExecutor, tmp_path: Path, words: tuple[str, ...], message: str
) -> None:
    for word in ("plan", "run"):
        done = study(word, *words)
        assert isinstance(done.exception, InputError) and message in str(done.exception), word
        assert "\n" not in str(done.exception)
        assert not executor.order and not (tmp_path / "mlruns").exists(), "nothing was begun, nothing is left"


def test_controls_need_no_run_without_an_arm(study: Ask) -> None:
    assert study("plan", "--mitigation", "paired").exit_code == 0


def test_a_failed_cell_is_in_the_table_and_in_the_exit_status(
    study: Ask, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from srcmatters.studies.executors.base import Outcome

    failing = InlineExecutor(lambda task: Outcome(task.cell_id, "failed", error="it [broke]", mistake=True))
    monkeypatch.setattr(commands, "_executor", lambda *_: failing)
    done = study("run", "--fold", "0", "--controls", "none", "--p_art", "1")
    assert done.exit_code == 1
    assert "0 cells finished, 0 of them now, 1 failed" in done.output and "it [broke]" in done.output
    shown = study("status", file=str(tmp_path / "mlruns" / "studies" / "phantoms"))
    assert "it [broke]" in shown.output and "stopped" in shown.output


def test_a_folder_without_a_study_has_no_status(study: Ask, tmp_path: Path) -> None:
    shown = study("status", file=str(tmp_path))
    assert isinstance(shown.exception, InputError) and "no study.json" in str(shown.exception)
