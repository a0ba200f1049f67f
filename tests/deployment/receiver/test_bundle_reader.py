"""An exported bundle behind the DICOM port: a study goes in, a report on it comes out."""

from __future__ import annotations

import errno
import logging
import shutil
import tempfile
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from click.testing import CliRunner
from dicom_nodes import Archive, Start, send
from prediction_cases import changed, write_bundle, write_radiographs
from pydicom import dcmread
from pydicom.uid import generate_uid
from sealed_bundles import seal

from srcmatters.deployment import redaction, serve_command
from srcmatters.deployment.prediction.sandboxed_decoder import Decoder
from srcmatters.deployment.receiver import server, study_reading as reading
from srcmatters.deployment.receiver.bundle_reader import BundleReader
from srcmatters.deployment.receiver.spool import REASON
from srcmatters.errors import InputError
from srcmatters.exported_bundle.disclaimers import disclaimers


def test_study_that_is_stored_comes_back_as_report_and_capture(
    tmp_path: Path, archive: Archive, start: Start
) -> None:
    reader = BundleReader(write_bundle(tmp_path / "bundle"), captures=True)
    running, port = start(reader)
    film = dcmread(write_radiographs(tmp_path / "films")[0])
    assert send(port, film) == [0x0000]
    archive.wait_for(2)
    assert {answer.Modality for answer in archive.received} == {"SR", "OT"}
    assert {answer.StudyInstanceUID for answer in archive.received} == {film.StudyInstanceUID}
    # Another body part is refused, and the server goes on.
    knee = changed(tmp_path / "films" / "film-1.dcm", tmp_path / "knee.dcm", BodyPartExamined="KNEE")
    assert send(port, dcmread(knee)) == [0x0000]
    assert send(port, dcmread(write_radiographs(tmp_path / "more", 4)[3])) == [0x0000]
    answers = archive.wait_for(5)
    (refused,) = (running.spool.folder / "refused").iterdir()
    assert "BodyPartExamined is KNEE" in (refused / REASON).read_text()
    # Who routed it finds the reason in the archive, in the study itself.
    (told,) = [one for one in answers if one.SeriesDescription.startswith("NOT READ")]
    image = dcmread(knee)
    assert (told.StudyInstanceUID, told.PatientID) == (image.StudyInstanceUID, image.PatientID)
    first = told.ContentSequence[0].TextValue
    assert first == "NOT READ: BodyPartExamined is KNEE, expected CHEST or nothing", first
    assert "Mass" not in str(told.ContentSequence), "no word of a finding that nobody looked for"
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
    assert line.startswith(f"study {tmp_path.name}: 2 images or series without an answer")
    assert "StudyInstanceUID is missing" in line and "BodyPartExamined is KNEE" in line and name not in line
    with pytest.raises(InputError, match=r"StudyInstanceUID is missing.*BodyPartExamined is KNEE"):
        reader.read(tmp_path, [nobody, knee])
    reader.predictor.close()


@pytest.mark.parametrize("error", [MemoryError(), OSError(errno.ENOSPC, "No space left on device")])
def test_want_of_room_while_a_report_is_made_is_not_held_against_the_header(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr("srcmatters.deployment.dicom_results.result_objects.report", Mock(side_effect=error))
    reader = BundleReader(write_bundle(tmp_path / "bundle"))
    with pytest.raises(type(error)):
        reader.read(tmp_path, write_radiographs(tmp_path / "films", patients=1))
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
    running, port = start(reader)
    assert send(port, dcmread(write_radiographs(tmp_path / "films")[0])) == [0x0000]
    archive.wait_for(1)
    assert failed and not running.spool.batches("refused")
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
    seal(bundle, network="vit_b14")
    with pytest.raises(InputError, match="vit_b14 has no feature maps for Grad-CAM, expected efficientnet"):
        BundleReader(bundle, captures=True)


@pytest.mark.parametrize("captures", [False, True])
def test_serve_reads_with_the_bundle_and_says_at_the_start_what_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, captures: bool
) -> None:
    served: list[Any] = []
    monkeypatch.setattr(server, "Server", lambda reader, settings: served.append(reader))
    monkeypatch.setattr(server, "serve_until_stopped", lambda *_: None)
    monkeypatch.setattr(redaction, "log_own_lines_only", lambda: None)
    bundle = write_bundle(tmp_path / "bundle")
    options = [str(bundle), "--send-to", "ARCHIVE@127.0.0.1:4242", *["--sc"] * captures]
    with caplog.at_level(logging.INFO):
        assert CliRunner().invoke(serve_command.serve, options).exit_code == 0
    (made,) = served
    assert isinstance(made, BundleReader) and made.captures == captures
    rules = made.predictor.rules
    assert caplog.messages == [f"reads with {rules['name']}", *disclaimers(rules)]
    with pytest.raises(InputError, match="no such bundle"):
        serve_command._make_reader(None, tmp_path / "nowhere", captures)


def test_capture_and_another_reader_exclude_each_other(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--sc, --reader: expected one of them"):
        serve_command._make_reader("dicom_nodes:make_counting_reader", tmp_path, True)
