"""An exported bundle on files, folders, an archive and a DICOMDIR: what is read and what refused."""

from __future__ import annotations

import csv
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from prediction_cases import (
    SIZE,
    changed,
    write_bundle,
    write_radiographs,
    write_series,
    write_watched_bundle,
)
from pydicom import Dataset, dcmread
from pydicom.fileset import FileSet
from scipy.special import expit

from srcmatters.deployment.predict_command import predict
from srcmatters.deployment.prediction.decoding_tasks import Recipe, prepare
from srcmatters.deployment.prediction.predictor import Predictor
from srcmatters.exported_bundle.bundle import open_bundle
from srcmatters.images import load_ct, load_radiograph, window
from srcmatters.preprocessing import ResamplePatchd
from srcmatters.preprocessing.resizing import resize


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """bundle, ct-bundle, films (3 radiographs) and series (a CT); read only."""
    folder = tmp_path_factory.mktemp("given")
    write_bundle(folder / "bundle")
    write_bundle(folder / "ct-bundle", modality="ct", unit="HU", window="lung", patch_mm=40, spatial_dims=3)
    write_radiographs(folder / "films", patients=3)
    write_series(folder / "series")
    return folder


def run(*arguments: object) -> Result:
    return CliRunner().invoke(predict, [str(argument) for argument in arguments])


