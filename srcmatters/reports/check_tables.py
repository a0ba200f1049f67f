"""Tables that say how far a study can be believed: subgroups, null controls, is the confounder there."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from srcmatters.evaluation.detectability import MINIMUM_DETECTABILITY
from srcmatters.numbers import interval, number, share
from srcmatters.reports.setups import Setup
from srcmatters.reports.study_tables import Table, of_confounder


def subgroup_table(setup: Setup) -> Table | None:
    """AUC by group at the planned p_art; None where the case table has no groups."""
    subgroups = setup.analysis.subgroups
    if subgroups.empty:
        return None
    planned = setup.p_art(subgroups)
    chosen = subgroups[np.isclose(subgroups["p_art"], planned)]
    groups = []
    for confounder in setup.confounders:
        mine = of_confounder(chosen, confounder)
        rows = [_subgroup_row(group) for _, group in mine.groupby(["source", "column", "value"], sort=True)]
        if rows:
            groups.append((confounder, sorted(rows, key=lambda row: setup.sources.index(row[0]))))
    columns = ("source", "group", "i.i.d. AUC", "o.o.d. AUC", "cases", "positive")
    note = (
        "Worst: the lowest AUC of its column in that test. Of small groups only the interval says anything."
    )
    caption = f"Subgroups at p_art {share(planned)}"
    return Table(caption, columns, groups, labels=2, note=note)


def _subgroup_row(group: pd.DataFrame) -> list[str]:
    by_environment = {row.environment: row for row in group.itertuples()}
    first = next(iter(by_environment.values()))
    areas = []
    for environment in ("iid", "ood"):
        row: Any = by_environment.get(environment)
        text = number(None) if row is None else interval(row.auc, row.low, row.high)
        areas.append(f"{text} worst" if row is not None and bool(row.worst) else text)
    counts = [f"{int(first.cases)}", f"{int(first.positives)}"]  # type: ignore[arg-type]
    return [str(first.source), f"{first.column} {first.value}", *areas, *counts]


def control_table(setup: Setup) -> Table | None:
    """Null controls: what has to come out as nothing, and whether it did."""
    groups = []
    uncorrelated = setup.analysis.gaps[np.isclose(setup.analysis.gaps["p_art"], 0)]
    for title, gaps, environments in (
        ("p_art 0: nobody carries the confounder in training", uncorrelated, setup.analysis.environments),
        *_control_groups(setup),
    ):
        rows = [_control_row(row, environments) for row in gaps.itertuples()]
        if rows:
            groups.append((title, sorted(rows)))
    if not groups:
        return None
    columns = ("confounder", "source", "p_art", "i.i.d. AUC", "i.i.d. − o.o.d.", "holds 0")
    return Table("Null controls", columns, groups, labels=2)


def _control_groups(setup: Setup) -> list[tuple[str, pd.DataFrame, pd.DataFrame]]:
    titles = {
        "shuffled_labels": "shuffled labels: nothing can be learned, AUC about .5",
        "independent_confounder": "confounder independent of the label: there is no shortcut",
    }
    gaps, environments = setup.controls["gaps"], setup.controls["environments"]
    return [
        (titles.get(str(control), str(control)), rows, environments[environments["control"] == control])
        for control, rows in gaps.groupby("control", sort=True)
    ]


def _control_row(row: Any, environments: pd.DataFrame) -> list[str]:
    same = (
        (environments["confounder"] == row.confounder)
        & (environments["source"] == row.source)
        & (environments["p_art"] == row.p_art)
        & (environments["environment"] == "iid")
    )
    iid = [interval(found.auc, found.auc_low, found.auc_high) for found in environments[same].itertuples()]
    holds = "yes" if row.low <= 0 <= row.high else "NO"
    gap = interval(row.iid_minus_ood, row.low, row.high)
    return [row.confounder, row.source, share(row.p_art), *(iid or [number(None)])[:1], gap, holds]


def detectability_table(cells: pd.DataFrame) -> Table | None:
    """Could a probe see the confounder after preprocessing? None if none was put into images."""
    columns = ["detectability_auc", "detectability_low", "detectability_high"]
    if "detectability_auc" not in cells or cells["detectability_auc"].isna().all():
        return None
    measured = cells.reindex(columns=["label", *columns]).dropna(subset=["detectability_auc"])
    rows = []
    for label, group in measured.groupby("label", sort=True):
        value, low, high = group[columns].median()
        rows.append(
            [str(label), interval(value, low, high), "yes" if value >= MINIMUM_DETECTABILITY else "hardly"]
        )
    note = "A probe tells clean from confounded images of patients whom it has not seen; .5 is chance."
    return Table(
        "Is the confounder there?", ("confounder", "AUC of the probe", "visible"), [("", rows)], 1, note
    )
