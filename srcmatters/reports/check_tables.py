"""Tables that say how far a study can be believed: subgroups, null controls, is the confounder there."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from srcmatters.evaluation.analysis_plan import AnalysisPlan
from srcmatters.evaluation.detectability import visibility
from srcmatters.evaluation.outcomes import Outcome, outcome_of
from srcmatters.numbers import interval, number, p_text, share
from srcmatters.reports.setups import Setup
from srcmatters.reports.study_tables import Table, by_source, of_confounder


def subgroup_table(setup: Setup) -> Table | None:
    """AUC, loss and effect by group at the planned p_art; None where the case table has no groups."""
    subgroups = setup.analysis.subgroups
    if subgroups.empty:
        return None
    planned = setup.p_art(subgroups)
    at_planned = subgroups[np.isclose(subgroups["p_art"], planned)]
    groups = []
    for confounder in setup.confounders:
        mine = of_confounder(at_planned, confounder)
        # Not sorted: the analysis has numbers and bands of numbers in their order already.
        rows = [_subgroup_row(group) for _, group in mine.groupby(["source", "column", "value"], sort=False)]
        if rows:
            groups.append((confounder, sorted(rows, key=lambda row: setup.sources.index(row[0]))))
    columns = ("source", "group", *_SUBGROUP_METRICS.values(), "cases", "positive")
    note = (
        "Worst: the lowest AUC, or the largest loss or effect, of a column whose groups differ (Cochran's Q,"
        " p below the level of the plan). Of small groups only the interval says anything."
    )
    caption = f"Subgroups at p_art {share(planned)}"
    return Table(caption, columns, groups, labels=2, note=note)


_SUBGROUP_METRICS = {
    "iid": "i.i.d. AUC",
    "ood": "o.o.d. AUC",
    "iid_minus_ood": "i.i.d. − o.o.d.",
    "effect": "effect, log-odds",
}


def _subgroup_row(group: pd.DataFrame) -> list[str]:
    by_environment = {row.environment: row for row in group.itertuples()}
    first = next(iter(by_environment.values()))
    areas = []
    for environment in _SUBGROUP_METRICS:
        row: Any = by_environment.get(environment)
        text = number(None) if row is None else interval(row.auc, row.low, row.high)
        areas.append(f"{text} worst" if row is not None and bool(row.worst) else text)
    counts = [f"{int(first.cases)}", f"{int(first.positives)}"]  # type: ignore[arg-type]
    return [str(first.source), f"{first.column} {first.value}", *areas, *counts]


def control_table(setup: Setup) -> Table | None:
    """Null controls: what has to come out as nothing, and whether it did; p_art 0 as the reference."""
    plan, groups = setup.analysis.plan, []
    for control, rows in setup.controls.groupby("control", sort=True):
        groups.append(
            (
                _CONTROLS.get(str(control), str(control)),
                [_control_row(row, plan) for row in rows.itertuples()],
            )
        )
    gaps = setup.analysis.gaps
    reference = [
        [
            row.confounder,
            row.source,
            "i.i.d. − o.o.d. AUC",
            share(row.p_art),
            interval(row.iid_minus_ood, row.low, row.high),
        ]
        + [number(None)] * 2
        for row in by_source(gaps[np.isclose(gaps["p_art"], 0)], setup.sources)
    ]
    if reference:
        groups.append(
            ("p_art 0: the reaction of untaught features; a lean is what exceeds it", sorted(reference))
        )
    if not groups:
        return None
    columns = (
        "confounder",
        "source",
        "what",
        "p_art",
        "deviation from its null",
        "permuted labels",
        "verdict",
    )
    note = (
        f"Holds: within ±{number(plan.equivalence_margin)} (equivalence test). Fails: beyond it. Both"
        " corrected after"
        " Holm over all controls. Permuted labels: mean over 999 permutations by patient, and the exact p."
    )
    return Table("Null controls", columns, groups, labels=3, note=note)


_CONTROLS = {
    "shuffled_labels": "shuffled labels: nothing can be learned",
    "independent_confounder": "confounder independent of the label: there is no shortcut",
}
_WORDS = {Outcome.LEANS: "FAILS", Outcome.WITHIN_MARGIN: "holds", Outcome.INCONCLUSIVE: "inconclusive"}


def _control_row(row: Any, plan: AnalysisPlan) -> list[str]:
    outcome = outcome_of(row.p_beyond_adjusted, row.p_equivalence_adjusted, abs(row.value), plan.confidence)
    what = "clean AUC" if row.metric == "clean_auc" else "i.i.d. − o.o.d. AUC"
    permuted = number(row.permutation_mean)
    if np.isfinite(row.permutation_mean):
        permuted += f" ({p_text(row.p_permutation)})"
    deviation = interval(row.value, row.low, row.high)
    word = _WORDS.get(outcome, str(outcome))
    return [row.confounder, row.source, what, share(row.p_art), deviation, permuted, word]


def detectability_table(cells: pd.DataFrame) -> Table | None:
    """Could a probe see the confounder after preprocessing? None if none was put into images."""
    columns = ["detectability_auc", "detectability_low", "detectability_high"]
    if "detectability_auc" not in cells or cells["detectability_auc"].isna().all():
        return None
    measured = cells.reindex(columns=["label", *columns]).dropna(subset=["detectability_auc"])
    rows = []
    for label, group in measured.groupby("label", sort=True):
        value, low, high = group[columns].median()
        rows.append([str(label), interval(value, low, high), visibility(value, low, high)])
    note = "A probe tells clean from confounded images of patients whom it has not seen; .5 is chance."
    return Table(
        "Is the confounder there?", ("confounder", "AUC of the probe", "visible"), [("", rows)], 1, note
    )
