"""Debian's Orthanc, an archive of its own on loopback with storage that goes with the test."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import requests
from dicom_nodes import wait_until

TITLE = "ORTHANC"
DICOMWEB = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")


class Orthanc:
    """A running Orthanc.

    Args:
        program: the server.
        folder: its configuration, storage and log.
        plugins: shared libraries.
        settings: of its configuration, besides.
    """

    def __init__(self, program: str, folder: Path, plugins: Sequence[Path] = (), **settings: Any) -> None:
        self.folder = folder
        self.http, self.dicom = free_ports(2)
        settings = {
            "Name": TITLE,
            "StorageDirectory": str(folder / "storage"),
            "IndexDirectory": str(folder / "storage"),
            "Plugins": list(map(str, plugins)),
            "RemoteAccessAllowed": False,  # REST from this machine only
            "AuthenticationEnabled": False,
            "HttpPort": self.http,
            "DicomAet": TITLE,
            "DicomPort": self.dicom,
            "DicomCheckCalledAet": True,
            "DicomModalitiesInDatabase": True,  # so that modalities can be added by REST
            "DicomAlwaysAllowStore": False,
        } | settings
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

    def introduce(self, name: str, title: str, port: int) -> None:
        """Tell it of a node on loopback, with which it may do everything."""
        modality = {"AET": title, "Host": "127.0.0.1", "Port": port, "Manufacturer": "Generic"}
        url = f"http://127.0.0.1:{self.http}/modalities/{name}"
        requests.put(url, json=modality, timeout=30).raise_for_status()

    def close(self) -> None:
        """End it; it may keep nothing, and to close its database in peace takes seconds."""
        self.process.kill()
        self.process.wait(timeout=30)


def orthanc_program() -> str | None:
    """Path of the server, if it is installed."""
    return shutil.which("Orthanc") or shutil.which("Orthanc", path="/usr/sbin")


def free_ports(count: int) -> list[int]:
    """Ports of loopback that nobody listens on."""
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports
