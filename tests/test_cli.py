"""The command: what it writes, what it prints, and one line for a user's mistake."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pandas as pd
import pytest
from click.testing import CliRunner, Result

from srcmatters import __version__
from srcmatters.cli import command, main
from srcmatters.cohorts import read_cases
from srcmatters.cohorts.phantom_cohort import write_phantom_cohort
from srcmatters.errors import InputError

DATA_ENTRY = """Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position
00000001_000.png,Mass|Nodule,0,1,57,M,PA
00000002_000.png,No Finding,0,2,414,F,PA
00000003_000.png,Mass,0,3,60,F,AP
00000004_000.png,Nodule,0,4,61,F,PA
00000005_000.png,Effusion,0,5,62,F,PA
"""


def run(*arguments: object) -> Result:
    """The command, whose errors are the test's."""
    return CliRunner().invoke(command, [str(argument) for argument in arguments], catch_exceptions=False)


@pytest.fixture
def data_entry(tmp_path: Path) -> Path:
    path = tmp_path / "Data_Entry_2017.csv"
    path.write_text(DATA_ENTRY)
    (tmp_path / "images").mkdir()
    for number in range(1, 6):
        (tmp_path / "images" / f"0000000{number}_000.png").touch()
    return path


# cohorts nih


def test_nih_writes_a_cohort_beside_the_datasets_own_file(data_entry: Path) -> None:
    done = run("cohorts", "nih", data_entry, "--finding", "Mass")
    assert done.exit_code == 0
    assert done.output == f"{data_entry.parent / 'cases.csv'}: 3 images, 2 with Mass\n"
    assert read_cases(data_entry.parent)["label"].tolist() == [1, 0, 1]


