"""The receiver over loopback: what is acknowledged is on disk, what is not stays with the sender."""

import errno
import logging
import os
import threading
import time
from io import BytesIO
from pathlib import Path
from unittest.mock import DEFAULT, Mock

import pytest
from dicom_nodes import (
    ACCESSION,
    BIRTH_DATE,
    PATIENT_ID,
    PATIENT_NAME,
    Archive,
    CountingReader,
    Start,
    association,
    counts,
    radiograph,
    send,
    wait_until,
)
from pydicom import Dataset
from pydicom.uid import generate_uid
from pynetdicom import Association
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.dsutils import encode

from srcmatters.deployment.receiver import spool, study_reading as reading
from srcmatters.errors import InputError


def test_a_study_is_answered_with_a_report_that_refers_to_it(start: Start, archive: Archive) -> None:
    _, port = start()
    study = generate_uid()
    images = [radiograph(study) for _ in range(3)]
    assert send(port, *images) == [0x0000] * 3
    (report,) = archive.wait_for(1)
    assert counts([report]) == {study: ["3 images"]}
    (evidence,) = report.CurrentRequestedProcedureEvidenceSequence
    referred = [item for series in evidence.ReferencedSeriesSequence for item in series.ReferencedSOPSequence]
    assert {item.ReferencedSOPInstanceUID for item in referred} == {image.SOPInstanceUID for image in images}


def test_a_series_in_two_associations_in_quick_succession_gets_one_answer(
    start: Start, archive: Archive
) -> None:
    _, port = start(release_settle_seconds=1.0, settle_seconds=5.0)
    study = generate_uid()
    for _ in range(2):
        assert send(port, *(radiograph(study) for _ in range(4))) == [0x0000] * 4
        time.sleep(0.3)
    assert counts(archive.wait_for(1)) == {study: ["8 images"]}
    time.sleep(1.5)
    assert len(archive.received) == 1


def test_the_log_tells_when_a_study_comes_again(
    start: Start, archive: Archive, caplog: pytest.LogCaptureFixture
) -> None:
    server, port = start()
    image = radiograph()
    late = radiograph(image.StudyInstanceUID)
    with caplog.at_level(logging.INFO):
        for number, sent in enumerate((image, image, late), 1):
            send(port, sent)
            archive.wait_for(number)
    lines = [message for message in caplog.messages if "comes again" in message]
    assert len(lines) == 2
    assert "nothing in it is new" in lines[0] and "with 1 further instances" in lines[1]
    assert all(line.startswith(f"study {server.spool.hashed(image.StudyInstanceUID)}") for line in lines)


def test_an_answered_study_leaves_the_spool(start: Start, archive: Archive, tmp_path: Path) -> None:
    _, port = start()
    send(port, radiograph())
    archive.wait_for(1)
    wait_until(lambda: not [*(tmp_path / "spool").rglob("*.dcm")], "an empty spool")


def test_what_is_acknowledged_is_on_disk(start: Start, tmp_path: Path) -> None:
    _, port = start(settle_seconds=60)
    image = radiograph()
    with association(port) as opened:
        assert opened.send_c_store(image).Status == 0x0000
        (kept,) = (tmp_path / "spool" / "incoming").glob("*/*")
        assert image.PixelData in kept.read_bytes()


def _encoded(image: Dataset) -> bytes:
    return encode(image, is_implicit_vr=False, is_little_endian=True) or b""


def _send_raw(opened: Association, image: Dataset, announced: str, content: bytes) -> int | None:
    """C-STORE of bytes as they are, whatever they mean; the status."""
    request = C_STORE()
    request.MessageID, request.Priority = 1, 2
    request.AffectedSOPClassUID, request.AffectedSOPInstanceUID = image.SOPClassUID, announced
    request.DataSet = BytesIO(content)
    context = next(one for one in opened.accepted_contexts if one.abstract_syntax == image.SOPClassUID)
    opened._reactor_checkpoint.clear()
    opened.dimse.send_msg(request, context.context_id)
    _, answer = opened.dimse.get_msg(block=True)
    opened._reactor_checkpoint.set()
    return answer and answer.Status


def test_an_abort_in_the_middle_loses_nothing_that_was_acknowledged(start: Start, archive: Archive) -> None:
    _, port = start()
    study = generate_uid()
    with association(port) as opened:
        assert opened.send_c_store(radiograph(study)).Status == 0x0000
        opened.abort()
    assert send(port, radiograph(study)) == [0x0000]
    assert counts(archive.wait_for(1)) == {study: ["2 images"]}


def test_a_flood_of_200_instances_in_20_studies_is_answered_completely(
    start: Start, archive: Archive
) -> None:
    _, port = start(max_queued=20)
    studies = [generate_uid() for _ in range(20)]

    def sender(part: list[str]) -> None:
        assert set(send(port, *(radiograph(study) for study in part for _ in range(10)))) == {0x0000}

    senders = [threading.Thread(target=sender, args=(studies[number::4],)) for number in range(4)]
    for thread in senders:
        thread.start()
    for thread in senders:
        thread.join()
    assert counts(archive.wait_for(20)) == {study: ["10 images"] for study in studies}


