"""A folder of DICOM files: the headers say who, the labels say what, and the files stay as they are."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import pydicom
import pytest

from srcmatters.cohorts import read_cases, read_dicom_folder, write_cases
from srcmatters.cohorts.phantom_cohort import write_phantom_cohort
from srcmatters.errors import InputError

pytestmark = [
    pytest.mark.filterwarnings("ignore:Invalid value for VR UI"),  # one of the real files
    pytest.mark.filterwarnings("ignore:.*images left out"),
]


@pytest.fixture(scope="module")
def radiographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three phantom patients with two radiographs each; read only."""
    folder = tmp_path_factory.mktemp("dicom") / "cohort"
    write_phantom_cohort(folder, 3, file_format="dicom", image_size=32, images_per_patient=2)
    return folder


def labels(folder: Path, text: str) -> Path:
    path = folder / "labels.csv"
    path.write_text(text)
    return path


def refusal(folder: Path, path: Path) -> str:
    with pytest.raises(InputError) as caught:
        read_dicom_folder(folder, path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def edited(source: Path, target: Path, **elements: str) -> Path:
    """A copy of a DICOM file with other elements."""
    dataset = pydicom.dcmread(source)
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    target.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(target)
    return target


def test_headers_and_labels_make_the_table_the_cohort_was_written_from(
    radiographs: Path, tmp_path: Path
) -> None:
    written = pd.read_csv(radiographs / "cases.csv", dtype={"patient_id": str})
    written[["image", "label"]].to_csv(tmp_path / "labels.csv", index=False)
    cases = read_dicom_folder(radiographs, tmp_path / "labels.csv")
    known = ["image", "patient_id", "label", "sex", "age", "view", "manufacturer"]
    pd.testing.assert_frame_equal(cases[known], written[known], check_dtype=False)
    assert set(cases["modality"]) == {"DX"}
    assert set(cases["body_part"]) == {"CHEST"}
    assert cases["case_id"].is_unique


@pytest.mark.parametrize("key", ["patient_id", "image", "case_id"])
def test_labels_match_by_any_key_and_what_has_none_is_left_out(
    radiographs: Path, tmp_path: Path, key: str
) -> None:
    files = sorted((radiographs / "images").iterdir())
    headers = [pydicom.dcmread(path, stop_before_pixels=True) for path in files]
    values = {
        "patient_id": [str(header.PatientID) for header in headers],
        "image": [f"images/{path.name}" for path in files],
        "case_id": [str(header.SOPInstanceUID) for header in headers],
    }[key]
    path = labels(tmp_path, f"{key},label\n{values[0]},1\n{values[-1]},0\nnobody,1\n")
    cases = read_dicom_folder(radiographs, path)
    expected = [1, 1, 0, 0] if key == "patient_id" else [1, 0]
    assert cases["label"].tolist() == expected
    assert set(cases[key]) == {values[0], values[-1]}


def test_a_table_from_headers_can_be_written_and_read_as_a_cohort(radiographs: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(radiographs, folder)
    written = pd.read_csv(folder / "cases.csv")
    written[["image", "label"]].to_csv(tmp_path / "labels.csv", index=False)
    cases = read_dicom_folder(folder, tmp_path / "labels.csv")
    write_cases(cases, folder / "new.csv")
    again = read_cases(folder, "new.csv")
    assert again["label"].tolist() == cases["label"].tolist()
    assert again["sex"].tolist() == cases["sex"].tolist()


@pytest.mark.parametrize(
    ("age", "years"),
    [
        ("045Y", 45.0),
        ("018M", 1.5),
        ("010W", 0.19),
        ("365D", 1.0),
        ("120Y", 120.0),
        ("999Y", None),
        ("", None),
    ],
)
def test_an_age_string_is_years_and_an_impossible_one_unknown(
    radiographs: Path, tmp_path: Path, age: str, years: float | None
) -> None:
    source = next((radiographs / "images").iterdir())
    edited(source, tmp_path / "files" / "a.dcm", PatientAge=age)
    cases = read_dicom_folder(tmp_path / "files", labels(tmp_path, "image,label\na.dcm,1\n"))
    assert cases["age"][0] == years if years is not None else cases["age"].isna()[0]


def test_a_folder_without_any_sex_or_age_is_read(radiographs: Path, tmp_path: Path) -> None:
    """As after de-identification."""
    for number, source in enumerate(sorted((radiographs / "images").iterdir())[:2]):
        edited(source, tmp_path / "files" / f"{number}.dcm", PatientSex="", PatientAge="", ViewPosition="")
    cases = read_dicom_folder(tmp_path / "files", labels(tmp_path, "image,label\n0.dcm,1\n1.dcm,0\n"))
    assert cases[["sex", "age", "view"]].isna().all(axis=None)


def test_files_without_a_patient_need_one_from_the_labels(radiographs: Path, tmp_path: Path) -> None:
    """Taken for patients of their own, images of one patient would come apart into training and test."""
    for number, source in enumerate(sorted((radiographs / "images").iterdir())[:2]):
        edited(source, tmp_path / "files" / f"{number}.dcm", PatientID="")
    message = refusal(tmp_path / "files", labels(tmp_path, "image,label\n0.dcm,1\n1.dcm,0\n"))
    assert message.startswith(f"{tmp_path / 'files' / '0.dcm'}: no PatientID, as in 2 files")
    text = "image,label,patient_id\n0.dcm,1,007\n1.dcm,0,007\n"
    cases = read_dicom_folder(tmp_path / "files", labels(tmp_path, text))
    assert cases["patient_id"].tolist() == ["007", "007"]


def test_a_patient_in_the_labels_replaces_that_of_the_header(radiographs: Path, tmp_path: Path) -> None:
    images = [f"images/{path.name}" for path in sorted((radiographs / "images").iterdir())]
    path = labels(tmp_path, f"image,label,patient_id\n{images[0]},1,x\n{images[1]},1,y\n")
    assert read_dicom_folder(radiographs, path)["patient_id"].tolist() == ["x", "y"]


def test_other_files_are_passed_over_at_any_depth(radiographs: Path, tmp_path: Path) -> None:
    deep = tmp_path / "files" / "a" / "b"
    deep.mkdir(parents=True)
    shutil.copy(next((radiographs / "images").iterdir()), deep / "IM0001")
    (deep / "notes.txt").write_text("DICM is what this is not")
    (deep / "empty.dcm").touch()
    (deep / "page.dcm").write_text("<html>" + "x" * 200)
    cases = read_dicom_folder(tmp_path / "files", labels(tmp_path, "image,label\na/b/IM0001,1\n"))
    assert cases["image"].tolist() == ["a/b/IM0001"]


# What is refused


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("image,label\n{1},1\nnone.dcm,9\n{0},2\n", ", row 4, column 'label': got 2.0, expected 0 or 1"),
        ("image,label\n{1},1\n{0},mass\n", ", row 3, column 'label': got mass, expected a number"),
        ("image,label\n{1},\n{0},1\n", ", row 2, column 'label': empty, expected a value"),
        ("image,label\n{0},1\n{1},1\n{0},0\n", ", row 4, column 'image': '{0}' is there twice"),
        ("image,label\nnone.dcm,1\n", ": no image of {folder} has a label"),
        ("image,finding\n{0},1\n", ": expected the columns label and one of case_id, image, patient_id"),
        ("file,label\n{0},1\n", ": expected the columns label and one of case_id, image, patient_id"),
        ("", ": not a readable CSV file"),
    ],
)
def test_wrong_labels_are_refused_with_their_row_in_the_file(
    radiographs: Path, tmp_path: Path, text: str, complaint: str
) -> None:
    images = [f"images/{path.name}" for path in sorted((radiographs / "images").iterdir())]
    path = labels(tmp_path, text.format(*images))
    assert refusal(radiographs, path).startswith(f"{path}" + complaint.format(*images, folder=radiographs))