def test_nih_takes_several_negatives_a_view_and_another_place(data_entry: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "table.csv"
    options = ["--negatives", "Nodule", "--negatives", "Effusion", "--view", "PA", "--images", "png", "--out"]
    run("cohorts", "nih", data_entry, "--finding", "Mass", *options, out)
    cases = pd.read_csv(out)
    assert cases["findings"].tolist() == ["Mass|Nodule", "Nodule", "Effusion"]
    assert cases["label"].tolist() == [1, 0, 0]
    assert cases["image"][0] == "png/00000001_000.png"
    assert not (tmp_path / "cases.csv").exists()


# cohorts phantom and dicom


def test_phantoms_are_a_cohort_of_what_was_asked_for(tmp_path: Path) -> None:
    options = ["--patients", 4, "--image_size", 32, "--difficulty", 0, "--seed", 5]
    done = run("cohorts", "phantom", tmp_path / "new", *options)
    assert done.output == f"{tmp_path / 'new' / 'cases.csv'}: 4 images, 2 positive\n"
    cases = read_cases(tmp_path / "new")
    assert len(cases) == 4
    assert {Path(image).suffix for image in cases["image"]} == {".png"}
    direct = write_phantom_cohort(tmp_path / "direct", 4, seed=5, image_size=32, difficulty=0.0)
    assert direct["age"].tolist() == cases["age"].tolist()
    for image in direct["image"]:
        assert (tmp_path / "new" / image).read_bytes() == (tmp_path / "direct" / image).read_bytes()


def test_ct_phantoms_are_nifti_unless_dicom_is_asked_for(tmp_path: Path) -> None:
    run("cohorts", "phantom", tmp_path / "ct", "--patients", 1, "--modality", "ct")
    assert read_cases(tmp_path / "ct")["image"][0].endswith(".nii.gz")


def test_dicom_headers_and_labels_become_a_cohort(tmp_path: Path) -> None:
    options = ["--patients", 4, "--image_size", 32, "--format", "dicom"]
    run("cohorts", "phantom", tmp_path / "new", *options)
    written = read_cases(tmp_path / "new")
    labels = tmp_path / "labels.csv"
    written[["patient_id", "label"]].iloc[:3].to_csv(labels, index=False)
    done = run(
        "cohorts", "dicom", tmp_path / "new", "--labels", labels, "--out", tmp_path / "new" / "mine.csv"
    )
    positives = written["label"][:3].sum()
    assert done.output == f"{tmp_path / 'new' / 'mine.csv'}: 3 images, {positives} positive\n"
    cases = read_cases(tmp_path / "new", "mine.csv")
    for column in ("patient_id", "label", "sex", "image"):
        assert cases[column].tolist() == written[column][:3].tolist()
    run("cohorts", "dicom", tmp_path / "new", "--labels", labels)
    assert len(read_cases(tmp_path / "new")) == 3


# results


def test_results_compare_the_runs_of_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "220")
    settings = {"target": "nih", "network": "resnet18", "confounder": "tag", "source": "mine", "p_art": 0.5}
    figures = {"clean_auc": 0.8, "iid_auc": 0.9, "ood_auc": 0.375, "iid_minus_ood_auc": 0.525}
    folder = tmp_path / "mlruns" / "outputs" / "run"
    folder.mkdir(parents=True)
    (folder / "metrics.json").write_text(json.dumps({**figures, "settings": settings}))
    done = run("results", folder.parent)
    assert all(word in done.output for word in ("nih", "resnet18", "tag", "mine", "0.375", "0.525"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mlruns" / "metrics.json").write_text("MLflow's own")
    assert run("results").output == done.output  # mlruns/outputs is where runs go


# Mistakes


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["cohorts", "nih", "{0}/none.csv", "--finding", "Mass"], "{0}/none.csv does not exist"),
        (["cohorts", "nih", "{0}/Data_Entry_2017.csv", "--finding", "mass"], "finding: 'mass' is unknown"),
        (["cohorts", "dicom", "{0}/none", "--labels", "{0}/labels.csv"], "{0}/none is not a folder"),
        (["cohorts", "dicom", "{0}", "--labels", "{0}/labels.csv"], "{0}: no DICOM file in this folder"),
        (["cohorts", "phantom", "{0}", "--patients", "2"], "directory: {0} exists already"),
        (["cohorts", "phantom", "{0}/new", "--patients", "0"], "patients"),
        (["cohorts", "phantom", "{0}/new", "--modality", "ct", "--format", "png"], "file_format"),
        (["cohorts", "phantom", "{0}/new", "--difficulty", "2"], "difficulty"),
        (["results", "{0}/none"], "{0}/none: no such folder, expected a study"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing_behind(
    data_entry: Path, tmp_path: Path, arguments: list[str], complaint: str
) -> None:
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(InputError) as caught:
        run(*(argument.format(tmp_path) for argument in arguments))
    assert str(caught.value).startswith(complaint.format(tmp_path))
    assert "\n" not in str(caught.value)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["cohorts", "nih", "file.csv"],
            "Missing option '--finding'. (srcmatters cohorts nih --help says more)",
        ),
        (
            ["cohorts", "phantom", "new", "--patients", "many"],
            "Invalid value for '--patients': 'many' is not a valid integer"
            ". (srcmatters cohorts phantom --help says more)",
        ),
        (
            ["audit", "run", "model.onnx", "--seed", "-1"],
            "Invalid value for '--seed': -1 is not in the range x>=0."
            " (srcmatters audit run --help says more)",
        ),
        (
            ["audit", "run", "model.onnx", "--batch_size", "0"],
            "Invalid value for '--batch_size': 0 is not in the range x>=1."
            " (srcmatters audit run --help says more)",
        ),
        (["cohort"], "No such command 'cohort'. Did you mean 'cohorts'? (srcmatters --help says more)"),
    ],
)
def test_a_misuse_of_the_command_is_one_line(
    words: list[str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", ["srcmatters", *words])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 2
    assert capsys.readouterr().err == f"error: {message}\n"


@pytest.mark.parametrize("place", ["file/cases.csv", "folder", "n" * 300])
def test_a_place_that_cannot_be_written_is_one_line(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "theirs.csv").write_text("image,patient_id,label\na,1,0\nb,2,1\n")
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["srcmatters", "cohorts", "table", "theirs.csv", "--out", place])
    with pytest.raises(SystemExit, match="1"):
        main()
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1 and place.split("/")[0] in error
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder", "theirs.csv"]


def test_a_full_disk_is_one_line_and_a_bug_is_a_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    failure: dict[str, OSError] = {}

    def fail(**_: object) -> None:
        raise failure["of"]

    monkeypatch.setattr("srcmatters.cli.command", fail)
    failure["of"] = OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(SystemExit, match="1"):
        main()
    assert capsys.readouterr().err.startswith("error: No space left on device, expected")
    failure["of"] = FileNotFoundError(errno.ENOENT, "No such file or directory", "internal")
    with pytest.raises(FileNotFoundError):
        main()


def test_a_group_without_a_subcommand_lists_them(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["srcmatters", "cohorts"])
    with pytest.raises(SystemExit):
        main()
    assert "\n  phantom " in capsys.readouterr().err


def test_the_program_prints_one_line_and_ends_with_status_1(tmp_path: Path) -> None:
    program = "import sys; from srcmatters.cli import main; sys.argv[0] = 'srcmatters'; main()"
    missing = tmp_path / "none.csv"
    arguments = ["cohorts", "nih", str(missing), "--finding", "Mass"]
    done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr == (
        f"error: {missing} does not exist, expected the Data_Entry CSV file of ChestX-ray14\n"
    )


# Help


def test_ctrl_c_ends_any_command_with_130(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("srcmatters.runs.finished_runs.read_runs", interrupted)
    monkeypatch.setattr(sys, "argv", ["srcmatters", "results", str(tmp_path)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 130 and capsys.readouterr().err.strip() == "error: interrupted"


def test_help_lists_every_command_without_importing_torch() -> None:
    program = (
        "import sys\nfrom srcmatters.cli import command\n"
        "try:\n    command(['--help'])\nexcept SystemExit:\n    print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert all(f"  {name} " in done.stdout for name in ("cohorts", "confounders", "results"))
    assert done.stdout.endswith("\nFalse\n")


@pytest.mark.parametrize("arguments", [["cohorts"], ["cohorts", "nih"], ["confounders"], ["results"]])
def test_every_command_has_help(arguments: list[str]) -> None:
    done = run(*arguments, "-h")
    assert done.exit_code == 0
    assert "Usage:" in done.output


def _commands(group: click.Group, words: tuple[str, ...] = ()) -> Iterator[tuple[str, click.Command]]:
    for name in group.list_commands(click.Context(group)):
        one = group.get_command(click.Context(group), name)
        assert one is not None
        if isinstance(one, click.Group):
            yield from _commands(one, (*words, name))
        else:
            yield " ".join((*words, name)), one


def test_every_command_that_tracks_takes_the_store_of_the_environment() -> None:
    stores = {
        words: option.envvar
        for words, one in _commands(command)
        for option in one.params
        if option.name == "tracking_uri"
    }
    assert {"audit run", "export", "sources compare"} <= stores.keys()
    assert set(stores.values()) == {"MLFLOW_TRACKING_URI"}, stores


def test_the_version_is_the_packages() -> None:
    assert __version__ in run("--version").output
