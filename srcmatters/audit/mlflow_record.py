"""An audit in MLflow: one run a model in the experiment "audits", so that models stand side by side."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from srcmatters.audit.record import RECORD
from srcmatters.audit.result import Audit
from srcmatters.runs.mlflow_tracking import Tracker
from srcmatters.runs.mlflow_view import VIEW_TAG, audits_view

if TYPE_CHECKING:
    from mlflow import MlflowClient

EXPERIMENT = "audits"
_LOSS = "loss_"
_MOST_RUNS = 1000


def track(audit: Audit, folder: Path, tracking_uri: str | None, target: str) -> str:
    """Record the verdicts, their numbers, audit.json and the page.

    Args:
        audit: to record.
        folder: holds audit.json and audit.html.
        tracking_uri: of the store; None or "": nothing is recorded.
        target: name of the dataset.

    Returns:
        Where to look, or "".
    """
    first = audit.outputs[0]
    tags = {
        "verdict": audit.outcome.value,
        "model": audit.model["name"],
        "kind": audit.model["kind"],
        "mlflow.note.content": "\n\n".join(f"**{one.outcome}** {one.text}" for one in first.verdicts),
        **{f"verdict_{_name(one.subject)}": str(one.outcome) for one in first.verdicts},
    }
    settings = {
        "target": target,
        "margin": audit.plan.margin,
        "cases": audit.data["cases"],
        "model_sha256": audit.model.get("sha256") or "unknown",
    }
    tracker = Tracker(
        tracking_uri, EXPERIMENT, settings, tags=tags, system_metrics=False, name=str(audit.model["name"])
    )
    with tracker.run():
        tracker.log_metrics(_metrics(audit))
        if tracker.run_id is not None:
            import mlflow

            for name in (RECORD, "audit.html"):
                if (folder / name).is_file():
                    mlflow.log_artifact(str(folder / name), run_id=tracker.run_id)
            _set_view(mlflow.MlflowClient(), str(tracker.experiment_id))
    return tracker.where_to_look()


def _metrics(audit: Audit) -> dict[str, float]:
    """Losses and clean AUC to three digits, since a table shows every one; audit.json has them all."""
    values = {"largest_loss": audit.largest_loss}
    for one in audit.outputs[0].findings:
        if one.check == "sensitivity":
            values[f"{_LOSS}{_name(one.subject)}"] = one.value
        if one.check == "clean_performance":
            values["clean_auc"] = one.value
    return {name: round(value, 3) for name, value in values.items() if math.isfinite(value)}


def _set_view(client: MlflowClient, experiment_id: str) -> None:
    """Show a column for every confounder that any of the audits asked about, the most frequent first."""
    counts: Counter[str] = Counter()
    for run in client.search_runs([experiment_id], max_results=_MOST_RUNS):
        counts.update(name.removeprefix(_LOSS) for name in run.data.metrics if name.startswith(_LOSS))
    confounders = sorted(counts, key=lambda name: (-counts[name], name))
    client.set_experiment_tag(experiment_id, VIEW_TAG, audits_view(confounders))


def _name(confounder: str) -> str:
    """A name that MLflow takes."""
    return "".join(sign if sign.isalnum() or sign in "_-. " else "_" for sign in confounder)
