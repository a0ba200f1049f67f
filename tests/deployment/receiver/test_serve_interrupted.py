"""`srcmatters serve` in a process of its own: killed, told to stop, started wrongly."""

import multiprocessing
import os
import random
import re
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
from click.testing import CliRunner
from dicom_nodes import (
    PATIENT_NAME,
    Archive,
    CountingReader,
    association,
    counting_report,
    counts,
    radiograph,
    wait_until,
)
from pydicom.uid import generate_uid

from srcmatters.deployment.receiver.sending import SendingThread
from srcmatters.deployment.receiver.spool import Spool
from srcmatters.deployment.serve_command import serve
from srcmatters.errors import InputError

Launch = Callable[..., tuple[BaseProcess, int]]


def _serve(options: list[str], log: Path) -> None:
    """What the process does: the command, and nothing of the tests'."""
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(descriptor, stream)
    sys.stderr = os.fdopen(descriptor, "w", buffering=1)
    serve.main(options, standalone_mode=False)


@pytest.fixture
def launch(tmp_path: Path, archive: Archive) -> Iterator[Launch]:
    """Run `srcmatters serve` until it listens -> process, port; it logs to ``tmp_path / "log"``.

    The process is forked, so that it need not import anything again.
    """
    running: list[BaseProcess] = []
    counting_report([radiograph()])  # fills the caches of highdicom, once for all processes

    def launched(reader: str = "make_counting_reader") -> tuple[BaseProcess, int]:
        log = tmp_path / "log"
        seen = len(log.read_text()) if log.exists() else 0
        options = ["no-bundle", "--reader", f"dicom_nodes:{reader}", "--port", "0", "--settle-seconds", "0.3"]
        options += ["--send-to", f"ARCHIVE@127.0.0.1:{archive.port}", "--spool", str(tmp_path / "spool")]
        process = multiprocessing.get_context("fork").Process(target=_serve, args=(options, log))
        process.start()
        running.append(process)
        wait_until(
            lambda: (log.exists() and "results go to" in log.read_text()[seen:]) or not process.is_alive(),
            "the server",
        )
        match = re.search(r"listens on 127.0.0.1, port (\d+)", log.read_text()[seen:])
        assert match, log.read_text()[seen:]
        return process, int(match[1])

    yield launched
    for process in running:
        process.kill()
        process.join()


def _exit_status(process: BaseProcess) -> int | None:
    """Of a process that ends within seconds, None of one that does not."""
    process.join(15)
    return process.exitcode


def _send_until_it_ends(port: int, acknowledged: list[str]) -> None:
    """Send studies of one image each in one association; note what was acknowledged."""
    with association(port) as opened:
        opened.dimse_timeout = 5
        while opened.is_established:
            image = radiograph()
            try:
                answer = opened.send_c_store(image)
            except RuntimeError:
                return
            if answer.get("Status") == 0x0000:
                acknowledged.append(str(image.StudyInstanceUID))


def test_killed_again_and_again_every_acknowledged_study_is_answered(
    launch: Launch, archive: Archive, tmp_path: Path
) -> None:
    acknowledged: list[str] = []
    for _ in range(2):  # once more, and the study at hand may be put aside as the cause
        process, port = launch()
        sender = threading.Thread(target=_send_until_it_ends, args=(port, acknowledged))
        sender.start()
        before = len(acknowledged)
        wait_until(lambda before=before: len(acknowledged) > before + 2, "some studies")
        time.sleep(random.uniform(0, 0.3))
        process.kill()
        sender.join()
    assert len(acknowledged) > 3
    launch()
    wait_until(lambda: set(acknowledged) <= set(counts(archive.received)), "all answers")
    wait_until(lambda: not [*(tmp_path / "spool").glob("*/*/*.dcm")], "an empty spool")
    # Only a kill between the archive's answer and its note repeats a result, and then the very same one.
    answers = {str(result.SOPInstanceUID): str(result.StudyInstanceUID) for result in archive.received}
    assert sorted(answers.values()) == sorted(set(answers.values()))


@pytest.mark.slow
def test_a_hundred_acknowledged_instances_and_a_kill_are_a_hundred_reports(
    launch: Launch, archive: Archive, tmp_path: Path
) -> None:
    process, port = launch()
    images = [radiograph() for _ in range(100)]
    with association(port) as opened:
        statuses: list[int | None] = []
        for image in images:
            status = None
            while status != 0x0000:  # 0xA700 while 64 studies wait: the sender tries again
                status = opened.send_c_store(image).get("Status")
                assert status in (0x0000, 0xA700)
            statuses.append(status)
        process.kill()
    process.join()
    assert statuses == [0x0000] * 100 and len(archive.received) < 100
    launch()
    wait_until(lambda: len(set(counts(archive.received))) == 100, "a hundred reports")
    assert set(counts(archive.received)) == {image.StudyInstanceUID for image in images}
    wait_until(lambda: not [*(tmp_path / "spool").glob("*/*/*.dcm")], "an empty spool")


