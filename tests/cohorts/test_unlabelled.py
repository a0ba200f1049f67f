"""What is to be scored: every image of a folder, or the candidates of a table."""

from pathlib import Path

import pytest

from srcmatters.cohorts import find_images, images_to_score
from srcmatters.errors import InputError


def test_without_a_table_every_scan_is_scored_once(ct_cohort: Path) -> None:
    items = images_to_score(ct_cohort, "ct")
    assert [item["image"] for item in items] == find_images(ct_cohort, "ct")
    assert set(items[0]) == {"image", "name"}


def test_a_table_may_name_several_candidates_of_a_scan(tmp_path: Path) -> None:
    (tmp_path / "a.nii.gz").touch()
    (tmp_path / "a.png").touch()
    (tmp_path / "c.csv").write_text("image,x_mm,y_mm,z_mm,note\na.nii.gz,1,2,3,x\na.nii.gz,4,5,6,y\n")
    items = images_to_score(tmp_path, "ct", "c.csv")
    assert items[1] == {
        "image": str(tmp_path / "a.nii.gz"),
        "name": str(tmp_path / "a.nii.gz"),
        "x_mm": 4,
        "y_mm": 5,
        "z_mm": 6,
    }
    (tmp_path / "c.csv").write_text("image\na.png\n")
    assert images_to_score(tmp_path, "xray", "c.csv")[0]["image"] == str(tmp_path / "a.png")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("picture\na.png\n", "no column 'image'"),
        ("image,x_mm\na.png,1\n", "expected all of x_mm, y_mm, z_mm or none"),
        (
            "image,x_mm,y_mm,z_mm\na.png,1,2,3\na.png,1,,3\n",
            "row 3, column 'y_mm': got nan, expected a number",
        ),
        ("image,x_mm,y_mm,z_mm\na.png,1,2,abc\n", "row 2, column 'z_mm': got abc, expected a number"),
        ("image,x_mm,y_mm,z_mm\na.png,inf,2,3\n", "row 2, column 'x_mm': got inf, expected a number"),
        ("image\nb.png\n", "row 2, column 'image': .*b.png does not exist"),
        ("image\n", "no rows"),
    ],
)
def test_a_table_that_says_too_little_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "a.png").touch()
    (tmp_path / "c.csv").write_text(text)
    with pytest.raises(InputError, match=message):
        images_to_score(tmp_path, "ct", "c.csv")


def test_a_table_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"c\.csv: not a readable CSV file"):
        images_to_score(tmp_path, "ct", "c.csv")