def test_labels_that_are_no_text_or_not_there_are_refused_by_name(radiographs: Path, tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    assert refusal(radiographs, path).startswith(f"{path}: not a readable CSV file")
    path.write_bytes(b"\x89PNG\r\n\x1a\n\0\xff")
    assert refusal(radiographs, path).startswith(f"{path}: not a readable CSV file")


def test_a_folder_without_dicom_is_refused_by_name(tmp_path: Path) -> None:
    path = labels(tmp_path, "image,label\na.dcm,1\n")
    assert refusal(tmp_path, path) == f"{tmp_path}: no DICOM file in this folder"
    assert refusal(tmp_path / "nowhere", path) == f"{tmp_path / 'nowhere'} is not a folder"


def test_the_same_image_twice_is_refused_by_the_name_of_the_copy(radiographs: Path, tmp_path: Path) -> None:
    source = next((radiographs / "images").iterdir())
    first, copy = (edited(source, tmp_path / "files" / name, PatientID="1") for name in ("a.dcm", "b.dcm"))
    message = refusal(tmp_path / "files", labels(tmp_path, "patient_id,label\n1,1\n"))
    assert message.startswith(f"{copy}: its SOPInstanceUID is another file's too")
    assert str(first) not in message


# Real files


def test_real_files_of_many_kinds_are_read_as_their_headers_say(shared_data: Path, tmp_path: Path) -> None:
    text = (
        "image,label\nchest-cr-monochrome1-jpeg2000.dcm,1\nct-slice-512.dcm,0\nct-enhanced-two-frames.dcm,0\n"
    )
    table = labels(tmp_path, text)
    films = read_dicom_folder(shared_data / "dicom", table).set_index("image")
    cases = read_dicom_folder(shared_data / "dicom", table, "CT").set_index("image")
    assert (len(films), len(cases)) == (1, 2)
    radiograph = films.loc["chest-cr-monochrome1-jpeg2000.dcm"]
    assert radiograph[["patient_id", "sex", "view", "modality"]].tolist() == ["9RG1", "F", "PA", "CR"]
    assert radiograph["manufacturer"] == "Philips Medical Systems"
    assert cases.loc["ct-slice-512.dcm", ["sex", "age", "manufacturer"]].isna().all()
    assert cases.loc["ct-enhanced-two-frames.dcm", "patient_id"] == "0010"
    assert cases.loc["ct-enhanced-two-frames.dcm", "age"] == 52


def test_a_label_for_a_patient_is_one_for_each_of_their_files(shared_data: Path, tmp_path: Path) -> None:
    series = len(list((shared_data / "dicom" / "ct-series").iterdir()))
    table = labels(tmp_path, "patient_id,label\n123456,1\n")
    cases = read_dicom_folder(shared_data / "dicom", table, "CT")
    assert cases["image"].str.startswith("ct-series/").sum() == series > 1
    assert "chest-dx-monochrome1.dcm" in set(read_dicom_folder(shared_data / "dicom", table)["image"])


def test_a_slice_of_ct_is_no_radiograph_and_what_is_left_out_is_counted(
    radiographs: Path, tmp_path: Path
) -> None:
    films = sorted(radiographs.rglob("*.dcm"))
    for number, film in enumerate(films[:3]):
        edited(film, tmp_path / "all" / f"{number}.dcm")
    edited(films[3], tmp_path / "all" / "slice.dcm", Modality="CT")
    table = labels(tmp_path, "image,label\n0.dcm,0\n1.dcm,1\nslice.dcm,1\n")
    with pytest.warns(UserWarning, match="images left out: 1 of modality CT, 1 without a label"):
        cases = read_dicom_folder(tmp_path / "all", table)
    assert cases["image"].tolist() == ["0.dcm", "1.dcm"]
    edited(films[3], tmp_path / "ct" / "slice.dcm", Modality="CT")
    with pytest.raises(InputError, match=r"no radiograph \(CR, DX, RG\) among 1 DICOM images, which are of"):
        read_dicom_folder(tmp_path / "ct", table)
