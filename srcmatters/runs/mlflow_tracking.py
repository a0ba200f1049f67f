"""MLflow: one store, one run per fine-tuning, and an end that says how it went."""

from __future__ import annotations

import logging
import os
import secrets
import socket
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from srcmatters.errors import InputError
from srcmatters.files import process_is_alive
from srcmatters.runs.code_version import git_commit
from srcmatters.runs.mlflow_store import (
    absolute_store,
    alone_with_database,
    artifact_location,
    require_usable,
    tracking_uri_of_a_run,
    without_password,
)
from srcmatters.runs.mlflow_view import VIEW, VIEW_TAG, comparison_view

if TYPE_CHECKING:
    import pandas as pd

# What a comparison is grouped and filtered by.
AXES = (
    "source",
    "target",
    "network",
    "confounder",
    "p_art",
    "p_neg",
    "mitigation",
    "fold",
    "seed",
    "protocol",
)
_PID, _HOST = "srcmatters.pid", "srcmatters.host"


def run_name(settings: Mapping[str, Any]) -> str:
    """A readable name that no other run has; what is compared first, since MLflow cuts it."""
    parts = [settings[axis] for axis in ("source", "confounder") if axis in settings]
    # A pre-training has neither.
    parts += [f"p={settings['p_art']:g}"] if "p_art" in settings else []
    parts += [f"n={settings['p_neg']:g}"] if settings.get("p_neg") else []
    parts += [settings["mitigation"]] if settings.get("mitigation", "none") != "none" else []
    parts += [f"fold={settings['fold']}"] if "fold" in settings else []
    parts += [settings["network"]] if "network" in settings else []
    parts.append(secrets.token_hex(2))
    return " · ".join(Path(str(part)).name for part in parts)


