"""ChestX-ray14: the label is what the findings say, whole words only, and nothing else decides."""

from __future__ import annotations

import csv
import gzip
from collections import Counter
from pathlib import Path

import pytest

from srcmatters.cohorts import read_nih
from srcmatters.errors import InputError

HEADER = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]"
)
ROWS = {
    "00000001_000.png": ("Mass", "1", "57", "M", "PA"),
    "00000001_001.png": ("Mass|Nodule", "1", "58", "M", "AP"),
    "00000002_000.png": ("Nodule|Mass", "2", "414", "F", "PA"),
    "00000003_000.png": ("No Finding", "3", "81", "M", "PA"),
    "00000004_000.png": ("Nodule", "4", "74", "F", "AP"),
    "00000005_000.png": ("Effusion|Nodule", "5", "75", "F", "PA"),
    "00000006_000.png": ("Pneumothorax", "6", "80", "F", "PA"),
    "00000007_000.png": ("No Finding", "7", "120", "F", "AP"),
}
MASSES = {"00000001_000", "00000001_001", "00000002_000"}
HEALTHY = {"00000003_000", "00000007_000"}


@pytest.fixture
def data_entry(tmp_path: Path) -> Path:
    return write(tmp_path, ROWS)


def write(folder: Path, rows: dict[str, tuple[str, ...]]) -> Path:
    path = folder / "Data_Entry_2017.csv"
    lines = [f"{name},{row[0]},0,{','.join(row[1:])},2682,2749,0.143,0.143" for name, row in rows.items()]
    path.write_text("\n".join([HEADER, *lines]) + "\n")
    return path


def names(path: Path, label: int, **options: object) -> set[str]:
    cases = read_nih(path, **options)
    return set(cases["case_id"][cases["label"] == label])


def test_an_image_with_the_finding_among_others_is_positive(data_entry: Path) -> None:
    assert names(data_entry, 1, finding="Mass") == MASSES


def test_only_images_with_exactly_the_negative_finding_are_negative(data_entry: Path) -> None:
    assert names(data_entry, 0, finding="Mass") == HEALTHY
    assert names(data_entry, 0, finding="Mass", negatives="Nodule") == {"00000004_000"}
    assert names(data_entry, 0, finding="Mass", negatives=["No Finding", "Nodule"]) == HEALTHY | {
        "00000004_000"
    }


def test_an_image_is_never_a_negative_of_its_own_finding(data_entry: Path) -> None:
    assert names(data_entry, 0, finding="Mass", negatives=["Mass", "No Finding"]) == HEALTHY


def test_a_finding_that_is_part_of_anothers_name_is_not_it(tmp_path: Path) -> None:
    """Had the file a finding that ends or starts like another one, it would be another one all the same."""
    rows = {**ROWS, "8.png": ("Massive Mass-like", "8", "50", "F", "PA"), "9.png": ROWS["00000006_000.png"]}
    path = write(tmp_path, rows)
    assert names(path, 1, finding="Mass") == MASSES
    assert names(path, 1, finding="Pneumonia", negatives="Pneumothorax") == set()


@pytest.mark.parametrize("view", ["PA", "AP"])
def test_a_view_keeps_that_view_alone(data_entry: Path, view: str) -> None:
    cases = read_nih(data_entry, "Mass", view=view)
    assert set(cases["view"]) == {view}
    expected = {name.split(".")[0] for name, row in ROWS.items() if row[4] == view} & (MASSES | HEALTHY)
    assert set(cases["case_id"]) == expected


def test_an_impossible_age_is_an_unknown_one(data_entry: Path) -> None:
    ages = read_nih(data_entry, "Mass").set_index("case_id")["age"]
    assert ages.isna().sum() == 1
    assert ages.isna()["00000002_000"]
    assert ages["00000007_000"] == 120


def test_columns_are_those_of_a_case_table(data_entry: Path) -> None:
    first = read_nih(data_entry, "Mass", images="png").iloc[0].to_dict()
    assert first == {
        "case_id": "00000001_000",
        "image": "png/00000001_000.png",
        "patient_id": "1",
        "label": 1,
        "sex": "M",
        "age": 57.0,
        "view": "PA",
        "findings": "Mass",
    }


# What is refused


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"finding": "mass"}, "finding: 'mass' is unknown: did you mean 'Mass'"),
        ({"finding": "Tumour"}, "finding: 'Tumour' is unknown, expected one of: Atelectasis"),
        (
            {"finding": "Mass", "negatives": "No finding"},
            "'No finding' is unknown: did you mean 'No Finding'",
        ),
        ({"finding": "Mass", "view": "LL"}, "view: got 'LL', expected PA or AP"),
        ({"finding": "Hernia", "negatives": "Edema"}, "no image with Hernia or Edema"),
        ({"finding": "Pneumothorax", "negatives": "Edema", "view": "AP"}, "Edema in AP"),
    ],
)
def test_a_request_that_cannot_be_met_is_refused(
    data_entry: Path, options: dict[str, str], complaint: str
) -> None:
    with pytest.raises(InputError, match=complaint):
        read_nih(data_entry, **options)


@pytest.mark.parametrize(
    ("position", "value", "complaint"),
    [
        (3, "X", "column 'sex': got X, expected F or M"),
        (2, "old", "column 'age': got old, expected a number"),
        (1, "", "column 'patient_id': empty"),
    ],
)
def test_a_wrong_value_is_refused_with_its_row_in_the_file(
    tmp_path: Path, position: int, value: str, complaint: str
) -> None:
    """Rows that are left out (here two of them) count as well."""
    spoilt = list(ROWS["00000007_000.png"])
    spoilt[position] = value
    path = write(tmp_path, {**ROWS, "00000007_000.png": tuple(spoilt)})
    with pytest.raises(InputError) as caught:
        read_nih(path, "Mass")
    assert str(caught.value).startswith(f"{path}, row 9, {complaint}")


@pytest.mark.parametrize("content", [b"", b"image,patient_id,label\na,b,0\n", b"\x89PNG\r\n\x1a\n\0\xff"])
def test_a_file_that_is_not_the_datasets_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "Data_Entry.csv"
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        read_nih(path, "Mass")
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"Data_Entry\.csv does not exist"):
        read_nih(tmp_path / "Data_Entry.csv", "Mass")


# The real file


@pytest.mark.parametrize(
    ("finding", "view"), [("Mass", None), ("Pneumonia", None), ("Pneumothorax", "AP"), ("Hernia", "PA")]
)
def test_the_whole_dataset_is_counted_as_by_hand(shared_data: Path, finding: str, view: str | None) -> None:
    path = shared_data / "nih-cxr14" / "Data_Entry_2017_v2020.csv.gz"
    counts: Counter[str] = Counter()
    with gzip.open(path, "rt", newline="") as stream:
        for row in csv.DictReader(stream):
            counts["rows"] += 1
            if view in (None, row["View Position"]):
                findings = row["Finding Labels"].split("|")
                counts["positive"] += finding in findings
                counts["negative"] += findings == ["No Finding"]
    cases = read_nih(path, finding, view=view)
    assert counts["rows"] == 112_120
    assert cases["label"].sum() == counts["positive"] > 0
    assert (1 - cases["label"]).sum() == counts["negative"] > 0
    assert cases["age"].max() <= 120
