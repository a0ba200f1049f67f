"""End to end with a real archive: a study goes into Orthanc, is routed to us, and our report comes back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests
from dicom_nodes import CountingReader, wait_until
from orthanc_node import TITLE, Orthanc

from srcmatters.clinical.association_rules import Destination
from srcmatters.clinical.receiver import Address
from srcmatters.clinical.server import Server, ServerSettings
from srcmatters.cohorts.phantom import write_phantom_cohort


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
