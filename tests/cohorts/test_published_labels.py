"""Label files of public collections become case tables by their own columns, uncertain labels by choice."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner

from srcmatters.cli import command
from srcmatters.cohorts.class_folders import read_class_folders
from srcmatters.cohorts.published.chexpert import read_chexpert, read_mimic
from srcmatters.cohorts.published.labels import LabelChoice
from srcmatters.cohorts.published.padchest import read_padchest
from srcmatters.cohorts.published.rsna import read_rsna
from srcmatters.cohorts.published.vindr import read_vindr
from srcmatters.errors import InputError


def write(path: Path, rows: list[dict]) -> Path:
    pd.DataFrame(rows).to_csv(path, index=False)
    return path


def chexpert(folder: Path) -> Path:
    def row(patient: int, view: str, healthy: object, pneumonia: object) -> dict:
        path = f"CheXpert-v1.0-small/train/patient{patient:05d}/study1/view1_frontal.jpg"
        lateral = "Lateral" if view == "Lateral" else "Frontal"
        projection = None if view == "Lateral" else view
        return {
            "Path": path, "Sex": "Female", "Age": 40 + patient, "Frontal/Lateral": lateral,
            "AP/PA": projection, "No Finding": healthy, "Pneumonia": pneumonia,
        }  # fmt: skip

    rows = [
        row(1, "AP", None, 1.0),
        row(2, "PA", 1.0, None),
        row(3, "PA", None, -1.0),
        row(4, "Lateral", 1.0, None),
        row(5, "AP", None, 0.0),
    ]
    return write(folder / "train.csv", rows)


@pytest.mark.parametrize(
    ("options", "patients", "labels"),
    [
        ({}, [1, 2, 4], [1, 0, 0]),
        ({"uncertain": "positive"}, [1, 2, 3, 4], [1, 0, 1, 0]),
        ({"uncertain": "negative"}, [1, 2, 3, 4], [1, 0, 0, 0]),
        ({"negatives": "others"}, [1, 2, 4, 5], [1, 0, 0, 0]),
        ({"view": "AP", "negatives": "others"}, [1, 5], [1, 0]),
    ],
)
def test_chexpert(tmp_path: Path, options: dict, patients: list[int], labels: list[int]) -> None:
    cases = read_chexpert(chexpert(tmp_path), LabelChoice("Pneumonia", **options)).cases
    assert cases["patient_id"].tolist() == [f"patient{number:05d}" for number in patients]
    assert cases["label"].tolist() == labels
    assert cases["image"][0] == "train/patient00001/study1/view1_frontal.jpg"
    assert (cases["age"][0], cases["sex"][0], cases["view"][0]) == (41, "F", "AP")


def test_what_is_left_out_is_counted(tmp_path: Path) -> None:
    cohort = read_chexpert(chexpert(tmp_path), LabelChoice("Pneumonia", view="Lateral", negatives="others"))
    assert cohort.left_out == {"uncertain of Pneumonia": 1, "in another view than Lateral": 3}
    assert read_chexpert(chexpert(tmp_path), LabelChoice("Pneumonia")).left_out == {
        "uncertain of Pneumonia": 1, "with other findings only": 1
    }  # fmt: skip


def test_the_command_writes_the_table_and_says_what_is_left_out(tmp_path: Path) -> None:
    ran = CliRunner().invoke(
        command, ["cohorts", "chexpert", str(chexpert(tmp_path)), "--finding", "Pneumonia"]
    )
    assert ran.exit_code == 0, ran.output
    assert "left out: 1 images uncertain of Pneumonia" in ran.output
    assert "cases.csv: 3 images of 3 patients, 1 positive" in ran.output
    assert len(pd.read_csv(tmp_path / "cases.csv")) == 3


def test_mimic_gives_every_image_of_a_study_its_labels(tmp_path: Path) -> None:
    labels = write(
        tmp_path / "chexpert.csv",
        [
            {"subject_id": "10000032", "study_id": "50414267", "No Finding": 1.0, "Edema": None},
            {"subject_id": "10000764", "study_id": "57375967", "No Finding": None, "Edema": 1.0},
        ],
    )
    images = [("a", "10000032", "50414267"), ("b", "10000764", "57375967"), ("c", "10000764", "57375967")]
    names = ("dicom_id", "subject_id", "study_id")
    rows = [
        {**dict(zip(names, ids, strict=True)), "ViewPosition": "PA"} for ids in (*images, ("d", "19", "5"))
    ]
    metadata = write(tmp_path / "metadata.csv", rows)
    cohort = read_mimic(labels, metadata, LabelChoice("Edema"))
    assert cohort.cases["label"].tolist() == [0, 1, 1]
    assert cohort.cases["image"][1] == "files/p10/p10000764/s57375967/b.jpg"
    assert cohort.left_out == {"of studies without labels": 1}


def test_padchest_reads_its_lists_and_ages(tmp_path: Path) -> None:
    def row(number: int, labels: object) -> dict:
        return {
            "ImageID": f"{number}.png", "ImageDir": 7, "PatientID": f"p{number}", "PatientSex_DICOM": "M",
            "PatientBirth": 1950, "StudyDate_DICOM": 20140915, "Projection": "PA", "Labels": labels,
        }  # fmt: skip

    labels = [
        "['pneumonia', ' costophrenic angle blunting']",
        "['normal']",
        "['pneumonia', 'suspect']",
        "['exclude']",
        None,
        "['cardiomegaly']",
    ]
    path = write(tmp_path / "padchest.csv", [row(number, text) for number, text in enumerate(labels)])
    cohort = read_padchest(path, LabelChoice("pneumonia"), "images")
    assert cohort.cases["label"].tolist() == [1, 0]
    assert cohort.cases["image"].tolist() == ["images/7/0.png", "images/7/1.png"]
    assert cohort.cases["age"].tolist() == [64, 64]
    assert cohort.left_out == {
        "uncertain of pneumonia": 1, "with other findings only": 1, "without a usable report": 2
    }  # fmt: skip
    with pytest.raises(InputError, match=r"finding: .* has no 'pneumona': did you mean 'pneumonia'\?"):
        read_padchest(path, LabelChoice("pneumona"))


def test_vindr_takes_differing_readers_for_uncertain(tmp_path: Path) -> None:
    marks = {"sick": (1, 1, 1), "torn": (1, 0, 1), "well": (0, 0, 0)}
    rows = [
        {"image_id": image, "rad_id": f"R{reader}", "Pneumonia": mark, "No finding": int(image == "well")}
        for image, image_marks in marks.items()
        for reader, mark in enumerate(image_marks)
    ]
    path = write(tmp_path / "image_labels_train.csv", rows)
    assert read_vindr(path, LabelChoice("Pneumonia")).cases["label"].tolist() == [1, 0]
    cases = read_vindr(path, LabelChoice("Pneumonia", uncertain="positive")).cases
    assert dict(zip(cases["image"], cases["label"], strict=True)) == {
        "train/sick.dicom": 1, "train/torn.dicom": 1, "train/well.dicom": 0
    }  # fmt: skip


def test_rsna_has_a_row_per_box_and_a_case_per_image(tmp_path: Path) -> None:
    kinds = ["Lung Opacity", "Lung Opacity", "Normal", "No Lung Opacity / Not Normal"]
    rows = [{"patientId": name, "class": kind} for name, kind in zip("aabc", kinds, strict=True)]
    path = write(tmp_path / "classes.csv", rows)
    assert read_rsna(path, LabelChoice("Lung Opacity")).cases["label"].tolist() == [1, 0]
    others = read_rsna(path, LabelChoice("Lung Opacity", negatives="others")).cases
    assert others["image"].tolist() == [f"stage_2_train_images/{name}.dcm" for name in "abc"]
    with pytest.raises(InputError, match="knows 'Lung Opacity' only, got 'Pneumonia'"):
        read_rsna(path, LabelChoice("Pneumonia"))


@pytest.mark.parametrize("read", [read_chexpert, read_padchest, read_vindr, read_rsna])
def test_a_file_of_another_collection_is_refused_by_the_column_that_it_lacks(tmp_path: Path, read) -> None:
    path = write(tmp_path / "other.csv", [{"file": "a.png", "label": 1}])
    with pytest.raises(InputError, match=r"other.csv: no column '.*', expected a label file of "):
        read(path, LabelChoice("Pneumonia"))


def class_folders(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")
    return root


def test_class_folders_with_and_without_sets(tmp_path: Path) -> None:
    plain = class_folders(tmp_path / "plain", "NORMAL/a.png", "PNEUMONIA/person1_2.png")
    cases = read_class_folders(plain, "PNEUMONIA")
    assert cases["label"].tolist() == [0, 1]
    assert "split" not in cases
    sets = class_folders(
        tmp_path / "sets", "train/N/p1_a.png", "val/S/p2_a.png", "test/S/p3_a.png", "test/S/p3_b.png"
    )
    cases = read_class_folders(sets, "S", r"(p\d+)_")
    assert cases.set_index("image")["split"].to_dict() == {
        "train/N/p1_a.png": "train", "val/S/p2_a.png": "validation", "test/S/p3_a.png": "test",
        "test/S/p3_b.png": "test",
    }  # fmt: skip
    assert cases["patient_id"].nunique() == 3


@pytest.mark.parametrize(
    ("names", "positive", "message"),
    [
        (["A/x.png", "B/x.png", "C/x.png"], "A", r"3 classes \(A, B, C\), expected two: targets are binary"),
        (["A/x.png", "B/x.png"], "a", r"has no class 'a'"),
        (["A/x.png", "x.png"], "A", "an image beside the class folders"),
    ],
)
def test_what_is_no_pair_of_classes_is_refused(tmp_path: Path, names, positive, message) -> None:
    with pytest.raises(InputError, match=message):
        read_class_folders(class_folders(tmp_path, *names), positive)


def test_a_class_folder_that_is_called_like_its_images_keeps_them_apart(tmp_path: Path) -> None:
    cases = read_class_folders(class_folders(tmp_path, "A/x.png", "B/x.png"), "A")
    assert cases["case_id"].tolist() == ["A/x.png", "B/x.png"]
