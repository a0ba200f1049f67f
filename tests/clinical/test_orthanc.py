"""End to end with a real archive: a study goes into Orthanc, is routed to us, and our report comes back."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from dicom_nodes import CountingReader, wait_until

from srcmatters.clinical.association_rules import Destination
from srcmatters.clinical.receiver import Address
from srcmatters.clinical.server import Server, ServerSettings
from srcmatters.cohorts.phantom import write_phantom_cohort

TITLE = "ORTHANC"


class Orthanc:
    """An Orthanc of its own on loopback, with storage that goes with the test.

    Args:
        program: the server.
        folder: its configuration, storage and log.
    """

    def __init__(self, program: str, folder: Path) -> None:
        self.folder = folder
        self.http, self.dicom = _free_ports(2)
        settings = {
            "Name": TITLE,
            "StorageDirectory": str(folder / "storage"),
            "IndexDirectory": str(folder / "storage"),
            "Plugins": [],
            "RemoteAccessAllowed": False,  # REST from this machine only
            "AuthenticationEnabled": False,
            "HttpPort": self.http,
            "DicomAet": TITLE,
            "DicomPort": self.dicom,
            "DicomCheckCalledAet": True,
            "DicomModalitiesInDatabase": True,  # so that modalities can be added by REST
            "DicomAlwaysAllowStore": False,
        }
        (folder / "orthanc.json").write_text(json.dumps(settings))
        with (folder / "orthanc.log").open("w") as log:
            self.process = subprocess.Popen(
                [program, str(folder / "orthanc.json")], cwd=folder, stdout=log, stderr=log
            )
        wait_until(self._answers, "Orthanc")

    def _answers(self) -> bool:
        assert self.process.poll() is None, (self.folder / "orthanc.log").read_text()
        try:
            return self.rest("GET", "system") is not None
        except requests.ConnectionError:
            return False

    def rest(self, method: str, path: str, **content: Any) -> Any:
        """Answer of the REST interface."""
        answer = requests.request(method, f"http://127.0.0.1:{self.http}/{path}", timeout=30, **content)
        answer.raise_for_status()
        return answer.json()

    def instances(self, modality: str) -> list[dict[str, Any]]:
        """Tags of all instances of series of a modality."""
        query = {"Level": "Instance", "Query": {"Modality": modality}, "Expand": True}
        return self.rest("POST", "tools/find", json=query)

    def close(self) -> None:
        """End it."""
        self.process.terminate()
        self.process.wait(timeout=30)


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


@pytest.fixture
def orthanc(tmp_path: Path) -> Iterator[Orthanc]:
    """A running Orthanc."""
    program = shutil.which("Orthanc") or shutil.which("Orthanc", path="/usr/sbin")
    if program is None:
        pytest.skip(
            "no Orthanc on PATH: apt-get install orthanc; the way through a real archive was not tried"
        )
    (tmp_path / "orthanc").mkdir()
    running = Orthanc(program, tmp_path / "orthanc")
    yield running
    running.close()


@pytest.fixture
def connected(orthanc: Orthanc, tmp_path: Path) -> Iterator[Callable[[], Server]]:
    """A server that Orthanc knows as ``reader``, and that answers to Orthanc."""
    destination = Destination(TITLE, "127.0.0.1", orthanc.dicom)
    settings = ServerSettings(
        Address("SRCMATTERS", port=0, calling=(TITLE,)), destination, tmp_path / "spool", settle_seconds=0.5
    )
    server = Server(CountingReader(), settings)
    port = server.start()
    modality = {"AET": "SRCMATTERS", "Host": "127.0.0.1", "Port": port, "Manufacturer": "Generic"}
    requests.put(
        f"http://127.0.0.1:{orthanc.http}/modalities/reader", json=modality, timeout=30
    ).raise_for_status()
    yield lambda: server
    assert server.stop()


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