def test_sigterm_ends_it_within_seconds_and_loses_nothing(
    launch: Launch, archive: Archive, tmp_path: Path
) -> None:
    process, port = launch()
    acknowledged: list[str] = []
    sender = threading.Thread(target=_send_until_it_ends, args=(port, acknowledged))
    sender.start()
    wait_until(lambda: len(acknowledged) > 3, "some studies")
    with socket.create_connection(("127.0.0.1", port)) as silent:
        silent.sendall(b"\x01\x00\x00\x00\x10\x00half")
        process.terminate()
        assert _exit_status(process) == 0
    sender.join()
    assert "stopped; left:" in (tmp_path / "log").read_text()
    launch()
    wait_until(lambda: set(acknowledged) <= set(counts(archive.received)), "all answers")


def test_sigterm_does_not_wait_for_a_reader_that_does_not_end(
    launch: Launch, archive: Archive, tmp_path: Path
) -> None:
    process, port = launch("make_endless_reader")
    image = radiograph(generate_uid())
    with association(port) as opened:
        assert opened.send_c_store(image).Status == 0x0000
    wait_until(lambda: [*(tmp_path / "spool" / "reading").glob("*/tries")], "the reader")
    process.terminate()
    assert _exit_status(process) == 0
    launch()
    assert counts(archive.wait_for(1)) == {image.StudyInstanceUID: ["1 images"]}


def test_a_study_that_ends_the_program_again_and_again_is_put_aside(
    launch: Launch, archive: Archive, tmp_path: Path
) -> None:
    process, port = launch("make_deadly_reader")
    image = radiograph()
    with association(port) as opened:
        assert opened.send_c_store(image).Status == 0x0000
    assert _exit_status(process) == 3
    for _ in range(2):
        process, _ = launch("make_deadly_reader")
        assert _exit_status(process) == 3
    process, _ = launch("make_deadly_reader")
    refused = tmp_path / "spool" / "refused"
    wait_until(lambda: [*refused.glob("*/reason.txt")], "the refusal")
    assert "ended 3 times" in next(refused.glob("*/reason.txt")).read_text()
    assert PATIENT_NAME.split("^")[0] not in (tmp_path / "log").read_text()
    # Its images are still there, for a program that has been mended.
    process.terminate()
    assert _exit_status(process) == 0
    (study,) = refused.iterdir()
    study.rename(tmp_path / "spool" / "reading" / study.name)
    launch()
    assert counts(archive.wait_for(1)) == {image.StudyInstanceUID: ["1 images"]}


def _end_thread(*_: object) -> float:
    raise SystemExit


@pytest.mark.parametrize("thread", ["reading", "sending"])
def test_a_server_with_a_dead_thread_ends_and_the_next_one_goes_on(
    launch: Launch, archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, thread: str
) -> None:
    image = radiograph()
    with monkeypatch.context() as patch:
        if thread == "reading":
            patch.setattr(CountingReader, "read", _end_thread)
        else:
            patch.setattr(SendingThread, "_send", _end_thread)
        process, port = launch()
    with association(port) as opened:
        assert opened.send_c_store(image).Status == 0x0000
    assert _exit_status(process) == 1
    log = (tmp_path / "log").read_text()
    assert log.count(f"the thread for {thread} has failed: stopping, start this again") == 1
    launch()
    assert counts(archive.wait_for(1)) == {image.StudyInstanceUID: ["1 images"]}


def test_the_name_of_a_study_is_found_by_its_uid_while_the_spool_is_in_use(tmp_path: Path) -> None:
    uid = generate_uid()
    spool = Spool(tmp_path / "spool", keep_refused=True)
    name = spool.hashed(uid)
    spool.keep_instance(name, "1", b"instance")
    batch = spool.take(name)
    spool.refuse(batch, "a foot, expected a chest")
    spool.keep_instance(name, "2", b"instance")
    spool.keep_instance(spool.hashed(generate_uid()), "3", b"instance")
    options = ["bundle", "--send-to", "ARCHIVE@127.0.0.1:4242", "--spool", str(spool.folder), "--which", uid]
    result = CliRunner().invoke(serve, options)
    assert result.exit_code == 0
    lines = [name, f"incoming/{name}", f"refused/{batch}: a foot, expected a chest"]
    assert result.output.splitlines() == lines


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--aet", "SEVENTEEN_LETTERS"], "--aet: 'SEVENTEEN_LETTERS' has 17 characters, expected 1 to 16"),
        (["--calling", ""], "--calling: '' has 0 characters"),
        (["--port", "70000"], "--port: port 70000, expected 0 to 65535"),
        (["--send-to", "ARCHIVE"], "--send-to: 'ARCHIVE', expected AET@host:port"),
        (["--tls-key", "key.pem"], "--tls-certificate, --tls-key: expected both"),
        (["--send-tls"], "--tls-certificate, --tls-key: expected both"),
        (["--which", "1.2.3"], "spool: cannot be read (No such file or directory), expected the spool of"),
        (["--reader", "nowhere:reader"], "--reader: 'nowhere:reader' is not MODULE:FUNCTION"),
    ],
)
def test_a_wrong_option_is_named_before_anything_starts(
    tmp_path: Path, options: list[str], message: str
) -> None:
    spool = tmp_path / "spool"
    words = ["bundle", "--send-to", "ARCHIVE@127.0.0.1:4242", "--reader", "dicom_nodes:make_counting_reader"]
    result = CliRunner().invoke(serve, [*words, "--spool", str(spool), *options])
    assert isinstance(result.exception, InputError)
    assert message in str(result.exception)
    assert not spool.exists()
