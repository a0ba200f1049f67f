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
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """bundle, ct-bundle, films (3 radiographs) and series (a CT); read only."""
    folder = tmp_path_factory.mktemp("inputs")
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


def test_an_animal_is_refused_where_the_header_names_it(inputs: Path, tmp_path: Path) -> None:
    film = inputs / "films" / "film-0.dcm"
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = (
        "448771007",
        "SCT",
        "Canis lupus familiaris",
    )
    (tmp_path / "films").mkdir()
    changed(film, tmp_path / "films" / "cat.dcm", PatientSpeciesDescription="Feline")
    changed(film, tmp_path / "films" / "dog.dcm", PatientSpeciesCodeSequence=[code])
    assert run(inputs / "bundle", tmp_path / "films", "--out", tmp_path / "out").exit_code == 0
    assert [(row["status"], row["reasons"]) for row in rows(tmp_path / "out")] == [
        ("refused", f"PatientSpeciesDescription is {species}, expected human or nothing")
        for species in ("Feline", "Canis lupus familiaris")
    ]


def test_probability_is_the_calibrated_answer_of_the_network(inputs: Path, tmp_path: Path) -> None:
    film = inputs / "films" / "film-0.dcm"
    assert run(inputs / "bundle", film, "--out", tmp_path / "out").exit_code == 0
    image = resize(load_radiograph(film).as_tensor().unsqueeze(0), (SIZE, SIZE))
    with torch.inference_mode():
        logits = open_bundle(inputs / "bundle").network()(image)[0]
    expected = float(expit((logits[1] - logits[0]).double() / 2 + 0.5))
    (row,) = rows(tmp_path / "out")
    assert float(row["probability"]) == pytest.approx(expected, abs=2e-6)
    assert row["finding"] == ("yes" if expected >= 0.5 else "no") and row["status"] == "predicted"


def test_order_is_that_of_the_paths_and_then_of_the_names(inputs: Path, tmp_path: Path) -> None:
    paths = [inputs / "films" / "film-2.dcm", inputs / "films"]
    assert run(inputs / "bundle", *paths, "--out", tmp_path / "out").exit_code == 0
    assert [Path(row["file"]).name for row in rows(tmp_path / "out")] == [
        "film-2.dcm",
        "film-0.dcm",
        "film-1.dcm",
    ]


@pytest.mark.parametrize("dims", [2, 3])
def test_a_scan_is_cut_as_in_the_training_though_only_a_slab_of_it_is_read(inputs: Path, dims: int) -> None:
    recipe = Recipe("CT", "CHEST", SIZE, dims, "HU", "lung", 12.0)
    whole = window(load_ct(inputs / "series"), "lung")
    expected = ResamplePatchd("image", [SIZE] * dims, 12.0)({"image": whole, "name": "scan"})["image"]
    assert np.allclose(prepare(inputs / "series", recipe).image, expected, atol=1e-5)


def test_a_series_is_one_row_wherever_its_files_lie(inputs: Path, tmp_path: Path) -> None:
    archive = tmp_path / "scattered.zip"
    with zipfile.ZipFile(archive, "w") as out:
        for number, file in enumerate(sorted((inputs / "series").iterdir())):
            out.write(file, f"part-{number % 2}/{file.name}")
    assert run(inputs / "ct-bundle", archive, inputs / "series", "--out", tmp_path / "out").exit_code == 0
    # The copies in the folder are the same instances in the same places.
    (row,) = rows(tmp_path / "out")
    assert row["status"] == "flagged" and "part-1/" in row["reasons"].split("the same slice as", 1)[1]
    assert int(row["files"]) == 2 * len(list((inputs / "series").iterdir()))
    assert run(inputs / "ct-bundle", inputs / "series", "--out", tmp_path / "one").exit_code == 0
    assert rows(tmp_path / "one")[0]["probability"] == row["probability"]


def test_bundles_refuse_each_others_images_with_the_reason(inputs: Path, tmp_path: Path) -> None:
    assert run(inputs / "bundle", inputs / "series", "--out", tmp_path / "a").exit_code == 0
    (row,) = rows(tmp_path / "a")
    assert row["status"] == "refused" and "Modality is CT" in row["reasons"] and not row["probability"]
    assert run(inputs / "ct-bundle", inputs / "films", "--out", tmp_path / "b").exit_code == 0
    assert {row["status"] for row in rows(tmp_path / "b")} == {"refused"}


