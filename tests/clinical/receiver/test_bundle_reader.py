"""An exported bundle behind the DICOM port: a study goes in, a report on it comes out."""

from __future__ import annotations

import errno
import logging
import shutil
import tempfile
from pathlib import Path

import click
import pytest
from dicom_nodes import Archive, Start, send
from prediction_cases import changed, write_bundle, write_radiographs
from pydicom import dcmread
from pydicom.uid import generate_uid

from srcmatters.clinical import serve_command
from srcmatters.clinical.prediction.decoder import Decoder
from srcmatters.clinical.receiver import reading
from srcmatters.clinical.receiver.bundle_reader import BundleReader, reports_and_saliency
from srcmatters.clinical.receiver.spool import REASON
from srcmatters.errors import InputError


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


def test_one_image_without_an_answer_does_not_take_the_others_with_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    films = write_radiographs(tmp_path / "films")
    own, other = generate_uid(), generate_uid()
    knee = changed(films[0], tmp_path / "knee.dcm", BodyPartExamined="KNEE", SeriesInstanceUID=own)
    nobody = changed(films[0], tmp_path / "nobody.dcm", StudyInstanceUID=None, SeriesInstanceUID=other)
    reader = BundleReader(write_bundle(tmp_path / "bundle"))
    name = str(dcmread(films[0]).PatientName)
    with caplog.at_level(logging.WARNING):
        (answer,) = reader.read(tmp_path, [nobody, films[0], knee])
    referenced = answer.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence[0]
    instances = [one.ReferencedSOPInstanceUID for one in referenced.ReferencedSOPSequence]
    assert instances == [dcmread(films[0]).SOPInstanceUID]
    (line,) = caplog.messages
    assert line.startswith("2 images or series of a study without an answer")
    assert "StudyInstanceUID is missing" in line and "BodyPartExamined is KNEE" in line and name not in line
    with pytest.raises(InputError, match=r"StudyInstanceUID is missing.*BodyPartExamined is KNEE"):
        reader.read(tmp_path, [nobody, knee])
    reader.predictor.close()


def test_study_for_which_no_decoder_could_be_started_is_read_later(
    tmp_path: Path, archive: Archive, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "RETRY_SECONDS", 0.1)
    begin, failed = Decoder._start, []

    def fail_first(decoder: Decoder) -> None:
        if not failed:
            failed.append(decoder)
            raise OSError(errno.ENOMEM, "Cannot allocate memory")
        begin(decoder)

    monkeypatch.setattr(Decoder, "_start", fail_first)
    reader = BundleReader(write_bundle(tmp_path / "bundle"))
    server, port = start(reader)
    assert send(port, dcmread(write_radiographs(tmp_path / "films")[0])) == [0x0000]
    archive.wait_for(1)
    assert failed and not server.spool.batches("refused")
    reader.predictor.close()


def test_nothing_that_was_unpacked_of_a_zip_stays_while_it_is_read_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    film = write_radiographs(tmp_path / "films")[0]
    shutil.make_archive(str(tmp_path / "bundle"), "zip", write_bundle(tmp_path / "bundle"))
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    reader = BundleReader(tmp_path / "bundle.zip")
    assert not [*(tmp_path / "temporary").iterdir()], "a killed receiver cannot delete it"
    assert len(reader.read(tmp_path, [film])) == 1
    reader.predictor.close()


def test_captures_of_a_network_without_feature_maps_are_refused_at_once(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "bundle")
    file = bundle / "configs" / "clinical.json"
    file.write_text(file.read_text().replace('"resnet10"', '"vit_b14"'))
    with pytest.raises(InputError, match="vit_b14 has no feature maps for Grad-CAM, expected efficientnet"):
        reports_and_saliency(bundle)


def test_serve_reads_with_the_bundle_unless_told_otherwise(tmp_path: Path) -> None:
    (option,) = [one for one in serve_command.serve.params if one.name == "reader"]
    assert isinstance(option, click.Option)
    made = serve_command._make_reader(str(option.default), write_bundle(tmp_path / "bundle"))
    assert isinstance(made, BundleReader) and not made.captures
    with pytest.raises(serve_command.InputError, match="no such bundle"):
        serve_command._make_reader(str(option.default), tmp_path / "nowhere")
