"""Where MLflow keeps runs: the store that the environment names, and how two processes share a new one."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock

from srcmatters.errors import InputError

DEFAULT_STORE = "sqlite:///mlruns/mlflow.db"
_SECONDS = 5


def default_tracking_uri() -> str:
    """``$MLFLOW_TRACKING_URI``, or a database below the current folder."""
    return os.environ.get("MLFLOW_TRACKING_URI") or DEFAULT_STORE


def default_experiment_name(bundle: str) -> str:
    """``$MLFLOW_EXPERIMENT_NAME``, or the name of the bundle."""
    return os.environ.get("MLFLOW_EXPERIMENT_NAME") or bundle


def without_password(address: object) -> str:
    """A store's address, or what MLflow says of it, without the name and password that it may hold."""
    return re.sub(r"://[^/@\s]+@", "://", str(address))


def require_usable(tracking_uri: str | None) -> None:
    """Ask a server once, and whether a database may be written, so that a wrong address is said in seconds.

    MLflow itself would try a server that is down for minutes, and after everything has been computed. Any
    answer of a server will do.

    Raises:
        InputError: nobody answers, or the database is there and may not be written.
    """
    if re.match("https?://", tracking_uri or ""):
        import requests  # a command without a server need not pay for it

        try:
            requests.get(f"{tracking_uri}/health", timeout=_SECONDS)
        except requests.RequestException as error:
            reason = type(error).__name__
            raise InputError(
                f"tracking_uri: {without_password(tracking_uri)} does not answer ({reason}),"
                " expected an MLflow server"
            ) from error
    database = re.match(r"sqlite:///(.+)", tracking_uri or "")
    if database and Path(database[1]).exists() and not os.access(database[1], os.W_OK):
        raise InputError(f"tracking_uri: {database[1]} may not be written, expected a database that may")


@contextmanager
def tracking_uri_of_a_run(mlflow: Any) -> Iterator[None]:
    """Give MLflow's tracking URI, and the environment variable that it sets, back as they were.

    Otherwise the next run of the process, or the user's own, would land in the store of this one.
    """
    in_environment = os.environ.get("MLFLOW_TRACKING_URI")
    before = mlflow.get_tracking_uri() if mlflow.is_tracking_uri_set() else None
    try:
        yield
    finally:
        mlflow.set_tracking_uri(before)
        os.environ.pop("MLFLOW_TRACKING_URI", None)
        if in_environment is not None:
            os.environ["MLFLOW_TRACKING_URI"] = in_environment


def absolute_store(tracking_uri: str | None) -> str | None:
    """The same store from any folder: of a worker, or of who opens MLflow later."""
    match = re.match(r"sqlite:///(?!/)(.+)", tracking_uri or "")
    return f"sqlite:///{Path(match[1]).absolute()}" if match else tracking_uri


def database_folder(tracking_uri: str) -> Path | None:
    """Folder of a local database, None for a server."""
    match = re.match(r"sqlite:///(.+)", tracking_uri)
    return Path(match[1]).absolute().parent if match else None


@contextmanager
def alone_with_database(tracking_uri: str) -> Iterator[None]:
    """Two processes that make the tables of one new sqlite database at once both fail."""
    folder = database_folder(tracking_uri)
    if folder is None:
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder):
        pass  # a lock in a folder that cannot be written is waited for without end
    with FileLock(folder / ".mlflow.lock"):
        yield


def artifact_location(tracking_uri: str, experiment_name: str) -> str | None:
    """Where a new experiment keeps its files: beside a local database; a server decides for itself."""
    folder = database_folder(tracking_uri)
    if folder is None:
        return None
    return (folder / "artifacts" / re.sub(r"[^\w.-]+", "_", experiment_name)).as_uri()


def metric_name(name: str) -> str:
    """A name as MLflow takes it: letters, digits and a few signs."""
    return re.sub(r"[^\w.\- /]", "_", name)
