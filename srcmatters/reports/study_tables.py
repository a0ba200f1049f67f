"""Tables of a study, from its analysis to the words and numbers of a page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from srcmatters.numbers import interval, number, p_value, share
from srcmatters.reports.setups import Setup

METRIC_NAMES = {
    "learned_lean": "learned lean (AUC)",
    "clean_auc": "clean AUC",
    "iid_auc": "i.i.d. AUC",
    "ood_auc": "o.o.d. AUC",
    "iid_minus_ood_auc": "i.i.d. − o.o.d. AUC",
}
ENVIRONMENT_NAMES = {"clean": "clean", "iid": "i.i.d.", "ood": "o.o.d.", "confounded": "all confounded"}


@dataclass(frozen=True)
class Table:
    """A table of the page.

    Args:
        caption: what it shows.
        columns: headings; the first ``labels`` of them are words, the others numbers.
        groups: (heading or "", rows); a row holds a text for each column.
        labels: columns that name the row.
        note: a sentence below.
    """

    caption: str
    columns: Sequence[str]
    groups: Sequence[tuple[str, list[list[str]]]]
    labels: int = 1
    note: str = ""

    @property
    def rows(self) -> list[list[str]]:
        """All rows, whatever their group."""
        return [row for _, rows in self.groups for row in rows]


def area_table(setup: Setup, confounder: str) -> Table:
    """AUC in each environment, the gap and the effect on a case: a row per p_art and source."""
    environments = of_confounder(setup.analysis.environments, confounder)
    gaps = of_confounder(setup.analysis.gaps, confounder)
    areas = {
        (row.p_art, row.source, row.environment): interval(row.auc, row.auc_low, row.auc_high)
        for row in environments.itertuples()
    }
    groups = []
    for value in sorted(gaps["p_art"].unique()):
        rows = []
        for row in by_source(gaps[gaps["p_art"] == value], setup.sources):
            auc = [areas.get((row.p_art, row.source, name), number(None)) for name in ("clean", "iid", "ood")]
            gap = interval(row.iid_minus_ood, row.low, row.high)
            rows.append([row.source, *auc, gap, interval(row.effect, row.effect_low, row.effect_high)])
        groups.append((f"p_art {share(value)}", rows))
    columns = ("source", "clean AUC", "i.i.d. AUC", "o.o.d. AUC", "i.i.d. − o.o.d.", "effect, log-odds")
    return Table(f"{confounder}: AUC in each test environment", columns, groups)


def quality_table(setup: Setup) -> Table:
    """More than AUC, at the planned p_art: a row per source and environment."""
    rows_of = setup.analysis.environments
    planned = setup.p_art(rows_of)
    at_planned = rows_of[np.isclose(rows_of["p_art"], planned)]
    groups = []
    for confounder in setup.confounders:
        rows = [
            [
                row.source,
                ENVIRONMENT_NAMES.get(row.environment, row.environment),
                *(_quality(row, name, digits) for name, (_, digits) in _QUALITY.items()),
            ]
            for row in by_source(of_confounder(at_planned, confounder), setup.sources)
        ]
        if rows:
            groups.append((confounder, rows))
    columns = ("source", "test", *(title for title, _ in _QUALITY.values()))
    note = (
        "Threshold: fixed on each fold's validation cases. Calibration is perfect at slope 1, intercept 0;"
        " all runs together, its interval is of other patients for these networks."
    )
    return Table(f"Beyond AUC, at p_art {share(planned)}", columns, groups, labels=2, note=note)


def _quality(row: Any, name: str, digits: int) -> str:
    low, high = (getattr(row, f"{name}_{end}", None) for end in ("low", "high"))
    return interval(getattr(row, name), low, high, digits)


# Title and digits.
_QUALITY = {
    "auprc": ("AUPRC", 2),
    "brier": ("Brier score", 2),
    "calibration_slope": ("calibration slope", 2),
    "calibration_intercept": ("intercept", 2),
    "sensitivity": ("sensitivity", 2),
    "specificity": ("specificity", 2),
    "cases": ("cases", 0),
}


def planned_contrasts(setup: Setup) -> pd.DataFrame:
    """The differences between sources that the plan names: its metric, at its p_art, primary ones first."""
    contrasts = setup.analysis.contrasts
    rows = contrasts[contrasts["metric"] == setup.analysis.plan.metric]
    if rows.empty:
        return rows
    rows = rows[np.isclose(rows["p_art"], setup.p_art(rows))]
    secondary = (rows["family"] != "primary").astype(int)
    first = secondary.groupby(rows["confounder"]).transform("min")
    order = rows.assign(_first=first, _secondary=secondary)
    return order.sort_values(["_first", "confounder", "_secondary"], kind="stable")[rows.columns]


def contrast_table(setup: Setup) -> Table | None:
    """Every planned difference with all of its tests; None for a study of one source."""
    planned = planned_contrasts(setup)
    if planned.empty:
        return None
    groups = []
    for confounder, rows in planned.groupby("confounder", sort=False):
        groups.append((str(confounder), [_contrast_row(row) for row in rows.itertuples()]))
    plan = setup.analysis.plan
    margin = number(plan.equivalence_margin)
    note = (
        "p: Student's t with a variance from resampled patients (and refitted heads, at the screen depth)."
        " Adjusted: Holm within the primary family, Benjamini-Hochberg among the others; runs at p_art 0 and"
        " null controls are families of their own."
        " Permutation: the publication's test over folds, and the lowest p that it can give with so few."
        f" Comparable: two one-sided tests at a margin of {margin} (p beside it, after Holm). Detectable: the"
        " difference that this study would have seen with a power of 80 %."
    )
    columns = (
        "sources",
        "family",
        "difference",
        "p",
        "adjusted",
        "permutation (attainable)",
        "DeLong",
        "Nadeau-Bengio",
        "comparable",
        "detectable",
    )
    name = METRIC_NAMES.get(plan.metric, plan.metric)
    caption = f"Difference in {name} at p_art {share(setup.p_art(planned))}"
    return Table(caption, columns, groups, labels=2, note=note)


def _contrast_row(row: Any) -> list[str]:
    permutation = p_value(row.p_permutation)
    if pd.notna(row.p_permutation_attainable):
        permutation += f" ({p_value(row.p_permutation_attainable)})"
    return [
        f"{row.source_a} − {row.source_b}",
        str(row.family),
        interval(row.difference, row.low, row.high),
        p_value(row.p_value),
        f"{p_value(row.p_adjusted)}{_CORRECTIONS.get(row.correction, '')}",
        permutation,
        p_value(row.p_delong),
        p_value(row.p_nadeau_bengio),
        f"{'yes' if row.equivalent is True or row.equivalent == 1 else 'no'}"
        f" ({p_value(row.p_equivalence_adjusted)})",
        number(row.detectable_difference),
    ]


_CORRECTIONS = {"holm": " Holm", "bh": " BH"}


def degradation_table(setup: Setup) -> Table:
    """The curves over p_art in three numbers per source."""
    groups = []
    for confounder in setup.confounders:
        rows = [
            [
                row.source,
                interval(row.area_under_lean, row.area_under_lean_low, row.area_under_lean_high),
                interval(
                    row.area_under_degradation,
                    row.area_under_degradation_low,
                    row.area_under_degradation_high,
                ),
                interval(row.slope, row.slope_low, row.slope_high),
                number(row.crossing) if pd.notna(row.crossing) else "never",
            ]
            for row in by_source(of_confounder(setup.analysis.curves, confounder), setup.sources)
        ]
        if rows:
            groups.append((confounder, rows))
    columns = ("source", "area under the lean", "area under the degradation", "slope of the o.o.d. AUC",
               "o.o.d. AUC below .5 from")  # fmt: skip
    note = (
        "Areas: learned lean and i.i.d. − o.o.d. AUC, averaged over p_art. Slope: per unit of p_art. Last"
        " column:"
        " a p_art."
    )
    return Table("How the AUC degrades as p_art grows", columns, groups, note=note)


def interaction_table(setup: Setup) -> Table | None:
    """Do the slopes of two sources differ? None for a study of one source or one p_art."""
    groups = []
    for confounder in setup.confounders:
        rows = [
            [
                f"{row.source_a} − {row.source_b}",
                interval(row.difference, row.low, row.high),
                p_value(row.p_value),
                p_value(row.p_adjusted),
            ]
            for row in of_confounder(setup.analysis.interactions, confounder).itertuples()
        ]
        if rows:
            groups.append((confounder, rows))
    if not groups:
        return None
    columns = ("sources", "difference of slopes", "p", "adjusted (BH)")
    return Table("Source x p_art: does one source's lean grow faster?", columns, groups)


def of_confounder(rows: pd.DataFrame, confounder: str) -> pd.DataFrame:
    """The rows of one confounder."""
    return rows[rows["confounder"] == confounder]


def by_source(rows: pd.DataFrame, sources: Sequence[str]) -> list[Any]:
    """Rows as tuples: sources in their order, environments as the paper has them."""
    environments = list(ENVIRONMENT_NAMES)

    def place(row: Any) -> tuple[int, int]:
        return sources.index(row.source), environments.index(getattr(row, "environment", "clean"))

    return sorted(rows.itertuples(), key=place)
