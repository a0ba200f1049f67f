"""Twins: models that were trained as the audited one was, but never saw the confounder."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from srcmatters.audit.checks.origin import LEAST_TWINS
from srcmatters.audit.declared_contract import ContractOptions
from srcmatters.audit.doors import open_model
from srcmatters.audit.doors.model import Model
from srcmatters.errors import InputError, first_line
from srcmatters.runs.file_names import WEIGHTS
from srcmatters.runs.finished_runs import read_runs

_RUN_ID = re.compile(r"[0-9a-f]{32}")


def open_twins(
    specs: Sequence[str], contract: ContractOptions, model: Model, tracking_uri: str = ""
) -> list[Model]:
    """Open the twins of a model.

    Args:
        specs: models, or studies of ours: a folder of finished runs, the MLflow id of a study's parent run,
            or an MLflow experiment. Of a study those with p_art 0 or without a confounder are taken, and of
            these the fold of the audited model where that is a run.
        contract: what was declared of the audited model.
        model: the audited one; it is never its own twin.
        tracking_uri: of MLflow.

    Raises:
        InputError: fewer than five, or one with other outputs.
    """
    if not specs:
        return []
    fold = None if model.trained_on is None else model.trained_on.settings.get("fold")
    places = [place for spec in specs for place in _expanded(spec, tracking_uri, fold)]
    opened = [open_model(place, contract, tracking_uri=tracking_uri) for place in dict.fromkeys(places)]
    # Cells that share their training at p_art 0 hold one network, which is one twin.
    twins = list({one.sha256 or str(place): one for place, one in enumerate(opened)}.values())
    twins = [one for one in twins if one.sha256 is None or one.sha256 != model.sha256]
    if len(twins) < LEAST_TWINS:
        raise InputError(
            f"--twins: {len(twins)} different models without the confounder, expected {LEAST_TWINS} or more:"
            " runs of p_art 0 with their model.pt, of the fold of the audited run"
        )
    for twin in twins:
        if len(twin.outputs) != len(model.outputs):
            raise InputError(
                f"--twins: {twin.name} has {len(twin.outputs)} outputs, expected {len(model.outputs)}"
            )
    return twins


def check_unseen(twins: Sequence[Model], cases: pd.DataFrame) -> None:
    """Refuse twins of ours that were trained or validated on audited cases: they would know their labels.

    Raises:
        InputError: naming the twin and how many cases.
    """
    for twin in twins:
        if twin.trained_on is None:
            continue
        tested = cases["case_id"].isin(twin.trained_on.test_cases)
        if tested.any() and not tested.all():
            raise InputError(
                f"--twins: {twin.name}, fold {twin.trained_on.settings.get('fold')}, trained or validated on"
                f" {int((~tested).sum())} of the {len(cases)} audited cases, expected twins of the same fold"
            )


def _expanded(spec: str, tracking_uri: str, fold: Any) -> list[str]:
    """The runs of a study that never saw a confounder; the model itself otherwise."""
    folder = Path(spec)
    if not folder.exists() and not set(spec) & set("/:@"):
        return _of_mlflow(spec, tracking_uri, fold) or [spec]
    if not folder.is_dir() or (folder / WEIGHTS).is_file():
        return [spec]
    try:
        runs = read_runs(folder)
    except InputError:
        return [spec]
    never = [str(run["output_dir"]) for run in runs.to_dict("records") if _is_twin(run, fold)]
    return [place for place in never if (Path(place) / WEIGHTS).is_file()]


def _is_twin(settings: Mapping[Any, Any], fold: Any) -> bool:
    """Whether a run never saw a confounder and was tested on the same fold."""
    never = settings.get("confounder") == "none" or float(settings.get("p_art", 1)) == 0
    plain = all(settings.get(name, "none") == "none" for name in ("control", "mitigation"))
    return never and plain and (fold is None or str(settings.get("fold")) == str(fold))


def _of_mlflow(spec: str, tracking_uri: str, fold: Any) -> list[str]:
    """Ids of the twins in a study of MLflow; empty where there is no such parent run or experiment.

    Args:
        spec: id of the parent run, or name of the experiment.
        tracking_uri: "" is none.
        fold: of the audited run.
    """
    database = re.match(r"sqlite:///(.+)", tracking_uri)
    if not tracking_uri or (database and not Path(database[1]).is_file()):
        return []
    import mlflow

    client = mlflow.MlflowClient(tracking_uri)
    of_study = "attributes.status = 'FINISHED'"
    try:
        if _RUN_ID.fullmatch(spec):
            of_study += f" and tags.mlflow.parentRunId = '{spec}'"
            experiment = client.get_run(spec).info.experiment_id
        else:
            named = client.get_experiment_by_name(spec)
            if named is None:
                return []
            experiment = named.experiment_id
        runs = client.search_runs([experiment], of_study, max_results=50_000)
    except mlflow.exceptions.MlflowException as error:
        raise InputError(f"--twins: {spec} is not in MLflow ({first_line(error)})") from error
    return [run.info.run_id for run in runs if run.data.params and _is_twin(run.data.params, fold)]
