"""What a study leaves on disk: its file, its cells, their failures. Everything else is read from there."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from srcmatters.errors import InputError
from srcmatters.files import write_text
from srcmatters.runs.file_names import FAILURE, METRICS

_LOCK_SECONDS = 60


def now() -> str:
    """Local time, for people and for the record."""
    return datetime.now(UTC).astimezone().isoformat(timespec="seconds")


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a record so that nobody ever reads half of it."""
    write_text(path, json.dumps(content, indent=2, default=str) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """A record, empty if it is not there.

    Raises:
        InputError: there, but not a record.
    """
    try:
        content = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: not readable as a record of a study ({error})") from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: holds a {type(content).__name__}, expected a record of a study")
    return content


@dataclass(frozen=True)
class CellPlace:
    """Where a cell's files are.

    Args:
        study_dir: folder of the study.
        cell_id: name of the cell.
    """

    study_dir: Path
    cell_id: str

    @property
    def folder(self) -> Path:
        """What the bundle writes: ``predictions.csv``, ``metrics.json``, ..."""
        return self.study_dir / "cells" / self.cell_id

    @property
    def log(self) -> Path:
        """What the bundle printed."""
        return self.study_dir / "logs" / f"{self.cell_id}.txt"

    @property
    def record(self) -> Path:
        """How the cell went: seconds, worker, whether MLflow has it."""
        return self.folder / "cell.json"

    @property
    def failure(self) -> Path:
        """Why the cell failed."""
        return self.folder / FAILURE

    @property
    def running(self) -> Path:
        """Who works on the cell now."""
        return self.study_dir / ".running" / f"{self.cell_id}.json"

    def is_finished(self) -> bool:
        """Whether the results are complete: their record is written last."""
        return (self.folder / METRICS).is_file()

    @contextmanager
    def claimed(self) -> Iterator[None]:
        """Keep every other worker out, and say in a file who is at work.

        The operating system frees the lock of a killed process, and a worker whose driver was killed stops
        within seconds: nobody waits long.

        Raises:
            InputError: somebody else does not let go.
        """
        self.running.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.running.with_suffix(".lock"))
        try:
            lock.acquire(timeout=_LOCK_SECONDS)
        except Timeout as error:
            who = read_json(self.running).get("pid", "unknown")
            raise InputError(
                f"{self.folder}: process {who} is working on it, expected no other process"
            ) from error
        try:
            write_json(self.running, {"pid": os.getpid(), "host": socket.gethostname(), "started": now()})
            yield
        finally:
            with suppress(OSError):
                self.running.unlink(missing_ok=True)
            lock.release()


class StudyLock:
    """One driver per study folder.

    Args:
        study_dir: folder of the study; created if need be.
    """

    def __init__(self, study_dir: Path) -> None:
        self.study_dir = study_dir
        self.driver = study_dir / ".running" / "driver.json"

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold it; the operating system frees it when the process ends, however it ends.

        Raises:
            InputError: another driver is at work, naming its process; or the folder cannot be written.
        """
        try:
            self.driver.parent.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.driver.with_suffix(".lock"))
            lock.acquire(timeout=0)
        except Timeout as error:
            other = read_json(self.driver)
            who = f"process {other.get('pid', 'unknown')} on {other.get('host', 'this machine')}"
            raise InputError(f"output_dir: {who} is running the study in {self.study_dir}") from error
        except OSError as error:
            raise InputError(f"output_dir: {self.study_dir} cannot be written ({error.strerror})") from error
        try:
            content = {"pid": os.getpid(), "host": socket.gethostname(), "started": now()}
            write_json(self.driver, content)
            yield
        finally:
            with suppress(OSError):
                self.driver.unlink(missing_ok=True)
            lock.release()