def rows(out: Path) -> list[dict[str, str]]:
    with (out / "predictions.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_an_animal_is_refused_where_the_header_names_it(given: Path, tmp_path: Path) -> None:
    film = given / "films" / "film-0.dcm"
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = (
        "448771007",
        "SCT",
        "Canis lupus familiaris",
    )
    (tmp_path / "films").mkdir()
    changed(film, tmp_path / "films" / "cat.dcm", PatientSpeciesDescription="Feline")
    changed(film, tmp_path / "films" / "dog.dcm", PatientSpeciesCodeSequence=[code])
    assert run(given / "bundle", tmp_path / "films", "--out", tmp_path / "out").exit_code == 0
    assert [(row["status"], row["reasons"]) for row in rows(tmp_path / "out")] == [
        ("refused", f"PatientSpeciesDescription is {species}, expected human or nothing")
        for species in ("Feline", "Canis lupus familiaris")
    ]


def test_probability_is_the_calibrated_answer_of_the_network(given: Path, tmp_path: Path) -> None:
    film = given / "films" / "film-0.dcm"
    assert run(given / "bundle", film, "--out", tmp_path / "out").exit_code == 0
    image = resize(load_radiograph(film).as_tensor().unsqueeze(0), (SIZE, SIZE))
    with torch.inference_mode():
        logits = open_bundle(given / "bundle").network()(image)[0]
    expected = float(expit((logits[1] - logits[0]).double() / 2 + 0.5))
    (found,) = rows(tmp_path / "out")
    assert float(found["probability"]) == pytest.approx(expected, abs=2e-6)
    assert found["finding"] == ("yes" if expected >= 0.5 else "no") and found["status"] == "predicted"


def test_order_is_that_of_the_paths_and_then_of_the_names(given: Path, tmp_path: Path) -> None:
    paths = [given / "films" / "film-2.dcm", given / "films"]
    assert run(given / "bundle", *paths, "--out", tmp_path / "out").exit_code == 0
    assert [Path(row["file"]).name for row in rows(tmp_path / "out")] == [
        "film-2.dcm",
        "film-0.dcm",
        "film-1.dcm",
    ]


@pytest.mark.parametrize("dims", [2, 3])
def test_a_scan_is_cut_as_in_the_training_though_only_a_slab_of_it_is_read(given: Path, dims: int) -> None:
    recipe = Recipe("CT", "CHEST", SIZE, dims, "HU", "lung", 12.0)
    whole = window(load_ct(given / "series"), "lung")
    expected = ResamplePatchd("image", [SIZE] * dims, 12.0)({"image": whole, "name": "scan"})["image"]
    assert np.allclose(prepare(given / "series", recipe).image, expected, atol=1e-5)


def test_a_series_is_one_row_wherever_its_files_lie(given: Path, tmp_path: Path) -> None:
    archive = tmp_path / "scattered.zip"
    with zipfile.ZipFile(archive, "w") as out:
        for number, file in enumerate(sorted((given / "series").iterdir())):
            out.write(file, f"part-{number % 2}/{file.name}")
    assert run(given / "ct-bundle", archive, given / "series", "--out", tmp_path / "out").exit_code == 0
    # The copies in the folder are the same instances in the same places.
    (found,) = rows(tmp_path / "out")
    assert found["status"] == "flagged" and "part-1/" in found["reasons"].split("the same slice as", 1)[1]
    assert int(found["files"]) == 2 * len(list((given / "series").iterdir()))
    assert run(given / "ct-bundle", given / "series", "--out", tmp_path / "one").exit_code == 0
    assert rows(tmp_path / "one")[0]["probability"] == found["probability"]


def test_bundles_refuse_each_others_images_with_the_reason(given: Path, tmp_path: Path) -> None:
    assert run(given / "bundle", given / "series", "--out", tmp_path / "a").exit_code == 0
    (found,) = rows(tmp_path / "a")
    assert found["status"] == "refused" and "Modality is CT" in found["reasons"] and not found["probability"]
    assert run(given / "ct-bundle", given / "films", "--out", tmp_path / "b").exit_code == 0
    assert {row["status"] for row in rows(tmp_path / "b")} == {"refused"}


def test_dicomdir_stands_for_the_medium_that_it_lies_on(given: Path, tmp_path: Path) -> None:
    files = FileSet()
    for film in sorted((given / "films").iterdir())[:2]:
        files.add(film)
    files.write(tmp_path / "disk")
    (tmp_path / "disk" / "beside.txt").write_text("no image")
    directory = dcmread(tmp_path / "disk" / "DICOMDIR")
    for record in directory.DirectoryRecordSequence:
        if "ReferencedFileID" in record:
            record.ReferencedFileID = ["..", "FILM"]  # nobody follows it
    directory.save_as(tmp_path / "disk" / "DICOMDIR")
    (tmp_path / "FILM").write_bytes((given / "films" / "film-2.dcm").read_bytes())
    result = run(given / "bundle", tmp_path / "disk" / "DICOMDIR", "--out", tmp_path / "a")
    assert result.exit_code == 0 and "2 files passed over" in result.output
    assert [row["status"] for row in rows(tmp_path / "a")] == ["predicted", "predicted"]
    run(given / "bundle", tmp_path / "disk", "--out", tmp_path / "b")
    assert rows(tmp_path / "a") == rows(tmp_path / "b")


def test_table_holds_hashes_and_uids_only_if_asked_for(given: Path, tmp_path: Path) -> None:
    film = given / "films" / "film-0.dcm"
    header = dcmread(film, stop_before_pixels=True)
    run(given / "bundle", film, "--out", tmp_path / "a", "--json")
    written = (tmp_path / "a" / "predictions.csv").read_text() + (
        tmp_path / "a" / "predictions.json"
    ).read_text()
    for planted in (
        header.StudyInstanceUID,
        header.SeriesInstanceUID,
        header.PatientID,
        str(header.PatientName),
    ):
        assert str(planted) not in written
    run(given / "bundle", film, "--out", tmp_path / "b", "--identifiers")
    assert rows(tmp_path / "b")[0]["study"] == header.StudyInstanceUID


def test_json_says_that_the_bundle_is_unaudited_and_no_device(given: Path) -> None:
    result = run(given / "bundle", given / "films", "--json")
    content: dict[str, Any] = json.loads(result.stdout)
    assert len(content["predictions"]) == 3
    assert "UNAUDITED" in " ".join(content["marks"]) and "not a medical device" in " ".join(content["marks"])


def test_nothing_is_written_when_it_fails_or_the_folder_exists(
    given: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = run(given / "bundle", given / "films", tmp_path / "nowhere", "--out", tmp_path / "out", "--sr")
    assert "nowhere: does not exist" in str(result.exception)
    (tmp_path / "old").mkdir()
    result = run(given / "bundle", given / "films", "--out", tmp_path / "old")
    assert "exists already" in str(result.exception)
    monkeypatch.setattr("srcmatters.deployment.prediction.prediction_files.as_csv", lambda rows: 1 / 0)
    assert run(given / "bundle", given / "films", "--out", tmp_path / "out", "--sr").exit_code
    assert [path.name for path in tmp_path.iterdir()] == ["old"] and not list((tmp_path / "old").iterdir())


def test_several_patients_in_one_series_are_refused(given: Path, tmp_path: Path) -> None:
    film = given / "films" / "film-0.dcm"
    (tmp_path / "mixed").mkdir()
    changed(film, tmp_path / "mixed" / "a.dcm")
    changed(film, tmp_path / "mixed" / "b.dcm", PatientID="SOMEBODY-ELSE")
    changed(film, tmp_path / "mixed" / "c.dcm", SeriesInstanceUID="1.2.3")
    run(given / "bundle", tmp_path / "mixed", "--out", tmp_path / "out")
    found = rows(tmp_path / "out")
    assert [row["status"] for row in found] == ["refused", "refused", "predicted"]
    assert "several patients" in found[0]["reasons"] and "SOMEBODY" not in str(found)


def test_real_dicom_is_read_or_refused_for_the_right_reason(
    given: Path, shared_data: Path, tmp_path: Path
) -> None:
    run(given / "bundle", shared_data / "dicom", "--out", tmp_path / "xray")
    found = {Path(row["file"]).name: row for row in rows(tmp_path / "xray")}
    chests = {"chest-cr-jpeg.dcm", "chest-cr-monochrome1-jpeg2000.dcm", "chest-dx-monochrome1.dcm"}
    assert {name for name, row in found.items() if row["status"] == "predicted"} == chests
    assert "EXTREMITY" in found["extremity-cr.dcm"]["reasons"]
    assert "Modality is NM" in found["wholebody-nm-jpeg-lossless.dcm"]["reasons"]
    run(given / "ct-bundle", shared_data / "dicom", "--out", tmp_path / "ct")
    scans = {Path(row["file"]).name: row for row in rows(tmp_path / "ct")}
    read = {name for name, row in scans.items() if row["status"] != "refused"}
    assert read == {"ct-series, series 123456", "ct-slice-512.dcm"}
    assert scans["ct-series, series 123456"]["files"] == "17"
    assert "RescaleType is US" in scans["ct-series, series 123456"]["reasons"]


def test_monitors_of_the_bundle_flag(given: Path, tmp_path: Path) -> None:
    bundle = write_watched_bundle(tmp_path / "bundle")
    with Predictor(open_bundle(bundle)) as predictor:
        (found,) = predictor.predict([given / "films" / "film-0.dcm"])
    assert found.status == "flagged" and found.probability is not None
    said = " ".join(found.reasons)
    assert "confounder tag" in said and "denoise" not in said and "unlike the training images" in said
