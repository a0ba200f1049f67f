"""Results reach the archive, however long it takes, and none keeps another waiting."""

import errno
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from dicom_nodes import Archive, Start, counting_report, counts, radiograph, send, wait_until
from pydicom.uid import ImplicitVRLittleEndian, SecondaryCaptureImageStorage

from srcmatters.deployment.dicom_association import Destination, Tls, receiving_context, sending_context
from srcmatters.deployment.receiver import sending
from srcmatters.deployment.receiver.sending import SendingThread
from srcmatters.deployment.receiver.spool import Spool


@pytest.fixture(autouse=True)
def short_delay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "FIRST_DELAY_SECONDS", 0.2)


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    opened = Spool(tmp_path / "spool")
    yield opened
    opened.close()


def _read(spool: Spool, *names: str, results: int = 1) -> dict[str, str]:
    """Put studies that have been read into the spool: name -> its Study Instance UID."""
    studies = {}
    for name in names:
        image = radiograph()
        spool.keep_instance(name, "1", b"instance")
        spool.commit(spool.take(name), [counting_report([image]) for _ in range(results)])
        studies[name] = image.StudyInstanceUID
    return studies


def _send_all(spool: Spool, port: int, **more: object) -> None:
    thread = SendingThread(spool, Destination("ARCHIVE", "localhost", port), "SRCMATTERS", **more)
    thread.start()
    wait_until(lambda: not spool.unsent(), "an empty spool")
    assert thread.stop(5)


def test_a_study_that_the_archive_does_not_want_keeps_no_other_waiting(spool: Spool) -> None:
    studies = _read(spool, "first", "second")
    archive = Archive(statuses=[0xA700])
    _send_all(spool, archive.port)
    archive.close()
    assert [result.StudyInstanceUID for result in archive.received] == [studies["second"], studies["first"]]


def test_a_result_that_the_archive_does_not_want_keeps_no_other_of_its_study_waiting(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "FIRST_DELAY_SECONDS", 60.0)
    _read(spool, "first", results=3)
    (batch,) = spool.unsent()
    files = spool.files("outgoing", batch)
    archive = Archive(statuses=[0xC000])
    thread = SendingThread(spool, Destination("ARCHIVE", "localhost", archive.port), "SRCMATTERS")
    thread.start()
    archive.wait_for(2)
    wait_until(lambda: len(spool.files("outgoing", batch)) == 1, "the rest")
    assert thread.stop(5)
    archive.close()
    assert spool.files("outgoing", batch) == files[:1]


def test_a_kind_of_result_that_the_archive_does_not_know_keeps_no_other_waiting(
    spool: Spool, caplog: pytest.LogCaptureFixture
) -> None:
    report, unknown = counting_report([radiograph()]), radiograph()
    spool.keep_instance("first", "1", b"instance")
    batch = spool.take("first")
    spool.commit(batch, [unknown, report])  # the archive of these tests takes no radiographs
    archive = Archive()
    thread = SendingThread(spool, Destination("ARCHIVE", "localhost", archive.port), "SRCMATTERS")
    thread.start()
    assert [result.SOPInstanceUID for result in archive.wait_for(1)] == [report.SOPInstanceUID]
    assert thread.stop(5)
    archive.close()
    assert [path.name for path in spool.files("outgoing", batch)] == ["0001.dcm"]
    assert "it accepts no Digital X-Ray Image Storage - For Presentation" in caplog.text


def test_a_spool_that_cannot_be_listed_for_a_while_ends_no_sending(
    spool: Spool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sending, "RETRY_SECONDS", 0.1)
    studies = _read(spool, "first")
    archive = Archive()
    thread = SendingThread(spool, Destination("ARCHIVE", "localhost", archive.port), "SRCMATTERS")

    def exhausted() -> list[str]:
        raise OSError(errno.EMFILE, "Too many open files", str(spool.folder))

    with monkeypatch.context() as patch:
        patch.setattr(spool, "unsent", exhausted)
        thread.start()
        wait_until(
            lambda: caplog.messages.count("the spool cannot be read (OSError): trying again") > 1, "it"
        )
    assert set(counts(archive.wait_for(1))) == set(studies.values())
    assert thread.stop(5)
    archive.close()


