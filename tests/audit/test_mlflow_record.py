"""Audited models side by side in MLflow."""

import json
from types import SimpleNamespace

from srcmatters.audit.check import Finding
from srcmatters.audit.doors.runs_of_ours import _run_name
from srcmatters.audit.mlflow_record import _metrics, _set_view
from srcmatters.runs.mlflow_view import VIEW_TAG


def test_the_table_of_audits_has_the_losses_that_were_asked_most_first() -> None:
    losses = [{"noise": 0.1}, {"tag": 0.2, "noise": 0.3}, {"tag": -0.1, "noise": 0.0, "denoise": 0.0}]
    runs = [
        SimpleNamespace(
            data=SimpleNamespace(
                metrics={f"loss_{name}": value for name, value in one.items()} | {"clean_auc": 1}
            )
        )
        for one in losses
    ]
    tags: dict[str, str] = {}
    client = SimpleNamespace(
        search_runs=lambda *_, **__: runs, set_experiment_tag=lambda _, name, text: tags.update({name: text})
    )
    _set_view(client, "1")
    view = json.loads(tags[VIEW_TAG])
    metrics = [name for name in view["selectedColumns"] if name.startswith("metrics.")]
    assert metrics == [
        "metrics.`clean_auc`",
        "metrics.`largest_loss`",
        "metrics.`loss_noise`",
        "metrics.`loss_tag`",
        "metrics.`loss_denoise`",
    ]
    assert [name for name in view["selectedColumns"] if name.startswith("tags.")] == [
        "tags.`verdict`",
        "tags.`verdict_noise`",
        "tags.`verdict_tag`",
        "tags.`verdict_denoise`",
        "tags.`target`",
    ]
    assert view["orderByKey"] == "metrics.`largest_loss`" and not view["orderByAsc"]


def test_numbers_are_short_and_names_begin_with_what_differs() -> None:
    findings = [
        Finding("sensitivity", "picture a.png", None, "", 0.123456),
        Finding("sensitivity", "noise", None, "", float("nan")),
        Finding("clean_performance", "", None, "", 0.87654),
    ]
    audit = SimpleNamespace(outputs=[SimpleNamespace(findings=findings)], largest_loss=0.123456)
    assert _metrics(audit) == {"largest_loss": 0.123, "loss_picture a.png": 0.123, "clean_auc": 0.877}
    settings = {"source": "imagenet", "network": "resnet10", "confounder": "tag", "p_art": 0.5, "fold": 1}
    assert _run_name(SimpleNamespace(settings=settings)) == "tag p_art 0.5 imagenet resnet10 fold 1"