class Tracker:
    """Records a run in MLflow.

    Args:
        tracking_uri: "sqlite:///mlruns/mlflow.db", a server's address, or None to record nothing. It is
            printed before anything is sent.
        experiment_name: MLflow experiment; a new one keeps its artifacts beside the database.
        settings: everything that a user can choose; the axes become tags, all become parameters.
        parent_run_id: MLflow run that this one is nested in; None: the one that is open in this process, if
            any.
        tags: more tags of the run.
        system_metrics: record load and memory of the machine; costs a thread, and half a second per run.
        name: of the run, None: :func:`run_name`.
        continues: run to go on with, after an interruption; None, or one that is not there: a new run, unless
            ``$MLFLOW_RUN_ID`` names one, which must be there.
    """

    def __init__(
        self,
        tracking_uri: str | None,
        experiment_name: str,
        settings: Mapping[str, Any],
        parent_run_id: str | None = None,
        tags: Mapping[str, Any] | None = None,
        system_metrics: bool = True,
        name: str | None = None,
        continues: str | None = None,
    ) -> None:
        self.tracking_uri = tracking_uri or None
        self.experiment_name = str(experiment_name)
        self.settings = dict(settings)
        self.parent_run_id = parent_run_id
        self.tags = {name: str(value) for name, value in (tags or {}).items()}
        self.system_metrics = system_metrics
        self.name = name
        self.continues = continues
        self._named = False
        self.run_id: str | None = None
        self.experiment_id: str | None = None

    @contextmanager
    def run(self) -> Iterator[None]:
        """Open the run; it ends as FINISHED, FAILED (an error) or KILLED (an interruption)."""
        if self.tracking_uri is None:
            yield
            return
        import mlflow

        outer = mlflow.active_run()
        status = "FAILED"
        with tracking_uri_of_a_run(mlflow):
            self._join(mlflow, outer)
            try:
                self._open(mlflow)
                mlflow.log_params(self.settings)
                yield
                status = "FINISHED"
            except KeyboardInterrupt:
                status = "KILLED"
                raise
            finally:
                if mlflow.active_run() is not outer:  # it may not have come to be opened
                    mlflow.end_run(status)

    def _join(self, mlflow: Any, outer: Any) -> None:
        """Nest in the run that is open in this process, or continue that of ``$MLFLOW_RUN_ID``."""
        named = os.environ.pop(
            "MLFLOW_RUN_ID", None
        )  # of one run: MLflow would put every further one into it
        if self.parent_run_id is not None:
            return
        if outer is not None:
            if mlflow.get_tracking_uri() != self.tracking_uri:
                raise InputError(
                    f"tracking_uri: an MLflow run is open in {without_password(mlflow.get_tracking_uri())},"
                    f" this one goes to {self._address()}; expected the same store, or that run ended"
                )
            self.parent_run_id = outer.info.run_id
        elif named is not None and self.continues is None:
            self.continues = named
            self._named = True

    def _open(self, mlflow: Any) -> None:
        assert self.tracking_uri is not None
        require_usable(self.tracking_uri)
        try:
            for chatty in ("mlflow.store.db.utils", "mlflow.system_metrics.system_metrics_monitor"):
                logging.getLogger(chatty).setLevel(logging.WARNING)
            if self.parent_run_id is None:  # a study says it once for all of its cells
                print(f"MLflow: experiment {self.experiment_name!r} in {self._address()}")
            mlflow.set_tracking_uri(self.tracking_uri)
            with alone_with_database(self.tracking_uri):
                experiment_id = self._experiment(mlflow)
            if self.parent_run_id is None:
                end_dead_runs(mlflow.MlflowClient(), experiment_id)
            else:  # whoever started the parent looks after its children: once, not before each of hundreds
                self._find_parent(mlflow, self.parent_run_id)
            run = self._start(mlflow, experiment_id)
        except (mlflow.exceptions.MlflowException, OSError) as error:
            reason = without_password(str(error).splitlines()[0])
            raise InputError(f"tracking_uri: {self._address()} cannot be used ({reason})") from error
        self.run_id, self.experiment_id = run.info.run_id, experiment_id

    def _start(self, mlflow: Any, experiment_id: str) -> Any:
        ours = {_PID: str(os.getpid()), _HOST: socket.gethostname()}
        if self.continues is not None and _exists(mlflow, self.continues, experiment_id):
            run = mlflow.start_run(run_id=self.continues, log_system_metrics=False)
            mlflow.set_tags({**self.tags, **ours})
            return run
        if self._named:
            raise InputError(
                f"MLFLOW_RUN_ID: {self.continues!r} is no run of experiment {self.experiment_name!r} in"
                f" {self._address()}"
            )
        axes = {axis: str(self.settings[axis]) for axis in AXES if axis in self.settings}
        mlflow.set_system_metrics_sampling_interval(5)
        return mlflow.start_run(
            experiment_id=experiment_id,
            run_name=self.name or run_name(self.settings),
            parent_run_id=self.parent_run_id,
            nested=self.parent_run_id is not None,
            log_system_metrics=self.system_metrics,
            tags={
                **axes,
                **self.tags,
                "git_commit": git_commit(),
                "mlflow.source.name": "srcmatters",
                "mlflow.user": "left out",  # MLflow would put the login name
                **ours,
            },
        )

    def _find_parent(self, mlflow: Any, run_id: str) -> None:
        try:
            mlflow.get_run(run_id)
        except mlflow.exceptions.MlflowException as error:
            raise InputError(f"parent_run_id: {run_id!r} is no run in {self._address()}") from error

    def _experiment(self, mlflow: Any) -> str:
        """Find or make the experiment; two processes may try at once."""
        existing = mlflow.get_experiment_by_name(self.experiment_name)
        if existing is None:
            try:
                return mlflow.create_experiment(
                    self.experiment_name,
                    artifact_location=artifact_location(str(self.tracking_uri), self.experiment_name),
                    tags={"mlflow.experimentKind": "custom_model_development", VIEW_TAG: comparison_view()},
                )
            except mlflow.exceptions.MlflowException:
                existing = mlflow.get_experiment_by_name(self.experiment_name)
                if existing is None:
                    raise
        if existing.lifecycle_stage != "active":
            raise InputError(
                f"experiment_name: {self.experiment_name!r} was deleted in MLflow; choose another"
            )
        return existing.experiment_id

    def where_to_look(self) -> str:
        """How to open the comparison in the MLflow UI, empty without tracking."""
        if self.tracking_uri is None:
            return ""
        page = f"#/experiments/{self.experiment_id}/runs?viewStateShareKey={VIEW}"
        if self.tracking_uri.startswith("http"):
            return f"{self._address().rstrip('/')}/{page}"
        store = absolute_store(self._address())
        return f"MLFLOW_DISABLE_TELEMETRY=true mlflow ui --backend-store-uri {store}, then http://127.0.0.1:5000/{page}"

    def _address(self) -> str:
        """The store without the name and password that its address may hold."""
        return without_password(self.tracking_uri)

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Record numbers; a store that fails meanwhile costs the numbers, not the training."""
        if self.run_id is None:
            return
        import mlflow

        try:
            mlflow.log_metrics(dict(metrics), step=step, run_id=self.run_id)
        except (mlflow.exceptions.MlflowException, OSError) as error:
            reason = without_password(str(error).splitlines()[0])
            warnings.warn(f"MLflow did not take the metrics of step {step}: {reason}", stacklevel=2)

    def log_folder(self, folder: Path) -> None:
        """Record every file of a folder as an artifact."""
        if self.run_id is not None:
            import mlflow

            mlflow.log_artifacts(str(folder), run_id=self.run_id)

    def log_cohort(self, groups: pd.DataFrame, name: str, digest: str) -> None:
        """Record which data was used: its name, hash and column types, none of its rows.

        Args:
            groups: columns without identifiers.
            name: name of the target dataset.
            digest: hash of its content.
        """
        if self.run_id is not None:
            import mlflow

            # Only names and types of the columns are recorded; as text MLflow has no remarks on integers.
            # Without a source it would record the path of this file and the login name.
            from mlflow.data.code_dataset_source import CodeDatasetSource

            source = CodeDatasetSource({"mlflow.source.name": "srcmatters"})
            data = mlflow.data.pandas_dataset.from_pandas(
                groups.astype(str), source=source, name=name, digest=digest[:36], targets="label"
            )
            mlflow.log_input(data, context="training")


def _exists(mlflow: Any, run_id: str, experiment_id: str) -> bool:
    """Whether a run can be continued: it is in this store and experiment, and nobody has deleted it."""
    try:
        info = mlflow.get_run(run_id).info
    except mlflow.exceptions.MlflowException:
        return False
    return info.experiment_id == experiment_id and info.lifecycle_stage == "active"


def end_dead_runs(client: Any, experiment_id: str, status: str = "FAILED") -> None:
    """End runs that still say RUNNING although their process on this machine is gone: it was killed.

    Args:
        client: of the store.
        experiment_id: whose runs.
        status: that they get.
    """
    for run in client.search_runs([experiment_id], "attributes.status = 'RUNNING'"):
        pid = run.data.tags.get(_PID, "")
        here = run.data.tags.get(_HOST) == socket.gethostname()
        if here and pid.isdigit() and not process_is_alive(int(pid)):
            client.set_terminated(run.info.run_id, status)
