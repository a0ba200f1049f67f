"""End to end with a real archive: a study goes into Orthanc, is routed to us, and our report comes back."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
import requests
from dicom_nodes import CountingReader, association, radiograph, wait_until
from orthanc_node import TITLE, Orthanc, orthanc_program
from prediction_cases import changed, write_bundle, write_radiographs
from pydicom import dcmread
from pydicom.uid import SecondaryCaptureImageStorage

from srcmatters.cohorts.phantom_cohort import write_phantom_cohort
from srcmatters.deployment.dicom_association import Destination
from srcmatters.deployment.receiver.bundle_reader import BundleReader
from srcmatters.deployment.receiver.server import Server, ServerSettings
from srcmatters.deployment.receiver.store_scp import Address


@pytest.fixture
def connected(orthanc: Orthanc, tmp_path: Path) -> Iterator[Callable[[], Server]]:
    """A server that Orthanc knows as ``reader``, and that answers to Orthanc."""
    destination = Destination(TITLE, "127.0.0.1", orthanc.dicom)
    address = Address("SRCMATTERS", port=0, calling=(TITLE,), allowed=(ip_network("127.0.0.1"),))
    settings = ServerSettings(address, destination, tmp_path / "spool", settle_seconds=0.5)
    server = Server(CountingReader(), settings)
    port = server.start()
    orthanc.introduce("reader", "SRCMATTERS", port)
    yield lambda: server
    assert server.stop()


@pytest.fixture
def command(orthanc: Orthanc, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """`srcmatters serve` with random weights, as a user starts it; it logs to ``tmp_path / "log"``."""
    bundle = shutil.make_archive(str(tmp_path / "bundle"), "zip", write_bundle(tmp_path / "bundle"))
    (tmp_path / "temporary").mkdir()
    options = ["serve", bundle, "--aet", "SRCMATTERS", "--port", "0", "--calling", TITLE]
    options += ["--send-to", f"{TITLE}@127.0.0.1:{orthanc.dicom}", "--spool", tmp_path / "spool"]
    options += ["--sc"]
    program = [sys.executable, "-c", "from srcmatters.cli import main; main()", *map(str, options)]
    with (tmp_path / "log").open("w") as log:
        environment = os.environ | {"TMPDIR": str(tmp_path / "temporary")}
        process = subprocess.Popen(program, stdout=log, stderr=log, env=environment)
    yield process
    process.kill()
    process.wait(timeout=30)


def _listening_port(process: subprocess.Popen[bytes], log: Path) -> int:
    def listens() -> bool:
        assert process.poll() is None, log.read_text()
        return "results go to" in log.read_text()

    wait_until(listens, "the server")
    match = re.search(r"listens on 127.0.0.1, port (\d+)", log.read_text())
    assert match, log.read_text()
    return int(match[1])


def test_a_study_routed_by_orthanc_comes_back_as_a_report(
    orthanc: Orthanc, connected: Callable[[], Server], tmp_path: Path
) -> None:
    write_phantom_cohort(tmp_path / "phantom", patients=2, image_size=64, file_format="dicom")
    files = sorted((tmp_path / "phantom").rglob("*.dcm"))
    stored = [orthanc.rest("POST", "instances", data=file.read_bytes()) for file in files]
    studies = sorted({instance["ParentStudy"] for instance in stored})
    assert len(studies) == 2
    assert requests.post(f"http://127.0.0.1:{orthanc.http}/modalities/reader/echo", json={}, timeout=30).ok
    for study in studies:
        answer = orthanc.rest("POST", "modalities/reader/store", json={"Resources": [study]})
        assert answer["FailedInstancesCount"] == 0
    wait_until(lambda: len(orthanc.instances("SR")) == 2, "the reports")
    for study in studies:
        details = orthanc.rest("GET", f"studies/{study}")
        kinds = [
            orthanc.rest("GET", f"series/{series}")["MainDicomTags"]["Modality"]
            for series in details["Series"]
        ]
        assert sorted(set(kinds)) == ["DX", "SR"], "the report is filed with the images"
    for report in orthanc.instances("SR"):
        tags = orthanc.rest("GET", f"instances/{report['ID']}/simplified-tags")
        images = sum(instance["ParentStudy"] == _study_of(orthanc, report["ID"]) for instance in stored)
        assert tags["ContentSequence"][0]["TextValue"] == f"{images} images"


def _study_of(orthanc: Orthanc, instance: str) -> str:
    return orthanc.rest("GET", f"instances/{instance}/study")["ID"]


def test_radiographs_in_orthanc_are_answered_by_the_command_with_a_bundle(
    orthanc: Orthanc, command: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    films = write_radiographs(tmp_path / "films", 2)
    orthanc.introduce("reader", "SRCMATTERS", _listening_port(command, tmp_path / "log"))
    studies = {}
    for film in films:
        stored = orthanc.rest("POST", "instances", data=film.read_bytes())
        studies[dcmread(film).SOPInstanceUID] = stored["ParentStudy"]
    sent = orthanc.rest("POST", "modalities/reader/store", json={"Resources": [*studies.values()]})
    assert sent["FailedInstancesCount"] == 0
    for modality in ("SR", "OT"):
        wait_until(lambda modality=modality: len(orthanc.instances(modality)) == len(films), modality)
        answers = [_tags(orthanc, instance["ID"]) for instance in orthanc.instances(modality)]
        # Each is about one of the images, lies in the study of that image, and says what it is not for.
        assert {_about(tags): tags["study"] for tags in answers} == studies
        assert all("RESEARCH USE ONLY" in str(tags) for tags in answers)
    command.send_signal(signal.SIGTERM)
    assert command.wait(timeout=30) == 0
    _check_traces(tmp_path, [dcmread(film) for film in films])


def _tags(orthanc: Orthanc, instance: str) -> dict[str, Any]:
    """Contents by keyword, and the identifier of the study in Orthanc."""
    tags = orthanc.rest("GET", f"instances/{instance}/simplified-tags")
    return tags | {"study": _study_of(orthanc, instance)}


def _about(tags: dict[str, Any]) -> str:
    """SOP Instance UID of the one image, besides our own, that an answer refers to."""
    reference = r"'ReferencedSOPClassUID': '([0-9.]+)', 'ReferencedSOPInstanceUID': '([0-9.]+)'"
    images = {uid for kind, uid in re.findall(reference, str(tags)) if kind != SecondaryCaptureImageStorage}
    (uid,) = images
    return str(uid)


def _check_traces(folder: Path, films: list[Any]) -> None:
    """Nothing waits in the spool, nothing of the bundle stays in another place, and the log names nobody."""
    assert not [*(folder / "temporary").glob("srcmatters-bundle-*")]
    left = [
        path for stage in ("incoming", "reading", "outgoing") for path in (folder / "spool" / stage).iterdir()
    ]
    assert not left
    log = (folder / "log").read_text().lower()
    assert "research use only: not a medical device" in log
    assert "results sent to" in log and "stopped; left: 0 received, 0 begun, 0 unsent" in log
    for film in films:
        for secret in (*str(film.PatientName).split("^"), film.PatientID, film.StudyInstanceUID):
            assert secret and secret.lower() not in log


@pytest.fixture
def routing_orthanc(tmp_path: Path) -> Iterator[Orthanc]:
    """An Orthanc that sends on every series with the script of docs/clinical.md."""
    text = (Path(__file__).parents[3] / "docs" / "clinical.md").read_text()
    (script,) = re.findall(r"```lua\n(.*?)```", text, re.DOTALL)
    yield from _routing(tmp_path, script)


def _routing(folder: Path, script: str) -> Iterator[Orthanc]:
    program = orthanc_program()
    if program is None:
        pytest.skip("no Orthanc on PATH: apt-get install orthanc; routing by its script was not tried")
    (folder / "orthanc").mkdir()
    (folder / "orthanc" / "route.lua").write_text(script)
    settings = {"LuaScripts": ["route.lua"], "StableAge": 1, "DicomCheckModalityHost": True}
    running = Orthanc(program, folder / "orthanc", **settings)
    yield running
    running.close()


def test_the_documented_script_routes_images_and_no_report_goes_round_in_circles(
    routing_orthanc: Orthanc, tmp_path: Path
) -> None:
    reader = CountingReader()
    address = Address("SRCMATTERS", port=0, calling=(TITLE,), allowed=(ip_network("127.0.0.1"),))
    destination = Destination(TITLE, "127.0.0.1", routing_orthanc.dicom)
    server = Server(reader, ServerSettings(address, destination, tmp_path / "spool", settle_seconds=0.5))
    routing_orthanc.introduce("reader", "SRCMATTERS", server.start())
    routing_orthanc.introduce("modality", "SENDER", 1)
    image = radiograph()
    with association(routing_orthanc.dicom, called=TITLE) as opened:
        assert opened.send_c_store(image).Status == 0x0000
    wait_until(lambda: routing_orthanc.instances("SR"), "the report")
    # The report is stable after a second, as the images were; it would have been sent by then.
    wait_until(lambda: _stable_series(routing_orthanc) == 2, "a stable report")
    assert server.stop()
    assert reader.read_studies == [(image.StudyInstanceUID, 1)] and len(routing_orthanc.instances("SR")) == 1


#: What people write first: the whole study, reports included, whenever it has changed.
_WHOLE_STUDIES = """
function OnStableStudy(studyId, tags, metadata)
  RestApiPost('/modalities/reader/store', '{"Resources": ["' .. studyId .. '"], "Asynchronous": true}')