def test_more_studies_than_may_wait_stay_with_the_sender(start: Start, archive: Archive) -> None:
    go_on = threading.Event()
    _, port = start(CountingReader(before=lambda folder: go_on.wait(30)), max_queued=2)
    reading, *waiting, excess = images = [radiograph() for _ in range(4)]
    assert send(port, reading) == [0x0000]
    time.sleep(0.2)  # the reader has taken it
    assert send(port, *waiting) == [0x0000, 0x0000]
    assert send(port, excess) == [0xA700]
    assert send(port, radiograph(waiting[0].StudyInstanceUID)) == [0x0000]
    go_on.set()
    archive.wait_for(3)
    assert send(port, excess) == [0x0000]
    reports = counts(archive.wait_for(4))
    assert reports == {image.StudyInstanceUID: ["1 images"] for image in images} | {
        waiting[0].StudyInstanceUID: ["2 images"]
    }


def test_a_full_disk_leaves_the_instance_with_the_sender(
    start: Start, archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, port = start()
    image = radiograph()

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        assert send(port, image) == [0xA700]
    assert send(port, image) == [0x0000]
    assert counts(archive.wait_for(1)) == {image.StudyInstanceUID: ["1 images"]}


@pytest.mark.parametrize("missing", ["StudyInstanceUID", "SOPInstanceUID of another"])
def test_an_instance_that_belongs_nowhere_is_refused_at_the_door(
    start: Start, archive: Archive, tmp_path: Path, missing: str
) -> None:
    _, port = start()
    image, good = radiograph(), radiograph()
    with association(port) as opened:
        if missing == "StudyInstanceUID":
            del image.StudyInstanceUID
            assert opened.send_c_store(image).Status == 0xC000
        else:
            assert _send_raw(opened, image, generate_uid(), _encoded(image)) == 0xC000
        assert opened.send_c_store(good).Status == 0x0000
    assert set(counts(archive.wait_for(1))) == {good.StudyInstanceUID}


def test_malformed_datasets_crash_nothing(start: Start, archive: Archive) -> None:
    _, port = start()
    good = radiograph()
    with association(port) as opened:
        for mutilate in (
            lambda whole: b"\x00",
            lambda whole: b"\xff" * 500,
            lambda whole: whole[:20],
            lambda whole: whole[:-900],
            lambda whole: whole[:300] + b"\xff" * 300,
            lambda whole: whole.replace(b"DX", b"\xff\xfe"),
        ):
            image = radiograph()
            status = _send_raw(opened, image, image.SOPInstanceUID, mutilate(_encoded(image)))
            assert status in (0x0000, 0xC000)
        assert opened.send_c_store(good).Status == 0x0000
    wait_until(lambda: good.StudyInstanceUID in counts(archive.received), "the good one")


def test_of_a_refused_study_the_reason_is_kept_without_the_patient(
    start: Start, archive: Archive, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    _, port = start()
    empty, good = radiograph(), radiograph()
    del empty.Rows
    with caplog.at_level(logging.INFO):
        assert send(port, empty, good) == [0x0000, 0x0000]
        archive.wait_for(1)
        refused = tmp_path / "spool" / "refused"
        wait_until(lambda: [*refused.glob("*/reason.txt")], "the reason")
    (reason,) = refused.glob("*/reason.txt")
    assert "no image, expected Rows" in reason.read_text()
    assert [*reason.parent.iterdir()] == [reason]
    assert not [
        word for word in (*PATIENT_NAME.split("^"), empty.SOPInstanceUID) if word in reason.read_text()
    ]
    line = next(record.getMessage() for record in caplog.records if "refused" in record.getMessage())
    assert "no image, expected Rows" in line
    assert "[removed]" in line


def test_a_reader_that_fails_costs_one_study_and_says_where(
    start: Start, archive: Archive, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(folder: Path) -> None:
        if not failed:
            failed.append(folder)
            raise KeyError(PATIENT_NAME)

    failed: list[Path] = []
    _, port = start(CountingReader(before=fail))
    with caplog.at_level(logging.INFO):
        assert send(port, radiograph()) == [0x0000]
        wait_until(lambda: failed, "the failure")
        assert send(port, radiograph()) == [0x0000]
        archive.wait_for(1)
    (reason,) = (tmp_path / "spool" / "refused").glob("*/reason.txt")
    assert f"KeyError in {Path(__file__).name}, line" in reason.read_text()


def _fail_times(error: Exception, times: int) -> tuple[CountingReader, list[Path]]:
    """A reader that fails so often, and what it was given."""
    begun: list[Path] = []

    def fail(folder: Path) -> None:
        begun.append(folder)
        if len(begun) <= times:
            raise error

    return CountingReader(before=fail), begun


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, PATIENT_NAME), MemoryError(PATIENT_NAME)])
def test_a_study_for_which_there_was_no_room_is_read_later_and_others_meanwhile(
    start: Start,
    archive: Archive,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
) -> None:
    monkeypatch.setattr(reading, "RETRY_SECONDS", 2.0)
    reader, begun = _fail_times(error, 1)
    _, port = start(reader)
    first, second = radiograph(), radiograph()
    assert send(port, first) == [0x0000]
    wait_until(lambda: begun, "the failure")
    assert send(port, second) == [0x0000]
    studies = [report.StudyInstanceUID for report in archive.wait_for(2)]
    assert studies == [second.StudyInstanceUID, first.StudyInstanceUID]
    assert f"the reader failed: {type(error).__name__} in {Path(__file__).name}" in caplog.text
    assert PATIENT_NAME not in caplog.text


def test_a_study_for_which_there_is_no_room_for_long_is_read_in_the_end_ever_less_often_tried(
    start: Start, archive: Archive, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(reading, "RETRY_SECONDS", 0.1)
    monkeypatch.setattr(reading, "LONGEST_RETRY_SECONDS", 0.5)
    reader, begun = _fail_times(MemoryError(), 5)
    _, port = start(reader)
    image = radiograph()
    assert send(port, image) == [0x0000]
    assert counts(archive.wait_for(1)) == {image.StudyInstanceUID: ["1 images"]}
    assert len(begun) == 6 > reading.MAX_TRIES
    delays = [record.args[2] for record in caplog.records if "read again in" in record.getMessage()]
    assert delays == [0.1, 0.2, 0.4, 0.5, 0.5]


def test_a_study_whose_files_the_disk_does_not_give_back_is_not_deleted(
    start: Start, archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "RETRY_SECONDS", 0.1)
    monkeypatch.setattr(
        reading, "_read_through", Mock(side_effect=[OSError(errno.EIO, "Input/output error")])
    )
    reader, begun = _fail_times(InputError("not readable"), 1)
    server, port = start(reader)
    assert send(port, radiograph()) == [0x0000]
    archive.wait_for(1)
    assert len(begun) == 2 and not list((server.spool.folder / "refused").iterdir())


def test_want_of_memory_while_a_result_is_written_is_not_held_against_it(
    start: Start, archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "RETRY_SECONDS", 0.1)
    server, port = start()
    parts: list[list[Path]] = []

    def begin(batch: str) -> int:
        parts.append(list((server.spool.folder / "outgoing").iterdir()))
        return 1

    monkeypatch.setattr(server.spool, "begin", begin)
    write = Mock(side_effect=[MemoryError(), DEFAULT], wraps=spool.dcmwrite)
    monkeypatch.setattr(spool, "dcmwrite", write)
    assert send(port, radiograph()) == [0x0000]
    archive.wait_for(1)
    assert parts == [[], []] and not list((server.spool.folder / "refused").iterdir())


def test_a_study_that_the_program_fails_at_is_kept_and_read_once_it_is_moved_back(
    start: Start, archive: Archive, caplog: pytest.LogCaptureFixture
) -> None:
    reader, _ = _fail_times(KeyError(PATIENT_NAME), 1)
    server, port = start(reader)
    image = radiograph()
    with caplog.at_level(logging.INFO):
        assert send(port, image) == [0x0000]
        wait_until(lambda: server.spool.batches("refused"), "the study put aside")
        assert server.stop()
    (batch,) = server.spool.batches("refused")
    assert len(server.spool.files("refused", batch)) == 1
    assert f"move refused/{batch} to reading/" in caplog.text and PATIENT_NAME not in caplog.text
    (server.spool.folder / "refused" / batch).rename(server.spool.folder / "reading" / batch)
    caplog.clear()
    start(reader)
    assert counts(archive.wait_for(1)) == {image.StudyInstanceUID: ["1 images"]}
    assert "comes again" not in caplog.text


def test_a_spool_that_is_full_for_long_is_no_reason_to_refuse(
    start: Start, archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "RETRY_SECONDS", 0.05)
    reader, begun = _fail_times(OSError(), 0)
    server, port = start(reader)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(server.spool, "commit", full)
        assert send(port, radiograph()) == [0x0000]
        wait_until(lambda: len(begun) > 2 * reading.MAX_TRIES, "some tries")
    archive.wait_for(1)


def test_no_log_of_any_library_holds_identifiers(
    start: Start,
    archive: Archive,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture,
) -> None:
    images = [radiograph(), radiograph(), radiograph()]
    del images[1].Rows
    with caplog.at_level(logging.DEBUG):
        _, port = start()
        with association(port) as opened:
            for image in images:
                opened.send_c_store(image)
            opened.abort()
        archive.wait_for(2)
        wait_until(lambda: [*(tmp_path / "spool" / "refused").iterdir()], "the refusal")
    logged = " ".join([caplog.text, *capfd.readouterr()]).lower()
    assert "refused" in logged
    secrets = [*PATIENT_NAME.split("^"), PATIENT_ID, BIRTH_DATE, ACCESSION]
    secrets += [str(image[key].value) for image in images for key in ("SOPInstanceUID", "StudyInstanceUID")]
    secrets += [str(report.SOPInstanceUID) for report in archive.received]
    assert not [secret for secret in secrets if secret.lower() in logged]
