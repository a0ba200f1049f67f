"""Class folders and tables to pre-train on."""

from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from srcmatters.cohorts import open_labelled_images, split_labelled_images
from srcmatters.errors import InputError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("b", "a"):
        (tmp_path / name).mkdir()
        for number in range(12):
            Image.new("L", (8, 8)).save(tmp_path / name / f"person{number // 3}_{number}.png")
    return tmp_path


def write(folder: Path, **columns: list) -> None:
    pd.DataFrame(columns).to_csv(folder / "cases.csv", index=False)


def test_a_folder_is_a_class(folder: Path) -> None:
    images = open_labelled_images(folder)
    assert images.classes == ("a", "b")
    assert images.cases["label"].value_counts().to_dict() == {0: 12, 1: 12}
    in_a = images.cases["image"].map(lambda path: Path(path).parent.name == "a")
    assert (images.cases["label"] == (~in_a).astype(int)).all()


def test_a_patient_is_on_one_side_only(folder: Path) -> None:
    images = open_labelled_images(folder, patient_pattern=r"person(\d+)")
    assert images.cases["patient_id"].nunique() == 4
    train, validation = split_labelled_images(images, validation_folds=4)
    patients = images.cases["patient_id"]
    assert not set(patients.iloc[train]) & set(patients.iloc[validation])
    assert sorted([*train, *validation]) == list(range(24))
    assert set(images.cases["label"].iloc[validation]) == {0, 1}


def test_a_table_names_classes_patients_and_parts(folder: Path) -> None:
    names = [f"a/person0_{number}.png" for number in range(3)]
    write(
        folder,
        image=names,
        label=["x", "y", "x"],
        patient_id=[1, 2, 3],
        split=["train", "train", "validation"],
    )
    images = open_labelled_images(folder)
    assert images.classes == ("x", "y") and images.cases["patient_id"].tolist() == ["1", "2", "3"]
    train, validation = split_labelled_images(images)
    assert train.tolist() == [0, 1] and validation.tolist() == [2]


def test_without_labels_one_folder_will_do(folder: Path) -> None:
    assert open_labelled_images(folder / "a", labels_needed=False).classes == ("unlabelled",)
    with pytest.raises(InputError, match=r"an image beside the class folders"):
        open_labelled_images(folder / "a")


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"image": ["a/person0_0.png"]}, "no column 'label'"),
        ({"image": ["a/person0_0.png", "gone.png"], "label": ["x", "y"]}, "gone.png does not exist"),
        ({"image": ["a/person0_0.png", "a/person0_1.png"], "label": ["x", None]}, "row 3, column 'label'"),
        ({"image": ["a/person0_0.png"] * 2, "label": ["x", "y"]}, "appears twice"),
        ({"image": ["a/person0_0.png"], "label": ["x"], "split": ["test"]}, "'test', expected train or"),
    ],
)
def test_a_wrong_table_is_named(folder: Path, columns: dict, message: str) -> None:
    write(folder, **columns)
    with pytest.raises(InputError, match=message):
        open_labelled_images(folder)


def test_a_pattern_that_does_not_match_is_named(folder: Path) -> None:
    with pytest.raises(InputError, match="does not match"):
        open_labelled_images(folder, patient_pattern=r"subject(\d+)")
    with pytest.raises(InputError, match="no regular expression with a group"):
        open_labelled_images(folder, patient_pattern="person")


def manifest(folder: Path) -> None:
    names = [f"{group}/person{number // 3}_{number}.png" for group in "ab" for number in range(12)]
    pd.DataFrame(
        {
            "file": names,
            "class": [f"{name[0]}{number % 2}" for number, name in enumerate(names)],
            "modality": ["CT" if name.startswith("a") else "MR" for name in names],
            "group": [f"g{number // 4}" if number < 20 else None for number in range(24)],
            "source": ["1" if number < 12 else "2" for number in range(24)],
        }
    ).to_csv(folder / "manifest.csv", index=False)


def test_a_manifest_of_files_classes_and_groups(folder: Path) -> None:
    manifest(folder)
    images = open_labelled_images(folder, "manifest.csv")
    assert images.classes == ("a0", "a1", "b0", "b1")
    assert images.cases["patient_id"].nunique() == 5 + 4  # four images belong to no group
    assert images.cases["data_set"].tolist() == ["1"] * 12 + ["2"] * 12
    train, validation = split_labelled_images(images, validation_folds=3)
    patients = images.cases["patient_id"]
    assert not set(patients.iloc[train]) & set(patients.iloc[validation])


def test_rows_of_a_manifest(folder: Path) -> None:
    manifest(folder)
    images = open_labelled_images(folder, "manifest.csv", rows={"modality": ["MR"]})
    assert images.classes == ("b0", "b1") and len(images.cases) == 12
    with pytest.raises(InputError, match=r"no row has modality 'CR', expected one of: CT, MR"):
        open_labelled_images(folder, "manifest.csv", rows={"modality": ["CR"]})
    with pytest.raises(InputError, match="no column 'modalty': did you mean 'modality'"):
        open_labelled_images(folder, "manifest.csv", rows={"modalty": ["CT"]})
    (folder / "manifest.csv").unlink()
    with pytest.raises(InputError, match="class folders and no table"):
        open_labelled_images(folder, rows={"modality": ["CT"]})


def test_a_class_with_fewer_groups_than_parts_is_on_the_training_side(folder: Path) -> None:
    manifest(folder)
    table = pd.read_csv(folder / "manifest.csv")
    table["group"] = [
        f"{name}{number // 2 % (2 if name == 'b1' else 6)}" for number, name in enumerate(table["class"])
    ]
    table.to_csv(folder / "manifest.csv", index=False)
    train, _ = split_labelled_images(open_labelled_images(folder, "manifest.csv"), validation_folds=3)
    labels = open_labelled_images(folder, "manifest.csv").cases["label"]
    assert set(labels.iloc[train]) == {0, 1, 2, 3}
