"""Nothing leaves this machine: every test runs under the guard of ``conftest.py``."""

import socket
from pathlib import Path

import mlflow.telemetry.client as telemetry
import pytest

import srcmatters
from srcmatters.runs import Tracker


def test_the_guard_fails_a_test_that_connects_elsewhere() -> None:
    with socket.socket() as other, pytest.raises(pytest.fail.Exception, match=r"192\.0\.2\.1:443"):
        other.connect(("192.0.2.1", 443))
    with socket.create_server(("127.0.0.1", 0)) as server:
        socket.create_connection(server.getsockname()).close()


def test_a_tracked_run_gives_mlflow_nothing_to_send(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[object] = []
    monkeypatch.setattr(telemetry.TelemetryClient, "add_record", lambda _, record: sent.append(record))
    with Tracker(f"sqlite:///{tmp_path}/mlflow.db", "test", {}, name="one").run():
        pass
    assert srcmatters.__version__ and telemetry.get_telemetry_client() is None and not sent