def test_an_archive_of_the_default_transfer_syntax_gets_reports_and_images(spool: Spool) -> None:
    report, image = counting_report([radiograph()]), radiograph()
    spool.keep_instance("first", "1", b"instance")
    spool.commit(spool.take("first"), [report, image])
    kinds = [report.SOPClassUID, image.SOPClassUID]
    archive = Archive(kinds=kinds, syntaxes=[ImplicitVRLittleEndian])
    _send_all(spool, archive.port)
    archive.close()
    assert [one.SOPClassUID for one in archive.received] == kinds
    assert archive.received[0].ContentSequence[0].TextValue == "1 images"
    assert archive.received[1].PixelData == image.PixelData


def test_an_archive_that_takes_no_result_is_said_to(spool: Spool, caplog: pytest.LogCaptureFixture) -> None:
    _read(spool, "first")
    archive = Archive(kinds=[SecondaryCaptureImageStorage])
    thread = SendingThread(spool, Destination("ARCHIVE", "localhost", archive.port), "SRCMATTERS")
    thread.start()
    wait_until(lambda: "it accepts no Comprehensive SR Storage" in caplog.text, "the reason")
    assert thread.stop(5)
    archive.close()


def test_an_archive_that_has_a_result_already_is_not_sent_it_again(spool: Spool) -> None:
    _read(spool, "first")
    archive = Archive(statuses=[0x0111] * 100)
    _send_all(spool, archive.port)
    archive.close()
    assert archive.store_requests == 1


def test_an_abort_costs_no_result_and_repeats_none(spool: Spool) -> None:
    _read(spool, "first", results=3)
    archive = Archive(statuses=[0x0000, None])
    _send_all(spool, archive.port)
    archive.close()
    uids = [result.SOPInstanceUID for result in archive.received]
    assert len(uids) == len(set(uids)) == 3


def test_an_archive_that_is_away_gets_its_results_when_it_is_back(start: Start, archive: Archive) -> None:
    server, port = start()
    archive.close()
    image = radiograph()
    send(port, image)
    wait_until(lambda: server.spool.unsent(), "a result")
    time.sleep(0.3)
    back = Archive(port=archive.port)
    assert counts(back.wait_for(1)) == {image.StudyInstanceUID: ["1 images"]}
    wait_until(lambda: not server.spool.unsent(), "an empty spool")
    back.close()


def test_attempts_become_rarer(spool: Spool, caplog: pytest.LogCaptureFixture) -> None:
    _read(spool, "first")
    archive = Archive(statuses=[0xA700] * 3)
    _send_all(spool, archive.port)
    archive.close()
    delays = [record.args[3] for record in caplog.records if "next attempt" in record.getMessage()]
    assert delays == [0.2, 0.4, 0.8]


def test_news_of_one_study_do_not_hasten_another(
    spool: Spool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sending, "FIRST_DELAY_SECONDS", 60.0)
    _read(spool, "first")
    archive = Archive(statuses=[0xA700])
    thread = SendingThread(spool, Destination("ARCHIVE", "localhost", archive.port), "SRCMATTERS")
    thread.start()
    wait_until(lambda: "next attempt" in caplog.text, "the first attempt")
    (later,) = _read(spool, "second").values()
    thread.notify()
    assert [result.StudyInstanceUID for result in archive.wait_for(1)] == [later]
    time.sleep(0.3)
    assert thread.stop(5)
    archive.close()
    assert len(archive.received) == 1


def test_acknowledged_results_are_kept_on_wish(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "keeping", keep_sent=True)
    _read(spool, "first")
    archive = Archive()
    _send_all(spool, archive.port)
    archive.close()
    assert len([*(spool.folder / "done").glob("first-*/0001.dcm")]) == 1
    assert spool.batches("outgoing") == []
    spool.close()


def test_results_go_out_encrypted_to_an_archive_that_wants_it(spool: Spool, certificates: Tls) -> None:
    studies = _read(spool, "first")
    archive = Archive(tls=receiving_context(certificates))
    _send_all(spool, archive.port, tls=sending_context(certificates))
    archive.close()
    assert set(counts(archive.received)) == set(studies.values())