end
"""


@pytest.fixture
def routing_whole_studies(tmp_path: Path) -> Iterator[Orthanc]:
    yield from _routing(tmp_path, _WHOLE_STUDIES)


def test_whole_studies_are_routed_with_our_answers_in_them_and_no_job_fails(
    routing_whole_studies: Orthanc, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    archive = routing_whole_studies
    films = write_radiographs(tmp_path / "films", 2)
    knee = changed(films[1], tmp_path / "knee.dcm", BodyPartExamined="KNEE")
    reader = BundleReader(write_bundle(tmp_path / "bundle"), captures=True)
    address = Address("SRCMATTERS", port=0, calling=(TITLE,), allowed=(ip_network("127.0.0.1"),))
    destination = Destination(TITLE, "127.0.0.1", archive.dicom)
    server = Server(reader, ServerSettings(address, destination, tmp_path / "spool", settle_seconds=0.5))
    archive.introduce("reader", "SRCMATTERS", server.start())
    for film in (films[0], knee):
        archive.rest("POST", "instances", data=film.read_bytes())
    wait_until(lambda: len(archive.instances("SR")) == 2 and archive.instances("OT"), "the answers")
    # Each study is sent once as it came, and once more with what we have added.
    wait_until(lambda: len(_finished(archive)) == 4, "the second routing")
    wait_until(lambda: caplog.text.count("comes again, and nothing in it is new") == 2, "the second reading")
    assert [job["State"] for job in _finished(archive)] == ["Success"] * 4
    assert server.stop()
    reader.predictor.close()
    assert (len(archive.instances("SR")), len(archive.instances("OT"))) == (2, 1)
    for kind, count in (("Comprehensive 3D SR", 2), ("Secondary Capture Image", 1)):
        lines = re.findall(rf"brought \d objects \(.*1 {kind} Storage.*\) that are not read", caplog.text)
        assert len(lines) == count
    titles = {_tags(archive, one["ID"])["SeriesDescription"] for one in archive.instances("SR")}
    states = ("RESEARCH USE ONLY, UNAUDITED", "NOT READ, RESEARCH USE ONLY")
    assert titles == {f"{state}: mass on random weights" for state in states}


def _finished(orthanc: Orthanc) -> list[dict[str, Any]]:
    jobs = orthanc.rest("GET", "jobs?expand")
    return [job for job in jobs if job["State"] in ("Success", "Failure", "Retry", "Paused")]


def _stable_series(orthanc: Orthanc) -> int:
    series = orthanc.rest("GET", "series?expand")
    return sum(one["IsStable"] for one in series)


def test_strangers_and_absurd_messages_end_at_orthanc(orthanc: Orthanc) -> None:
    with association(orthanc.dicom, calling="STRANGER", called=TITLE) as opened:
        if opened.is_established:
            assert opened.send_c_store(radiograph()).get("Status") != 0x0000
    assert not orthanc.rest("GET", "instances")
    orthanc.introduce("modality", "SENDER", 1)
    with association(orthanc.dicom, called=TITLE) as opened:
        opened.dul.socket.socket.sendall(struct.pack(">BBL", 4, 0, 2**31))
        wait_until(lambda: not opened.is_established, "the end of the association")
    with association(orthanc.dicom, called=TITLE) as opened:
        assert opened.send_c_store(radiograph()).Status == 0x0000


def test_peers_that_block_orthanc_keep_us_neither_from_reading_nor_from_answering_later(
    orthanc: Orthanc, connected: Callable[[], Server]
) -> None:
    image = radiograph()
    orthanc.introduce("modality", "SENDER", 1)
    with association(orthanc.dicom, called=TITLE) as opened:
        assert opened.send_c_store(image).Status == 0x0000
    (study,) = orthanc.rest("GET", "studies")
    with ExitStack() as peers:
        for _ in range(3):
            peers.enter_context(socket.create_connection(("127.0.0.1", orthanc.dicom)))
        answer = orthanc.rest("POST", "modalities/reader/store", json={"Resources": [study]})
        assert answer["FailedInstancesCount"] == 0
        wait_until(lambda: connected().spool.batches("outgoing"), "a result that waits")
        assert not orthanc.instances("SR")
    wait_until(lambda: len(orthanc.instances("SR")) == 1, "the report")
