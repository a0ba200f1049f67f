"""What a log may not hold."""

from pathlib import Path

import pytest
from dicom_nodes import ACCESSION, BIRTH_DATE, PATIENT_ID, PATIENT_NAME, radiograph

from srcmatters.deployment.redaction import without_identifiers


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "image.dcm"
    radiograph().save_as(path, enforce_file_format=True)
    return path


@pytest.mark.parametrize(
    "planted", [PATIENT_NAME, "ZWEISTEIN", "quendolin", PATIENT_ID, BIRTH_DATE, ACCESSION]
)
def test_identifiers_of_the_patient_are_removed(file: Path, planted: str) -> None:
    redacted = without_identifiers(f"view {planted}: a foot, expected a chest", [file])
    assert planted.lower() not in redacted.lower()
    assert redacted.startswith("view [removed]") and redacted.endswith(": a foot, expected a chest")


def test_uids_are_removed_of_whatever_file(file: Path) -> None:
    assert (
        without_identifiers("series 1.2.840.113619.2.5.1762: two patients", [])
        == "series [removed]: two patients"
    )


def test_a_reason_is_one_line(file: Path) -> None:
    assert without_identifiers("a foot\nINFO all is well\r\n", [file]) == "a foot INFO all is well"


def test_files_that_cannot_be_read_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "noise.dcm").write_bytes(b"\xff" * 400)
    files = [tmp_path / "noise.dcm", tmp_path / "missing.dcm"]
    assert without_identifiers("spacing 0.2 mm", files) == "spacing 0.2 mm"
