"""Twins: models that were trained as the audited one was, but never saw the confounder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from srcmatters.audit.checks.origin import LEAST_TWINS
from srcmatters.audit.declared_contract import ContractOptions
from srcmatters.audit.doors import open_model
from srcmatters.audit.doors.model import Model
from srcmatters.errors import InputError
from srcmatters.runs.file_names import WEIGHTS
from srcmatters.runs.finished_runs import read_runs


def open_twins(
    specs: Sequence[str], contract: ContractOptions, model: Model, tracking_uri: str = ""
) -> list[Model]:
    """Open the twins of a model.

    Args:
        specs: models, or folders of finished runs of ours of which those with p_art 0 or without a confounder
            are taken.
        contract: what was declared of the audited model.
        model: the audited one; it is never its own twin.
        tracking_uri: of MLflow.

    Raises:
        InputError: fewer than five, or one with other outputs.
    """
    if not specs:
        return []
    places = [place for spec in specs for place in _expanded(spec)]
    twins = [open_model(place, contract, tracking_uri=tracking_uri) for place in places]
    twins = [one for one in twins if one.sha256 is None or one.sha256 != model.sha256]
    if len(twins) < LEAST_TWINS:
        raise InputError(
            f"--twins: {len(twins)} models without the confounder, expected {LEAST_TWINS} or more: runs"
            " of p_art 0 with their model.pt"
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


def _expanded(spec: str) -> list[str]:
    """The runs of a study that never saw a confounder; the model itself otherwise."""
    folder = Path(spec)
    if not folder.is_dir() or (folder / WEIGHTS).is_file():
        return [spec]
    try:
        runs = read_runs(folder)
    except InputError:
        return [spec]
    never = [
        str(run["output_dir"])
        for run in runs.to_dict("records")
        if (run["confounder"] == "none" or float(run["p_art"]) == 0) and run.get("control", "none") == "none"
    ]
    return [place for place in never if (Path(place) / WEIGHTS).is_file()]
