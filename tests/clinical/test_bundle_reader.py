"""An exported bundle behind the DICOM port: a study goes in, a report on it comes out."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
from conftest import Start
from dicom_nodes import Archive, send
from prediction_cases import changed, write_bundle, write_radiographs
from pydicom import dcmread

from srcmatters.clinical import commands
from srcmatters.clinical.bundle_reader import BundleReader, reports_and_saliency
from srcmatters.clinical.spool import REASON


def test_study_that_is_stored_comes_back_as_report_and_capture(
    tmp_path: Path, archive: Archive, start: Start
) -> None:
    reader = reports_and_saliency(write_bundle(tmp_path / "bundle"))
    server, port = start(reader)
    film = dcmread(write_radiographs(tmp_path / "films")[0])
    assert send(port, film) == [0x0000]
    archive.wait_for(2)
    assert {answer.Modality for answer in archive.received} == {"SR", "OT"}
    assert {answer.StudyInstanceUID for answer in archive.received} == {film.StudyInstanceUID}
    # Another body part is refused, and the server goes on.
    knee = changed(tmp_path / "films" / "film-1.dcm", tmp_path / "knee.dcm", BodyPartExamined="KNEE")
    assert send(port, dcmread(knee)) == [0x0000]
    assert send(port, dcmread(write_radiographs(tmp_path / "more", 4)[3])) == [0x0000]
    archive.wait_for(4)
    (refused,) = (server.spool.folder / "refused").iterdir()
    assert "BodyPartExamined is KNEE" in (refused / REASON).read_text()
    reader.predictor.close()


def test_serve_reads_with_the_bundle_unless_told_otherwise(tmp_path: Path) -> None:
    (option,) = [one for one in commands.serve.params if one.name == "reader"]
    assert isinstance(option, click.Option)
    made = commands._make_reader(str(option.default), write_bundle(tmp_path / "bundle"))
    assert isinstance(made, BundleReader) and not made.captures
    with pytest.raises(commands.InputError, match="no such bundle"):
        commands._make_reader(str(option.default), tmp_path / "nowhere")
