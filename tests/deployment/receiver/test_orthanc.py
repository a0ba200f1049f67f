"""End to end with a real archive: a study goes into Orthanc, is routed to us, and our report comes back."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from dicom_nodes import CountingReader, wait_until
from orthanc_node import TITLE, Orthanc
from prediction_cases import write_bundle, write_radiographs
from pydicom import dcmread

from srcmatters.cohorts.phantom_cohort import write_phantom_cohort
from srcmatters.deployment.dicom_association import Destination
from srcmatters.deployment.receiver.server import Server, ServerSettings
from srcmatters.deployment.receiver.store_scp import Address


@pytest.fixture
def connected(orthanc: Orthanc, tmp_path: Path) -> Iterator[Callable[[], Server]]:
    """A server that Orthanc knows as ``reader``, and that answers to Orthanc."""
    destination = Destination(TITLE, "127.0.0.1", orthanc.dicom)
    settings = ServerSettings(
        Address("SRCMATTERS", port=0, calling=(TITLE,)), destination, tmp_path / "spool", settle_seconds=0.5
    )
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
    found = re.search(r"listens on 127.0.0.1, port (\d+)", log.read_text())
    assert found, log.read_text()
    return int(found[1])


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
        answers = [_tags(orthanc, found["ID"]) for found in orthanc.instances(modality)]
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
    """SOP Instance UID of the one image that an answer refers to."""
    (uid,) = set(re.findall(r"'ReferencedSOPInstanceUID': '([0-9.]+)'", str(tags)))
    return uid


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