def test_dicomdir_stands_for_the_medium_that_it_lies_on(inputs: Path, tmp_path: Path) -> None:
    files = FileSet()
    for film in sorted((inputs / "films").iterdir())[:2]:
        files.add(film)
    files.write(tmp_path / "disk")
    (tmp_path / "disk" / "beside.txt").write_text("no image")
    directory = dcmread(tmp_path / "disk" / "DICOMDIR")
    for record in directory.DirectoryRecordSequence:
        if "ReferencedFileID" in record:
            record.ReferencedFileID = ["..", "FILM"]  # nobody follows it
    directory.save_as(tmp_path / "disk" / "DICOMDIR")
    (tmp_path / "FILM").write_bytes((inputs / "films" / "film-2.dcm").read_bytes())
    result = run(inputs / "bundle", tmp_path / "disk" / "DICOMDIR", "--out", tmp_path / "a")
    assert result.exit_code == 0 and "2 files passed over" in result.output
    assert [row["status"] for row in rows(tmp_path / "a")] == ["predicted", "predicted"]
    run(inputs / "bundle", tmp_path / "disk", "--out", tmp_path / "b")
    assert rows(tmp_path / "a") == rows(tmp_path / "b")


def test_table_holds_hashes_and_uids_only_if_asked_for(inputs: Path, tmp_path: Path) -> None:
    film = inputs / "films" / "film-0.dcm"
    header = dcmread(film, stop_before_pixels=True)
    run(inputs / "bundle", film, "--out", tmp_path / "a", "--json")
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
    run(inputs / "bundle", film, "--out", tmp_path / "b", "--identifiers")
    assert rows(tmp_path / "b")[0]["study"] == header.StudyInstanceUID


def test_json_says_that_the_bundle_is_unaudited_and_no_device(inputs: Path) -> None:
    result = run(inputs / "bundle", inputs / "films", "--json")
    content: dict[str, Any] = json.loads(result.stdout)
    assert len(content["predictions"]) == 3
    assert "UNAUDITED" in " ".join(content["marks"]) and "not a medical device" in " ".join(content["marks"])


def test_nothing_is_written_when_it_fails_or_the_folder_exists(
    inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = run(inputs / "bundle", inputs / "films", tmp_path / "nowhere", "--out", tmp_path / "out", "--sr")
    assert "nowhere: does not exist" in str(result.exception)
    (tmp_path / "old").mkdir()
    result = run(inputs / "bundle", inputs / "films", "--out", tmp_path / "old")
    assert "exists already" in str(result.exception)
    monkeypatch.setattr("srcmatters.deployment.prediction.prediction_files.as_csv", lambda rows: 1 / 0)
    assert run(inputs / "bundle", inputs / "films", "--out", tmp_path / "out", "--sr").exit_code
    assert [path.name for path in tmp_path.iterdir()] == ["old"] and not list((tmp_path / "old").iterdir())


def test_several_patients_in_one_series_are_refused(inputs: Path, tmp_path: Path) -> None:
    film = inputs / "films" / "film-0.dcm"
    (tmp_path / "mixed").mkdir()
    changed(film, tmp_path / "mixed" / "a.dcm")
    changed(film, tmp_path / "mixed" / "b.dcm", PatientID="SOMEBODY-ELSE")
    changed(film, tmp_path / "mixed" / "c.dcm", SeriesInstanceUID="1.2.3")
    run(inputs / "bundle", tmp_path / "mixed", "--out", tmp_path / "out")
    predictions = rows(tmp_path / "out")
    assert [row["status"] for row in predictions] == ["refused", "refused", "predicted"]
    assert "several patients" in predictions[0]["reasons"] and "SOMEBODY" not in str(predictions)


def test_real_dicom_is_read_or_refused_for_the_right_reason(
    inputs: Path, shared_data: Path, tmp_path: Path
) -> None:
    run(inputs / "bundle", shared_data / "dicom", "--out", tmp_path / "xray")
    predictions = {Path(row["file"]).name: row for row in rows(tmp_path / "xray")}
    chests = {"chest-cr-jpeg.dcm", "chest-cr-monochrome1-jpeg2000.dcm", "chest-dx-monochrome1.dcm"}
    assert {name for name, row in predictions.items() if row["status"] == "predicted"} == chests
    assert "EXTREMITY" in predictions["extremity-cr.dcm"]["reasons"]
    assert "Modality is NM" in predictions["wholebody-nm-jpeg-lossless.dcm"]["reasons"]
    run(inputs / "ct-bundle", shared_data / "dicom", "--out", tmp_path / "ct")
    scans = {Path(row["file"]).name: row for row in rows(tmp_path / "ct")}
    read = {name for name, row in scans.items() if row["status"] != "refused"}
    assert read == {"ct-series, series 123456", "ct-slice-512.dcm"}
    assert scans["ct-series, series 123456"]["files"] == "17"
    assert "RescaleType is US" in scans["ct-series, series 123456"]["reasons"]


def test_monitors_of_the_bundle_flag(inputs: Path, tmp_path: Path) -> None:
    bundle = write_watched_bundle(tmp_path / "bundle")
    with Predictor(open_bundle(bundle)) as predictor:
        (prediction,) = predictor.predict([inputs / "films" / "film-0.dcm"])
    assert prediction.status == "flagged" and prediction.probability is not None
    reasons = " ".join(prediction.reasons)
    assert (
        "confounder tag" in reasons and "denoise" not in reasons and "unlike the training images" in reasons
    )
