"""Tables as people have them: what becomes a case table, and what is refused in one line."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from srcmatters.cohorts.foreign_table import read_foreign_table
from srcmatters.errors import InputError

_ROWS = "image;patient_id;label\na.png;1;no\nb.png;2;yes\n"


@pytest.mark.parametrize("separator", [";", ",", "\t", "|"])
def test_a_table_of_a_spreadsheet_is_read_whatever_separates_it(tmp_path: Path, separator: str) -> None:
    content = b"\xef\xbb\xbf" + _ROWS.replace(";", separator).replace("\n", "\r\n").encode()
    (tmp_path / "table.csv").write_bytes(content)
    (tmp_path / "table.csv.gz").write_bytes(gzip.compress(content))
    for name in ("table.csv", "table.csv.gz"):
        cases = read_foreign_table(tmp_path / name, positive="yes")
        assert cases["image"].tolist() == ["a.png", "b.png"] and cases["label"].tolist() == [0, 1]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "not a readable table"),
        ("image\na.png\n", "no column 'patient_id', its columns are image;"),
        (_ROWS + "c.png;3;YES\n", "column 'label': 'YES' and 'yes' differ in form only"),
        (_ROWS.replace("image", "label"), "two columns are called 'label', expected one"),
    ],
)
def test_what_is_no_table_or_could_be_two_is_one_line(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "table.csv").write_text(content)
    with pytest.raises(InputError) as error:
        read_foreign_table(tmp_path / "table.csv", positive="yes")
    assert message in str(error.value) and "\n" not in str(error.value)


def test_one_and_one_point_zero_are_one_label(tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text("image,patient_id,label\na,1,1\nb,2,1.0\nc,3,0\n")
    with pytest.raises(InputError, match=r"'1\.0' and '1' differ in form only"):
        read_foreign_table(tmp_path / "table.csv", positive="1")
