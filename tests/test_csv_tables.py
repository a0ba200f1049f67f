"""Tables of other people are read with their mistakes named; ours are no formulas to a spreadsheet."""

from __future__ import annotations

import csv
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner

from srcmatters.cli import command
from srcmatters.cohorts import read_cases, write_cases
from srcmatters.cohorts.case_table import OUTSIDE
from srcmatters.csv_tables import csv_text, read_csv, read_their_csv, write_csv
from srcmatters.errors import InputError

FORMULAS = ["=HYPERLINK(1)", "+1", "-cmd", "@SUM", "\tx"]


def test_no_text_cell_begins_like_a_formula_and_all_come_back(tmp_path: Path) -> None:
    table = pd.DataFrame(
        {"name": [*FORMULAS, "a=b", None], "value": [-1.5, 2, 3, 4, 5, 6, 7], "yes": [True] * 7}
    )
    write_csv(table, tmp_path / "t.csv")
    with (tmp_path / "t.csv").open(newline="") as file:
        cells = [row[0] for row in csv.reader(file)][1:]
    assert not any(cell.startswith(("=", "+", "-", "@", "\t")) for cell in cells)
    assert cells[5] == "a=b"
    pd.testing.assert_frame_equal(read_csv(tmp_path / "t.csv"), table, check_dtype=False)
    assert "-1.5" in csv_text(table), "numbers stay numbers"


def images(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")


def test_a_case_table_with_such_names_is_written_and_read_again(tmp_path: Path) -> None:
    images(tmp_path, "=a.png", "-b.png")
    cases = pd.DataFrame({"image": ["=a.png", "-b.png"], "patient_id": ["+1", "@2"], "label": [0, 1]})
    write_cases(cases, tmp_path / "cases.csv")
    assert "\n'=a" in (tmp_path / "cases.csv").read_text()
    assert read_cases(tmp_path)["patient_id"].tolist() == ["+1", "@2"]


def test_rows_are_counted_as_an_editor_counts_them(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("image,label\na.png,1\n\n\nb.png,0\n")
    assert (read_their_csv(tmp_path / "t.csv").index + 2).tolist() == [2, 5]
    images(tmp_path, "a.png")
    (tmp_path / "cases.csv").write_text("image,patient_id,label\na.png,1,1\n\n\nb.png,2,0\n")
    with pytest.raises(InputError, match=r"row 5, column 'image': .*b\.png does not exist"):
        read_cases(tmp_path)


def test_a_table_that_leads_out_of_its_folder_is_refused_unless_it_is_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images(tmp_path, "secret.png", "sent/a.png")
    table = tmp_path / "sent" / "cases.csv"
    table.write_text("image,patient_id,label\na.png,1,1\n../secret.png,2,0\n")
    with pytest.raises(InputError, match=rf"row 3, column 'image': ../secret.png leads out of .*{OUTSIDE}=1"):
        read_cases(tmp_path / "sent")
    monkeypatch.setenv(OUTSIDE, "1")
    with pytest.warns(UserWarning, match="1 of 2 files"):
        assert len(read_cases(tmp_path / "sent")) == 2


def test_absolute_paths_outside_of_the_folder_are_told(tmp_path: Path) -> None:
    images(tmp_path, "sent-by-others/b.png", "sent/a.png")
    other = tmp_path / "sent-by-others" / "b.png"
    (tmp_path / "sent" / "cases.csv").write_text(f"image,patient_id,label\na.png,1,1\n{other},2,0\n")
    with pytest.warns(UserWarning, match=r"column 'image': 1 of 2 files lie outside of its folder"):
        assert read_cases(tmp_path / "sent")["image"][1] == str(other)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (
            ["no", "yes"],
            r"row 2, column 'label': got no, expected 0 or 1; .* --positive yes` writes yes as 1",
        ),
        (list("012"), r"column 'label': 3 values \(0, 1, 2\), expected 0 and 1: targets are binary"),
    ],
)
def test_other_labels_are_refused_with_what_to_do(tmp_path: Path, labels: list[str], message: str) -> None:
    rows = [f"{number}.png,{number},{labels[number % len(labels)]}" for number in range(9)]
    (tmp_path / "cases.csv").write_text("\n".join(["image,patient_id,label", *rows]))
    with pytest.raises(InputError, match=message):
        read_cases(tmp_path)


def run(*arguments: object) -> str:
    ran = CliRunner().invoke(command, ["cohorts", "table", *map(str, arguments)])
    assert ran.exit_code == 0, ran.output + str(ran.exception)
    return ran.output


def test_the_command_makes_a_case_table_of_what_people_have(tmp_path: Path) -> None:
    images(tmp_path, *(f"{number}.png" for number in range(6)))
    rows = [f"{n}.png;P{n};{('normal', 'viral', 'bacterial')[n % 3]};{50 + n},5" for n in range(6)]
    (tmp_path / "theirs.csv").write_text("\n".join(["Filename;Subject;Finding;age", *rows]))
    names = ("--image", "Filename", "--patient", "Subject", "--label", "Finding")
    out = tmp_path / "cases.csv"
    assert "6 images, 2 positive" in run(tmp_path / "theirs.csv", *names, "--positive", "viral", "--out", out)
    cases = read_cases(tmp_path)
    assert cases["label"].tolist() == [0, 1, 0, 0, 1, 0]
    assert cases["age"][1] == 51.5
    options = ("--positive", "viral", "--negative", "normal", "--out", out)
    assert "4 images, 2 positive" in run(tmp_path / "theirs.csv", *names, *options)
    arguments = ("cohorts", "table", tmp_path / "theirs.csv", *names, "--positive", "virral", "--out", out)
    with pytest.raises(InputError, match=r"positive: no row of .* has label 'virral': did you mean 'viral'"):
        CliRunner().invoke(command, [*map(str, arguments)], catch_exceptions=False)
