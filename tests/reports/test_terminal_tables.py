"""The tables of the terminal: every run is read, counted and averaged with those like it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from srcmatters.errors import InputError
from srcmatters.reports.terminal_tables import print_comparison, print_run
from srcmatters.runs.finished_runs import read_runs

SETTINGS: dict[str, Any] = {
    "target": "nih",
    "network": "resnet18",
    "confounder": "tag",
    "source": "imagenet",
    "p_art": 0.5,
    "fold": 0,
}
METRICS = {
    "clean_auc": 0.8,
    "iid_auc": 0.9,
    "ood_auc": 0.4,
    "iid_minus_ood_auc": 0.5,
    "confounder_effect": 1.25,
    "confounder_effect_standard_error": 0.1,
    "cases": 100,
    "positives": 50,
}


@pytest.fixture(autouse=True)
def wide_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "220")


def write_run(folder: Path, settings: dict[str, Any] | None = None, **metrics: float) -> None:
    folder.mkdir(parents=True)
    record = {**METRICS, **metrics, "settings": {**SETTINGS, **(settings or {})}}
    (folder / "metrics.json").write_text(json.dumps(record))


def rows(text: str) -> list[dict[str, str]]:
    """Cells of the lines of a table by their headings; what is in the title is "the same"."""
    lines = text.splitlines()
    headings = [cell.strip() for cell in next(line for line in lines if "┃" in line).split("┃")[1:-1]]
    cells = [[cell.strip() for cell in line.split("│")[1:-1]] for line in lines if "│" in line]
    return [dict(zip(headings, row, strict=True)) for row in cells]


def test_every_run_below_a_folder_is_a_row_with_settings_and_figures(tmp_path: Path) -> None:
    write_run(tmp_path / "xray" / "one")
    write_run(tmp_path / "two", {"source": "random", "fold": 3}, clean_auc=0.7)
    runs = read_runs(tmp_path).set_index("source")
    assert set(runs.index) == {"imagenet", "random"}
    assert runs.loc["random", ["fold", "clean_auc", "ood_auc"]].tolist() == [3, 0.7, 0.4]
    assert runs.loc["imagenet", "output_dir"] == str(tmp_path / "xray" / "one")


def test_runs_that_differ_in_fold_alone_are_averaged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    areas = [0.70, 0.76, 0.85]
    for fold, area in enumerate(areas):
        write_run(tmp_path / str(fold), {"fold": fold}, clean_auc=area)
    print_comparison(read_runs(tmp_path))
    text = capsys.readouterr().out
    (row,) = rows(text)
    assert text.startswith("nih · resnet18 · tag · ")
    assert (row["source"], row["p_art"], row["runs"]) == ("imagenet", "0.5", "3")
    assert row["clean AUC"] == f"{np.mean(areas):.3f} ± {np.std(areas, ddof=1):.3f}"


@pytest.mark.parametrize("axis", ["target", "network", "confounder", "source", "p_art"])
def test_runs_that_differ_in_anything_else_are_kept_apart(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], axis: str
) -> None:
    write_run(tmp_path / "0", clean_auc=0.6)
    write_run(tmp_path / "1", {axis: 0.25 if axis == "p_art" else "another"}, clean_auc=0.9)
    print_comparison(read_runs(tmp_path))
    table = rows(capsys.readouterr().out)
    assert sorted(row["clean AUC"] for row in table) == ["0.600", "0.900"]
    assert [row["runs"] for row in table] == ["1", "1"]
    assert axis in table[0]


@pytest.mark.parametrize(
    ("name", "values", "shown"),
    [
        ("max_epochs", (1, 12), ["1", "12"]),
        ("protocol", ("paper", "corrected"), ["corrected", "paper"]),
        ("confounder_args", ({}, {"text": "L"}), ["text L", "–"]),
    ],
)
def test_runs_that_differ_in_any_other_setting_are_no_repetitions(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, values: tuple[Any, Any], shown: list[str]
) -> None:
    for number, value in enumerate(values):
        write_run(tmp_path / str(number), {name: value})
    print_comparison(read_runs(tmp_path))
    table = rows(capsys.readouterr().out)
    assert sorted(row[name] for row in table) == shown
    assert [row["runs"] for row in table] == ["1", "1"]


@pytest.mark.parametrize("name", ["fold", "seed", "device"])
def test_repetitions_are_averaged(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    for value in (1, 2):
        write_run(tmp_path / str(value), {name: value})
    print_comparison(read_runs(tmp_path))
    (row,) = rows(capsys.readouterr().out)
    assert row["runs"] == "2"


def test_a_retest_is_no_run(tmp_path: Path) -> None:
    write_run(tmp_path / "run")
    write_run(tmp_path / "retest", retest_of=1.0)
    assert read_runs(tmp_path)["output_dir"].tolist() == [str(tmp_path / "run")]


def test_columns_are_the_figures_under_their_headings(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_run(tmp_path / "0")
    print_comparison(read_runs(tmp_path))
    assert rows(capsys.readouterr().out)[0] == {
        "source": "imagenet",
        "p_art": "0.5",
        "runs": "1",
        "clean AUC": "0.800",
        "i.i.d. AUC": "0.900",
        "o.o.d. AUC": "0.400",
        "i.i.d. - o.o.d.": "0.500",
        "effect (log-odds)": "1.250",
    }


@pytest.mark.parametrize("others", [0, 1])
def test_runs_of_a_sampled_confounder_have_no_effect_to_show(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], others: int
) -> None:
    write_run(tmp_path / "sampled", {"confounder": "sex"})
    path = tmp_path / "sampled" / "metrics.json"
    record = json.loads(path.read_text())
    path.write_text(json.dumps({k: v for k, v in record.items() if not k.startswith("confounder_effect")}))
    for number in range(others):
        write_run(tmp_path / str(number))
    print_comparison(read_runs(tmp_path))
    table = rows(capsys.readouterr().out)
    sampled = [row for row in table if row.get("confounder", "sex") == "sex"]
    assert [(row["clean AUC"], row["effect (log-odds)"]) for row in sampled] == [("0.800", "–")]
    assert len(table) == 1 + others


@pytest.mark.parametrize("axis", ["target", "network", "confounder", "source", "p_art"])
def test_a_run_without_a_value_for_an_axis_is_a_run_of_its_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], axis: str
) -> None:
    write_run(tmp_path / "0", {axis: None})
    write_run(tmp_path / "1")
    print_comparison(read_runs(tmp_path))
    assert len(rows(capsys.readouterr().out)) == 2


# One run


def test_a_run_is_summed_up_with_its_figures_and_its_folder(capsys: pytest.CaptureFixture[str]) -> None:
    print_run(SETTINGS, METRICS, Path("out/run"), "mlflow ui, then http://127.0.0.1", 12.3)
    text = capsys.readouterr().out
    for expected in (
        "imagenet → nih · resnet18",
        "tag on 50% of the positives, fold 0",
        "100 images, 50 positive",
        "0.800",
        "0.900",
        "0.400",
        "+1.25 ± 0.10 in log-odds",
        "12 s. Everything is in out/run",
        "Compare runs: mlflow ui, then http://127.0.0.1",
    ):
        assert expected in text


def test_the_table_of_a_run_ends_in_its_verdict(capsys: pytest.CaptureFixture[str]) -> None:
    print_run(SETTINGS, METRICS, Path("out"), "", 1, [("LEANS", "Reversing costs .50 [.40, .60] AUC.")])
    assert "LEANS  Reversing costs .50 [.40, .60] AUC." in capsys.readouterr().out


def test_a_run_without_tracking_or_effect_does_not_speak_of_them(capsys: pytest.CaptureFixture[str]) -> None:
    figures = {name: value for name, value in METRICS.items() if not name.startswith("confounder_effect")}
    print_run(SETTINGS, figures, Path("out"), "", 1)
    text = capsys.readouterr().out
    assert "mlflow" not in text
    assert "log-odds" not in text


def test_brackets_in_names_are_shown_and_not_obeyed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """rich takes [/x] in a text for the end of a style, and stops with an error where none began."""
    name = "weights[/1].pth"
    print_run({**SETTINGS, "source": name}, METRICS, Path("out[red]"), "sqlite:///a[/b].db", 1)
    text = capsys.readouterr().out
    assert name in text
    assert "out[red]" in text
    assert "a[/b].db" in text
    write_run(tmp_path / "0", {"source": name})
    print_comparison(read_runs(tmp_path))
    assert name in capsys.readouterr().out


# What is refused


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"3",
        b"\x89PNG\xff",
        b"{}",
        b'{"settings": 3}',
        b'{"settings": {}}',
        json.dumps({**METRICS, "settings": {**SETTINGS, "target": "x"}}).encode()[:-1],
        json.dumps({**METRICS, "settings": {"source": "imagenet"}}).encode(),
        json.dumps({"settings": SETTINGS}).encode(),
        json.dumps({"clean_auc": 0.8, "iid_auc": 0.9, "settings": SETTINGS}).encode(),
    ],
)
def test_a_file_that_is_not_the_metrics_of_a_run_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    write_run(tmp_path / "fine")
    (tmp_path / "metrics.json").write_bytes(content)
    with pytest.raises(InputError) as caught:
        read_runs(tmp_path)
    assert str(caught.value).startswith(f"{tmp_path / 'metrics.json'}: not the metrics of a run")
    assert "\n" not in str(caught.value)


def test_a_folder_without_runs_is_refused_by_name(tmp_path: Path) -> None:
    for folder, reason in ((tmp_path, "no metrics.json below"), (tmp_path / "nowhere", "no such folder")):
        with pytest.raises(InputError) as caught:
            read_runs(folder)
        assert str(caught.value).startswith(f"{folder}: {reason}")


def test_runs_of_two_depths_are_two_tables_without_dictionaries(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tuned = {"depth": "finetune", "max_epochs": 12, "augmentation": {"rotation": 10}}
    write_run(tmp_path / "a", {**tuned, "confounder_args": {"text": "L", "height": 0.1}})
    write_run(tmp_path / "b", {**tuned, "confounder_args": {}, "source": "random"})
    write_run(tmp_path / "c", {"depth": "screen", "confounder_args": {}})
    print_comparison(read_runs(tmp_path))
    first, second = capsys.readouterr().out.split("screen ·")
    assert first.startswith("finetune ·") and "{" not in first + second
    assert {row["confounder_args"] for row in rows(first)} == {"height 0.1, text L", "–"}
    assert "max_epochs" not in first + second and "augmentation" not in first + second
    assert len(rows(second)) == 1 and "confounder_args" not in rows(second)[0]
