"""What to do about it: recovered shares, their price, and what each arm did to each confounder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import matplotlib
import matplotlib.patches
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from srcmatters.evaluation.analysis_plan import AnalysisPlan
from srcmatters.evaluation.mitigation import NULL_ARMS, UPPER_BOUND, MitigationAnalysis, analyse_mitigation
from srcmatters.numbers import counted, interval, number, p_text, p_value, signed
from srcmatters.reports.inline_svg import INK, Picture, inline, style
from srcmatters.reports.setups import confounder_label
from srcmatters.reports.study_tables import Table
from srcmatters.runs.finished_runs import StudyResults

_WORSE, _BETTER = "#C5221F", "#1A73A8"
_ORDER = ("none", "balanced", "groupdro", "dfr", "augment", "paired", *NULL_ARMS, UPPER_BOUND)
_CELL_SIZE = (0.72, 0.24)  # inches


@dataclass(frozen=True)
class MitigationSection:
    """A section of the report.

    Args:
        sentences: what a reader should take away.
        recovered: table of each source.
        matrices: figure of each source; none where no further confounder was tested.
        analysis: the tables in full.
    """

    sentences: list[str]
    recovered: list[Table]
    matrices: list[Picture]
    analysis: MitigationAnalysis


def mitigation_section(results: StudyResults, plan: AnalysisPlan) -> MitigationSection | None:
    """The section of a study with arms against a confounder; None of any other."""
    analysis = analyse_mitigation(results, plan)
    if analysis is None or analysis.recovered.empty:
        return None
    named = MitigationAnalysis(_named(analysis.recovered), _named(analysis.matrix))
    return MitigationSection(
        sentences(named),
        [_recovered_table(rows, source) for source, rows in named.recovered.groupby("source")],
        []
        if named.matrix.empty
        else [_matrix(rows, source, n) for n, (source, rows) in enumerate(named.matrix.groupby("source"))],
        named,
    )


def _named(table: pd.DataFrame) -> pd.DataFrame:
    """Confounders with their parameters, arms in their order."""
    if table.empty:
        return table
    pairs = zip(table["confounder"], table["confounder_args"], strict=True)
    others = _ORDER.index(NULL_ARMS[0]) - 0.5  # lp_ft, weight decay
    rank = table["mitigation"].map(lambda name: _ORDER.index(name) if name in _ORDER else others)
    named = table.assign(confounder=[confounder_label(*pair) for pair in pairs], rank=rank)
    order = ["source", "confounder", "p_art", "rank", "mitigation"]
    return named.sort_values(order, kind="stable").drop(columns="rank")


def sentences(analysis: MitigationAnalysis) -> list[str]:
    """What is shown, in words: only what is significant after Holm, and what is not shown is told so."""
    lines = []
    arms = analysis.recovered[~analysis.recovered["mitigation"].isin(["none", UPPER_BOUND, *NULL_ARMS])]
    for (source, confounder), rows in arms.groupby(["source", "confounder"], sort=False):
        shown = rows[(rows["p_adjusted"] < 0.05) & (rows["recovered"] > 0)]
        if rows["recovered"].isna().all():
            lines.append(
                f"{source}, {confounder}: no loss is shown without an arm, so there is none to recover."
            )
        elif shown.empty:
            lines.append(f"{source}, {confounder}: no arm is shown to give back a part of the loss.")
        else:
            parts = [
                f"{row.mitigation} {interval(row.recovered, row.low, row.high)}" for row in shown.itertuples()
            ]
            lines.append(f"{source}, {confounder}: share of the loss that is given back: {'; '.join(parts)}.")
    return lines + _side_effects(analysis.matrix)


def _side_effects(matrix: pd.DataFrame) -> list[str]:
    """Which arm makes an untreated confounder worse; nothing where none was tested."""
    tests = matrix[matrix["p_adjusted"].notna()] if len(matrix) else matrix
    if tests.empty:
        return []
    worse = tests[tests["worse"]]
    lines = [
        f"{row.source}: {row.mitigation} against {row.confounder} makes {row.tested} worse where the"
        f" {row.carried_by} carry it: {interval(row.change, row.low, row.high)} AUC,"
        f" {p_text(row.p_adjusted)} (Holm over {len(tests)})."
        for row in worse.itertuples()
    ]
    if len(lines):
        return lines
    nothing = f"No arm is shown to make another confounder worse ({counted(len(tests), 'comparison')}, Holm)"
    falling = tests[tests["fall_low"] < 0]  # elsewhere the AUC stays above the clean one
    if falling.empty:
        return [f"{nothing}: the AUC with it is shown to stay above the clean one everywhere."]
    lowest = falling.iloc[int(np.argmin(falling["change"]))]
    where = f"{lowest['source']}, {lowest['mitigation']} against {lowest['confounder']}, tested on"
    return [
        f"{nothing}. The lowest change is {interval(lowest['change'], lowest['low'], lowest['high'])}"
        f" ({where} {lowest['tested']}); a harm of up to {number(max(-falling['low'].min(), 0))} AUC"
        " is not excluded everywhere."
    ]


def _recovered_table(rows: pd.DataFrame, source: object) -> Table:
    columns = ("arm", "o.o.d. AUC", "recovered share", "p", "clean AUC, change", "Brier, change", "slope")
    groups = []
    for confounder, members in rows.groupby("confounder", sort=False):
        loss = members["loss"].iloc[0]
        groups.append(
            (f"{confounder}: loses {number(loss)} AUC", [_row(one) for one in members.itertuples()])
        )
    note = (
        "Recovered: (o.o.d. AUC of the arm − that of none) / (clean AUC of none − its o.o.d. AUC), Fieller's"
        " interval, p of 0 after Holm over all arms; a dash where no loss is shown without an arm. Changes:"
        " on clean images against none; a higher Brier score is worse; slope of recalibration, 1 is"
        " calibrated."
        f" {NULL_ARMS[0]} and {NULL_ARMS[1]} must cure nothing; “{UPPER_BOUND}” is no arm."
    )
    return Table(f"{source}: what each arm gives back and costs", columns, groups, note=note)


def _row(row: Any) -> list[str]:
    share = "–" if row.mitigation == "none" else interval(row.recovered, row.low, row.high)
    changes = [
        interval(getattr(row, name), getattr(row, f"{name}_low"), getattr(row, f"{name}_high"), digits)
        for name, digits in (("clean_difference", 2), ("brier_difference", 3))
    ]
    if row.mitigation == "none":
        changes = ["–", "–"]
    return [
        row.mitigation,
        number(row.ood_auc),
        share,
        p_value(row.p_adjusted),
        *changes,
        number(row.calibration_slope),
    ]


def _matrix(rows: pd.DataFrame, source: object, place: int) -> Picture:
    """Arm x treated (rows) x tested (columns), in the direction in which the AUC falls; red where worse."""
    rows = rows[~rows["mitigation"].isin(NULL_ARMS)]
    rows = rows.assign(lowest=rows[["fall", "fall_none"]].min(axis=1)).reset_index(drop=True)
    worst = rows.loc[rows.groupby(["confounder", "mitigation", "tested"], sort=False)["lowest"].idxmin()]
    tested = sorted(worst["tested"].unique())
    lines = list(dict.fromkeys(zip(worst["confounder"], worst["mitigation"], strict=True)))
    with matplotlib.rc_context(style()):
        width, height = _CELL_SIZE
        size = (width * len(tested) + 1.9, height * len(lines) + 0.6)
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.subplots()
        for row in worst.itertuples():
            _draw_cell(axes, tested.index(row.tested), lines.index((row.confounder, row.mitigation)), row)
        axes.set(xlim=(-0.5, len(tested) - 0.5), ylim=(len(lines) - 0.5, -0.5))
        axes.set_xticks(range(len(tested)), tested)
        axes.set_yticks(range(len(lines)), [f"{treated}: {arm}" for treated, arm in lines])
        axes.tick_params(length=0, labelsize=8, top=True, labeltop=True, bottom=False, labelbottom=False)
        axes.spines[:].set_visible(False)
        alt = f"Transfer matrix of {source}. " + "; ".join(
            f"{row.mitigation} against {row.confounder}, tested on {row.tested}: {signed(row.change)}"
            + (" (worse)" if row.worse else "")
            for row in worst.itertuples()
        )
        return Picture(inline(figure, alt, f"transfer{place}"), str(source))


def _draw_cell(axes: Axes, column: int, line: int, row: Any) -> None:
    shown = bool(np.isfinite(row.p_adjusted) and row.p_adjusted < 0.05)
    colour = "none"
    if shown:
        colour = _WORSE if row.change < 0 else _BETTER
    box = matplotlib.patches.Rectangle(
        (column - 0.47, line - 0.44), 0.94, 0.88, facecolor=colour, edgecolor=INK if row.treated else "none"
    )
    axes.add_patch(box)
    ink = "white" if shown else INK
    axes.text(column, line, signed(row.change), ha="center", va="center", fontsize=8, color=ink)
