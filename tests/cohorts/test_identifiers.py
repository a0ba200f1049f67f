"""Patients and images that are there twice under other names do not leak into the test."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from srcmatters.cohorts import CaseChoice, check_cases, choose_cases, choose_readable, open_cohort, read_nih
from srcmatters.cohorts.duplicates import patients_of_one_image
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


def cases(patients: int = 60) -> pd.DataFrame:
    names = [f"P{number}" for number in range(patients)]
    return check_cases(table(names, label=[number % 2 for number in range(patients)]), "cases.csv")


def test_patients_who_share_an_image_are_in_one_set() -> None:
    readable = cases()
    digests = [f"{row // 2 if row < 40 and row % 2 == 0 else 1000 + row}" for row in range(60)]
    for row in range(0, 40, 4):  # every fourth patient's image is another's of the same label, too
        digests[row + 2] = digests[row]
    plain = choose_cases(readable, CaseChoice(num_folds=3))
    with pytest.warns(UserWarning, match=r"10 images are there under several patients \(0, 2, 4, \.\.\.\)"):
        chosen = choose_readable(plain, readable, readable, CaseChoice(num_folds=3), digests)
    seen = [{digests[row] for row in rows} for rows in (chosen.split.train, chosen.split.test)]
    assert not seen[0] & seen[1]
    before = [{digests[row] for row in rows} for rows in (plain.split.train, plain.split.test)]
    assert before[0] & before[1], "without the check they leak"


def test_patients_linked_through_a_third_are_kept_together() -> None:
    linked = cases(6).assign(label=1)
    with pytest.warns(UserWarning, match="2 images"):
        joined = patients_of_one_image(
            pd.concat([linked, linked.iloc[[1]].assign(case_id="again")], ignore_index=True),
            ["x", "x", "z", "d", "e", "f", "z"],
        )
    assert joined.tolist() == ["P0", "P0", "P0", "P3", "P4", "P5", "P0"]


def test_one_image_with_both_labels_is_refused() -> None:
    with pytest.raises(InputError, match="1 images are there with both labels, such as '0' and '1'"):
        patients_of_one_image(cases(4), ["same", "same", "c", "d"])


def test_places_in_one_volume_are_different_images() -> None:
    spots = cases(4).assign(x_mm=[1.0, 2.0, 3.0, 4.0], y_mm=0.0, z_mm=0.0)
    assert patients_of_one_image(spots, ["scan"] * 4).equals(spots["patient_id"])


def test_a_folder_that_the_command_line_took_for_a_number_is_named() -> None:
    with pytest.raises(InputError, match=r"dataset_dir: got 2024, which the command line took for a int"):
        open_cohort(2024)  # type: ignore[arg-type]


def test_real_faults_of_tables(shared_data: Path) -> None:
    ages = read_nih(shared_data / "faults" / "15-nih-ages-060Y" / "Data_Entry_2017.csv", "Mass")["age"]
    assert ages.between(0, 120).all()
    patients = open_cohort(shared_data / "faults" / "13-patient-id-with-blank")["patient_id"]
    assert not patients.str.contains(r"^\s|\s$").any()
