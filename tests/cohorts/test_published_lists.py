"""The lists that a publication prints come back row for row, out of a case table."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from PIL import Image

from srcmatters.cohorts import CaseChoice, choose_cases, read_cases, split_cases
from srcmatters.cohorts.commands import cohorts
from srcmatters.cohorts.published.lists import read_published_lists
from srcmatters.confounders import sampled_column
from srcmatters.errors import InputError


def write_lists(folder: Path) -> None:
    """Two folds of eight images and a test list of four; patients are in one set."""
    rows = [(f"im{number}.png", 100 + number // 2, "YES" if number % 2 else "NO") for number in range(12)]
    table = pd.DataFrame(rows, columns=["path", "pid", "class"])
    parts = {"test": [8, 9, 10, 11], "train_fold1": [0, 1, 2, 3, 4, 5], "val_fold1": [6, 7]}
    parts |= {"train_fold2": [4, 5, 6, 7, 2, 3], "val_fold2": [0, 1]}
    folder.mkdir()
    for name, numbers in parts.items():
        table.iloc[numbers].to_csv(folder / f"{name}.csv")


def write_images(folder: Path, names: list[str]) -> Path:
    """In two folders, as ChestX-ray14 comes."""
    for number, name in enumerate(names):
        path = folder / f"images_{number % 2}" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((8, 8), number % 256, np.uint8)).save(path)
    return folder


def listed(splits: Path, fold: int, part: str) -> set[tuple[str, str, int]]:
    table = pd.read_csv(splits / (f"{part}_fold{fold + 1}.csv" if part != "test" else "test.csv"), dtype=str)
    positive = ~table["class"].isin(["NO", "No Finding"])
    return set(zip(table["path"], table["pid"], positive.astype(int), strict=True))


def rows_of(cases: pd.DataFrame, rows: np.ndarray) -> set[tuple[str, str, int]]:
    table = cases.iloc[rows]
    names = [Path(image).name for image in table["image"]]
    return set(zip(names, table["patient_id"], table["label"], strict=True))


def test_the_lists_come_back_row_for_row(tmp_path: Path) -> None:
    splits, images = tmp_path / "splits", tmp_path / "images"
    write_lists(splits)
    write_images(images, [f"im{number}.png" for number in range(12)])
    result = CliRunner().invoke(cohorts, ["published", str(splits), "--images", str(images)])
    assert result.exit_code == 0, result.output
    assert "12 images, 6 positive, 2 folds (6 train, 2 validation, 4 test)" in result.output
    cases = read_cases(images)
    for fold in (0, 1):
        split = split_cases(cases, fold, num_folds=2)
        assert rows_of(cases, split.train) == listed(splits, fold, "train")
        assert rows_of(cases, split.validation) == listed(splits, fold, "val")
        assert rows_of(cases, split.test) == listed(splits, fold, "test")
    with pytest.raises(
        InputError, match="fold: got 2, expected one of the 2 folds of split_fold0, split_fold1"
    ):
        split_cases(cases, 2)
    chosen = choose_cases(cases, CaseChoice(p_art=1.0, fold=1, num_folds=2))
    assert chosen.carries.sum() == 6  # every positive of every set
    with pytest.raises(InputError, match="'split_fold0' is unknown"):
        sampled_column("split_fold0", cases)


def test_images_that_are_not_there_are_said_in_one_line(tmp_path: Path) -> None:
    splits, images = tmp_path / "splits", tmp_path / "images"
    write_lists(splits)
    write_images(images, [f"im{number}.png" for number in range(5)])
    with pytest.raises(InputError) as caught:
        read_published_lists(splits, images, images)
    line = str(caught.value)
    assert line.startswith(f"--images: 7 of 12 images are not below {images}: im") and line.endswith(
        " and 2 more"
    )
    assert "\n" not in line
    with pytest.raises(InputError, match="is not a folder, expected that of the 12 images"):
        read_published_lists(splits, tmp_path / "nowhere", tmp_path)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("val_fold2.csv", None, "no val_fold2.csv, expected the lists of every fold"),
        ("val_fold2.csv", "path,class\nim0.png,NO\n", "no column 'pid', expected path, pid and class"),
        ("val_fold2.csv", "path,pid,class\nim0.png,100,YES\n", "two lists say different things of im0.png"),
        ("test.csv", "path,pid,class\nim8.png,104,NO\nim8.png,104,NO\n", "im8.png is there twice"),
        (
            "test.csv",
            "path,pid,class\nim99.png,199,MAYBE\n",
            "classes MAYBE, YES, expected one class beside NO",
        ),
    ],
)
def test_lists_that_disagree_are_refused(
    tmp_path: Path, file: str, content: str | None, message: str
) -> None:
    splits = tmp_path / "splits"
    write_lists(splits)
    (splits / file).unlink()
    if content is not None:
        (splits / file).write_text(content)
    with pytest.raises(InputError, match=message):
        read_published_lists(splits, write_images(tmp_path / "images", ["im0.png"]), tmp_path)


def test_the_lists_of_the_publication_come_back_row_for_row(shared_data: Path, tmp_path: Path) -> None:
    for folder, count in (("splits", 331), ("splits/gender/F_50", None)):
        splits = shared_data / "paper" / folder
        names = sorted({name for path in splits.glob("*.csv") for name in pd.read_csv(path)["path"]})
        images = tmp_path / folder.replace("/", "-")
        for name in names:
            (images / name).parent.mkdir(parents=True, exist_ok=True)
            (images / name).touch()
        cases = read_published_lists(splits, images, images)
        assert count is None or len(cases) == count
        for fold in range(5):
            for part, name in (("train", "train"), ("val", "validation")):
                rows = np.flatnonzero(cases[f"split_fold{fold}"] == name)
                assert rows_of(cases, rows) == listed(splits, fold, part)
        if count is not None:
            split = split_cases(cases, 3)
            assert rows_of(cases, split.test) == listed(splits, 3, "test") and len(split.test) == 83
