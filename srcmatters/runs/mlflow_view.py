"""Sources, and audited models, side by side at a glance: saved views of MLflow's run table and charts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

#: Last part of the page's address: ``#/experiments/<id>/runs?viewStateShareKey=comparison``.
VIEW = "comparison"
#: Experiment tag in which MLflow keeps a shared view of this name.
VIEW_TAG = f"mlflow.sharedViewState.{VIEW}"

# MLflow shows metrics before tags, whatever the order here. The first column is the name of a run, which
# begins with the source.
_COLUMNS = (
    "tags.`source`",
    "tags.`confounder`",
    "tags.`p_art`",
    "tags.`fold`",
    "metrics.`clean_auc`",
    "metrics.`iid_auc`",
    "metrics.`ood_auc`",
    "metrics.`confounder_effect`",
)

#: The section of charts below, as MLflow writes it down.
_SECTION = {
    "uuid": "sources",
    "name": "Sources",
    "display": True,
    "isReordered": False,
    "deleted": False,
    "isGenerated": False,
    "columns": 1,
}
#: Parallel coordinates of parameters and a metric, a line for each run.
_CHART = {
    "type": "PARALLEL",
    "uuid": "sources-ood-auc",
    "metricSectionId": _SECTION["uuid"],
    "selectedParams": ["source", "confounder", "p_art"],
    "selectedMetrics": ["ood_auc"],
    "showAllRuns": True,
    "runsCountToCompare": 10,
    "deleted": False,
    "isGenerated": False,
}


def comparison_view() -> str:
    """State of MLflow's run table: source, confounder, p_art and fold beside the AUCs, sorted by p_art.

    The chart view beside the table has parallel coordinates from source, confounder and p_art to the o.o.d.
    AUC. By default the table shows dates and datasets and the charts are one for each metric, so that whoever
    opens them has to choose columns and axes first.
    """
    return _view(_COLUMNS, "tags.`p_art`", True, [_CHART], [_SECTION])


def audits_view(confounders: Sequence[str]) -> str:
    """State of the run table of audits: clean AUC, the losses and their verdicts, the largest loss first.

    Args:
        confounders: names as in ``loss_NAME`` and ``verdict_NAME``.
    """
    columns = [
        "metrics.`clean_auc`",
        "metrics.`largest_loss`",
        *(f"metrics.`loss_{name}`" for name in confounders),
        "tags.`verdict`",
        *(f"tags.`verdict_{name}`" for name in confounders),
        "tags.`target`",
    ]
    return _view(columns, "metrics.`largest_loss`", False, None, None)


def _view(
    columns: Sequence[str],
    order_by: str,
    ascending: bool,
    charts: list[dict[str, Any]] | None,
    sections: list[dict[str, Any]] | None,
) -> str:
    """A view as MLflow writes it down; without charts MLflow draws one for each metric."""
    state = {
        "compareRunCharts": charts,
        "compareRunSections": sections,
        "searchFilter": "",
        "orderByKey": order_by,
        "orderByAsc": ascending,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "datasetsFilter": [],
        "modelVersionFilter": "All Runs",
        "selectedColumns": list(columns),
        "runsPinned": [],
        "runsHidden": [],
        "runsExpanded": {},
        "viewMaximized": False,
        "runListHidden": False,
        "isAccordionReordered": False,
        "groupBy": None,
        "groupsExpanded": {},
        "autoRefreshEnabled": True,
        "useGroupedValuesInCharts": True,
        "hideEmptyCharts": True,
        "globalLineChartConfig": {"xAxisKey": "step", "lineSmoothness": 0, "selectedXAxisMetricKey": ""},
        "isComparingRuns": False,
    }
    return json.dumps(state)
