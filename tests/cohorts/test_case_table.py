"""The case table: read as it is, or refused with file, row, column, what was found and what was expected."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import pandas as pd
import pytest

from srcmatters.cohorts import check_cases, read_cases, write_cases
from srcmatters.errors import InputError

HEADER = ["image", "patient_id", "label", "sex", "age", "split", "case_id"]
FIRST = dict(zip(HEADER, ["images/a.png", "1", "0", "F", "40", "train", "a"], strict=True))
SECOND = dict(zip(HEADER, ["images/b.png", "2", "1", "M", "60", "test", "b"], strict=True))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "images").mkdir()
    for name in "ab":
        (tmp_path / "images" / f"{name}.png").touch()
    return tmp_path


def write(folder: Path, *rows: dict[str, str], without: str = "") -> None:
    lines = [{name: value for name, value in row.items() if name != without} for row in rows]
    text = [",".join(lines[0]), *(",".join(row.values()) for row in lines)]
    (folder / "cases.csv").write_text("\n".join(text) + "\n")


def refusal(folder: Path, cases: str = "cases.csv") -> str:
    with pytest.raises(InputError) as caught:
        read_cases(folder, cases)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# What is read


def test_a_case_table_is_read_with_the_types_of_its_columns(folder: Path) -> None:
    write(folder, FIRST, SECOND)
    cases = read_cases(folder)
    assert cases["label"].tolist() == [0, 1]
    assert cases["label"].dtype == int
    assert cases["age"].tolist() == [40.0, 60.0]
    assert cases[["case_id", "patient_id", "sex", "split"]].to_numpy().tolist() == [
        ["a", "1", "F", "train"],
        ["b", "2", "M", "test"],
    ]
    assert cases["image"].tolist() == [str(folder / "images" / f"{name}.png") for name in "ab"]


def test_relative_image_paths_start_at_the_folder_wherever_one_stands(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(folder, FIRST, SECOND)
    monkeypatch.chdir(folder.parent)
    cases = read_cases(folder.name)
    monkeypatch.chdir("/")
    assert all(Path(image).is_file() for image in cases["image"])


def test_an_absolute_image_path_stays_as_it_is(folder: Path) -> None:
    elsewhere = folder / "elsewhere.png"
    elsewhere.touch()
    write(folder, FIRST, {**SECOND, "image": str(elsewhere)})
    assert read_cases(folder)["image"][1] == str(elsewhere)


def test_identifiers_of_digits_keep_their_leading_zeros(folder: Path) -> None:
    write(folder, {**FIRST, "patient_id": "007", "case_id": "00"}, {**SECOND, "case_id": "0"})
    cases = read_cases(folder)
    assert cases["patient_id"][0] == "007"
    assert cases["case_id"].tolist() == ["00", "0"]


def test_a_case_without_a_case_id_is_called_after_its_image(folder: Path) -> None:
    write(folder, FIRST, SECOND, without="case_id")
    assert read_cases(folder)["case_id"].tolist() == ["a", "b"]


def test_where_image_names_repeat_the_whole_path_tells_cases_apart(folder: Path) -> None:
    (folder / "a.png").touch()
    write(folder, FIRST, {**SECOND, "image": "a.png"}, without="case_id")
    assert read_cases(folder)["case_id"].tolist() == ["images/a.png", "a.png"]


@pytest.mark.parametrize("column", ["sex", "age"])
def test_what_is_not_known_of_a_patient_may_be_left_empty(folder: Path, column: str) -> None:
    write(folder, {**FIRST, column: ""}, SECOND)
    assert read_cases(folder)[column].isna().tolist() == [True, False]
    write(folder, {**FIRST, column: ""}, {**SECOND, column: ""})
    assert read_cases(folder)[column].isna().all()


def test_a_column_of_ones_own_is_kept(folder: Path) -> None:
    write(folder, {**FIRST, "scanner": "north"}, {**SECOND, "scanner": "south"})
    assert read_cases(folder)["scanner"].tolist() == ["north", "south"]


def test_a_table_survives_being_written_and_read(folder: Path) -> None:
    write(folder, FIRST, SECOND)
    cases = read_cases(folder)
    for name in ("again.csv", "deep/er/again.csv.gz"):
        path = write_cases(cases, folder / name)
        pd.testing.assert_frame_equal(read_cases(folder, name), cases)
        assert [entry.name for entry in path.parent.iterdir() if "partial" in entry.name] == []


def test_a_table_that_is_refused_is_not_written(folder: Path) -> None:
    cases = pd.DataFrame({"image": ["a.png"], "patient_id": ["1"], "label": [2]})
    with pytest.raises(InputError, match=r"new\.csv, row 2, column 'label'"):
        write_cases(cases, folder / "new.csv")
    assert not (folder / "new.csv").exists()


# What is refused


@pytest.mark.parametrize(
    ("column", "value", "complaint"),
    [
        ("label", "2", "got 2.0, expected 0 or 1"),
        ("label", "1.5", "got 1.5, expected 0 or 1"),
        ("label", "-1", "got -1.0, expected 0 or 1"),
        ("label", "positive", "got positive, expected a number"),
        ("label", "", "empty, expected a value"),
        ("age", "333", "got 333.0, expected a number between 0 and 120"),
        ("age", "-1", "got -1.0, expected a number between 0 and 120"),
        ("age", "forty", "got forty, expected a number"),
        ("sex", "Q", "got Q, expected F or M"),
        ("split", "val", "got val, expected train or validation or test"),
        ("split", "", "got nan, expected a value"),
        ("image", "images/z.png", "{folder}/images/z.png does not exist"),
        ("image", "", "empty, expected a value"),
        ("patient_id", "", "empty, expected a value"),
        ("case_id", "", "empty, expected a value"),
    ],
)
def test_a_wrong_value_is_refused_with_its_place(
    folder: Path, column: str, value: str, complaint: str
) -> None:
    write(folder, FIRST, {**SECOND, column: value})
    where = f"{folder / 'cases.csv'}, row 3, column {column!r}: "
    assert refusal(folder) == where + complaint.format(folder=folder)


def test_both_ends_of_the_ages_are_ages(folder: Path) -> None:
    write(folder, {**FIRST, "age": "0"}, {**SECOND, "age": "120"})
    assert read_cases(folder)["age"].tolist() == [0, 120]


def test_two_cases_of_one_name_are_refused(folder: Path) -> None:
    write(folder, FIRST, {**SECOND, "case_id": "a"})
    expected = "row 2, column 'case_id': got a, expected a value that no other row has"
    assert refusal(folder) == f"{folder / 'cases.csv'}, {expected}"


@pytest.mark.parametrize("column", ["image", "patient_id", "label"])
def test_a_missing_column_is_refused_by_name(folder: Path, column: str) -> None:
    write(folder, FIRST, SECOND, without=column)
    assert refusal(folder).startswith(f"{folder / 'cases.csv'}: no column {column!r}")


@pytest.mark.parametrize("column", ["fold", "carries", "environment", "score_clean", "score_confounded"])
def test_a_column_with_the_name_of_a_result_is_refused(folder: Path, column: str) -> None:
    write(folder, {**FIRST, column: "1"}, {**SECOND, column: "0"})
    assert refusal(folder).startswith(f"{folder / 'cases.csv'}: column {column!r} is the name of a result")


def test_a_misspelt_column_is_pointed_at(folder: Path) -> None:
    (folder / "cases.csv").write_text("image,patient_id,lable\nimages/a.png,1,0\n")
    assert refusal(folder).endswith("no column 'label': did you mean 'lable'?")


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "not a readable CSV file"),
        (b"image,patient_id,label\n", "no rows, expected one per image"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "not a readable CSV file"),
        (bytes(range(256)) * 8, "not a readable CSV file"),
        (b"image,patient_id,label\na.png,1,0\nb.png,1,0,3,4\n", "not a readable CSV file"),
        (
            b"image,patient_id,label,age\na.png,1,0,63,5\n",
            "row 2: 5 cells under 4 names of columns, expected as many; numbers are written with a point",
        ),
        (
            b'image;patient_id;label;age\na.png;1;0;"63,5"\n',
            "its columns are separated by semicolons, expected commas",
        ),
        (
            b'image,patient_id,label,age\na.png,1,0,"63,5"\n',
            "column 'age': got 63,5, expected a number with a point instead of a comma",
        ),
        (
            b"file,patient,diagnosis\na.png,1,0\n",
            "no column 'image', its columns are file, patient, diagnosis; `srcmatters cohorts table FILE",
        ),
        (b"image;patient_id;label\na.png;1;0\n", "its columns are separated by semicolons, expected commas"),
        (b"image,patient_id,label,label\na.png,1,0,1\n", "two columns are called 'label', expected one"),
        (b"image,patient_id,label\na.png,1,0\na.png,2,1\n", "row 3, column 'image': a.png is that of row 2,"),
        (b"image,patient_id,label\n%b,1,0\n" % (b"a" * 300), "does not exist"),
        (b"image,patient_id,label\n.,1,0\n", "column 'case_id': got , expected a value"),
        (b"image\tpatient_id\tlabel\na.png\t1\t0\n", "its columns are separated by tabs, expected commas"),
    ],
    ids=[
        "empty",
        "header-only",
        "png",
        "every-byte",
        "ragged",
        "decimal-comma",
        "decimal-comma-and-semicolons",
        "quoted-decimal-comma",
        "other-names",
        "semicolons",
        "two-labels",
        "image-in-two-rows",
        "long-name",
        "folder-itself",
        "tabs",
    ],
)
def test_a_file_that_is_no_case_table_is_refused_by_name(
    folder: Path, content: bytes, complaint: str
) -> None:
    (folder / "cases.csv").write_bytes(content)
    assert refusal(folder).startswith(str(folder / "cases.csv")) and complaint in refusal(folder)


@pytest.mark.parametrize("damage", ["truncated", "flipped", "not-compressed"])
def test_a_damaged_compressed_table_is_refused_by_name(folder: Path, damage: str) -> None:
    rows = "".join(f"images/{name}.png,{name},{n % 2}\n" for n, name in enumerate("abcdefghij" * 20))
    plain = f"image,patient_id,label\n{rows}".encode()
    packed, path = bytearray(gzip.compress(plain)), folder / "cases.csv.gz"
    if damage == "flipped":
        packed[20:26] = b"\xff" * 6
    path.write_bytes(plain if damage == "not-compressed" else packed)
    if damage == "truncated":
        os.truncate(path, len(packed) // 2)
    assert refusal(folder, "cases.csv.gz").startswith(f"{path}: not a readable CSV file")


def test_a_missing_folder_or_table_is_refused_by_name(folder: Path) -> None:
    assert refusal(folder / "nowhere") == f"dataset_dir: {folder / 'nowhere'} is not a folder"
    assert refusal(folder).startswith(f"cases: {folder / 'cases.csv'} does not exist")
    assert refusal(folder, "images").startswith(f"cases: {folder / 'images'} does not exist")


def test_rows_of_a_table_in_memory_are_called_as_in_its_file() -> None:
    """A reader that leaves rows out keeps the index; the message counts as an editor does."""
    table = pd.DataFrame({"image": list("abcd"), "patient_id": list("abcd"), "label": [0, 1, 0, 7]})
    with pytest.raises(InputError, match=r"source\.csv, row 5, column 'label'"):
        check_cases(table[2:], "source.csv")
    assert check_cases(table[1:3], "source.csv").index.tolist() == [0, 1]


def test_checking_leaves_the_table_that_was_given_alone() -> None:
    table = pd.DataFrame({"image": ["a.png"], "patient_id": [1], "label": [1.0]}, index=[4])
    copy = table.copy()
    check_cases(table, "source.csv")
    pd.testing.assert_frame_equal(table, copy)


def test_a_place_has_three_coordinates_in_every_row_or_none() -> None:
    table = pd.DataFrame({"image": ["a", "b"], "patient_id": [1, 2], "label": [1, 0]})
    placed = table.assign(x_mm=[1, -2.5], y_mm=["3", "4"], z_mm=[5, 6])
    assert check_cases(placed, "source.csv")["y_mm"].tolist() == [3.0, 4.0]
    with pytest.raises(InputError, match=r"source\.csv: no column 'y_mm', expected all of x_mm, y_mm, z_mm"):
        check_cases(placed.drop(columns="y_mm"), "source.csv")
    with pytest.raises(InputError, match=r"source\.csv, row 3, column 'z_mm': got nan, expected a value"):
        check_cases(placed.assign(z_mm=[5, None]), "source.csv")
    with pytest.raises(InputError, match=r"column 'x_mm': got left, expected a number"):
        check_cases(placed.assign(x_mm=[5, "left"]), "source.csv")


# Real tables


@pytest.mark.parametrize(
    ("name", "cases", "positives"), [("nih-cxr14", 440, 220), ("lidc-nodules", 300, 150)]
)
def test_a_real_table_is_read_whole(shared_data: Path, name: str, cases: int, positives: int) -> None:
    table = read_cases(shared_data / name)
    assert len(table) == cases
    assert table["label"].sum() == positives
    assert table["case_id"].is_unique


@pytest.mark.parametrize("column", ["fold", "carries", "environment", "score_clean"])
def test_a_column_that_would_overwrite_a_result_is_refused(column: str) -> None:
    cases = pd.DataFrame({"image": ["a.png", "b.png"], "patient_id": ["1", "2"], "label": [0, 1], column: 0})
    with pytest.raises(InputError, match=f"column '{column}' is the name of a result"):
        check_cases(cases, "cases.csv")
