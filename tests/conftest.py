"""What all tests share: a cache of their own, a small cohort, and real data where there is some."""

from __future__ import annotations

import ipaddress
import os
import socket
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from mlflow.store.db import utils as mlflow_tables
from sqlalchemy import Engine

from srcmatters.cohorts.phantom_cohort import write_phantom_cohort
from srcmatters.export import performance, study_evidence

torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def loopback_only() -> Iterator[None]:
    """Nothing leaves this machine: a connection to another one fails the test that opens it."""
    connect = socket.socket.connect

    def checked(self: socket.socket, address: Any) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6):
            host = str(address[0])
            if host != "localhost" and not ipaddress.ip_address(host.partition("%")[0]).is_loopback:
                pytest.fail(f"a connection to {address[0]}:{address[1]} was opened")
        connect(self, address)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", checked)
        yield


@pytest.fixture(scope="session", autouse=True)
def session_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache for the whole session, so that fixtures of any scope stay out of ``~/.cache``."""
    root = tmp_path_factory.mktemp("session-cache")
    (root / "cohorts").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SRCMATTERS_CACHE", str(root))
        yield root


@pytest.fixture(autouse=True)
def isolated_cache(
    session_cache: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """An empty ``$SRCMATTERS_CACHE`` for each test.

    Only ``cohorts/``, where the embedded phantoms are written on first use, is the same for all tests: what
    is in there depends on nothing that a test does.
    """
    root = tmp_path_factory.mktemp("cache")
    (root / "cohorts").symlink_to(session_cache / "cohorts", target_is_directory=True)
    monkeypatch.setenv("SRCMATTERS_CACHE", str(root))
    return root


@pytest.fixture(scope="session", autouse=True)
def copied_mlflow_tables() -> Iterator[None]:
    """Tables of a new SQLite store are copies of those of the first one: to make them takes a second."""
    tables = sqlite3.connect(":memory:", check_same_thread=False)
    make = mlflow_tables._initialize_tables

    def copied_or_made(engine: Engine) -> None:
        if engine.dialect.name != "sqlite":
            return make(engine)
        if not tables.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            make(engine)
            with engine.connect() as made:
                made.connection.driver_connection.backup(tables)  # type: ignore[union-attr]
            return None
        with engine.connect() as empty:
            tables.backup(empty.connection.driver_connection)  # type: ignore[arg-type]
        return None

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mlflow_tables, "_initialize_tables", copied_or_made)
        yield


@pytest.fixture(scope="module", autouse=True)
def few_resamples(request: pytest.FixtureRequest) -> Iterator[None]:
    """Intervals of a card cost seconds in every export, and are of interest to the tests of them alone."""
    with pytest.MonkeyPatch.context() as patch:
        if request.module.__name__ not in ("test_performance", "test_study_evidence"):
            for module in (performance, study_evidence):
                patch.setattr(module, "REPLICATES", 200)
            patch.setattr(performance, "_RESAMPLED", 20)
            patch.setattr(performance, "_REFITTED", 20)
        yield


@pytest.fixture(autouse=True)
def default_mlflow(monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow's variables as in a fresh shell: a test that looks into a store leaves its address there."""
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME", "MLFLOW_RUN_ID"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real data, which is never part of the repository."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("SRCMATTERS_TEST_DATA", beside))
    if not folder.is_dir():
        pytest.skip(f"no real data: {folder} is not a folder; set SRCMATTERS_TEST_DATA to one")
    return folder


@pytest.fixture(scope="session")
def radiograph_cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of 48 phantom radiographs (64 x 64 grey PNG, obvious masses) and ``cases.csv``; read only."""
    folder = tmp_path_factory.mktemp("radiographs") / "cohort"
    write_phantom_cohort(folder, patients=48, image_size=64, difficulty=0.0)
    return folder


@pytest.fixture(scope="session")
def ct_cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of 24 phantom CTs (NIfTI, HU, 24 mm around a candidate) and ``cases.csv``; read only."""
    folder = tmp_path_factory.mktemp("ct") / "cohort"
    write_phantom_cohort(folder, patients=24, modality="ct", difficulty=0.0, slab_mm=24.0)
    return folder
