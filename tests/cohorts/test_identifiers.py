"""Patients and images that are there twice under other names do not leak into the test."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from srcmatters.cohorts import check_cases, open_cohort, read_nih
from srcmatters.errors import InputError


def table(patients: list[str], **columns: list) -> pd.DataFrame:
    rows = {"image": [f"{row}.png" for row in range(len(patients))], "patient_id": patients}
    return pd.DataFrame({**rows, "label": [row % 2 for row in range(len(patients))], **columns})


def test_blanks_around_an_identifier_do_not_make_another_patient() -> None:
    assert check_cases(table(["P3", "P3 ", "\tP3"]), "cases.csv")["patient_id"].nunique() == 1


@pytest.mark.parametrize("pair", [("61", "00000061"), ("103", "103.0"), ("0", "000")])
def test_numbers_that_differ_in_form_only_are_refused_with_both_rows(pair: tuple[str, str]) -> None:
    with pytest.raises(InputError, match=r"cases.csv, row 4, column 'patient_id': .* row 2 in form only"):
        check_cases(table([pair[0], "other", pair[1]]), "cases.csv")


@pytest.mark.parametrize(("text", "age"), [("058Y", 58), ("013M", 1.08), ("60", 60), (None, None)])
def test_ages_are_read_as_devices_write_them(text: str | None, age: float | None) -> None:
    read = check_cases(table(["a", "b"], age=[text, "050Y"]), "cases.csv")["age"]
    assert pd.isna(read[0]) if age is None else read[0] == pytest.approx(age, abs=0.01)


def test_a_folder_that_the_command_line_took_for_a_number_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"dataset_dir: got 2024, which the command line took for a int"):
        open_cohort(2024)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"cases: got 5, which the command line took for a int"):
        open_cohort(tmp_path, 5)  # type: ignore[arg-type]


def test_real_faults_of_tables(shared_data: Path) -> None:
    ages = read_nih(shared_data / "faults" / "15-nih-ages-060Y" / "Data_Entry_2017.csv", "Mass")["age"]
    assert ages.between(0, 120).all()
    patients = open_cohort(shared_data / "faults" / "13-patient-id-with-blank")["patient_id"]
    assert not patients.str.contains(r"^\s|\s$").any()
