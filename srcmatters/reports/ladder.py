"""The ladder as a table and as a figure."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from srcmatters.evaluation.ladder import CAUTION, Rung
from srcmatters.evaluation.linear_probe import RESAMPLINGS
from srcmatters.evaluation.natural_shortcut import NaturalShortcut
from srcmatters.evaluation.resampling import Ranking, auc, replicate_auc, resample_patients
from srcmatters.numbers import NONE, interval, number, share
from srcmatters.reports.inline_svg import INK, Picture, inline, style
from srcmatters.reports.study_tables import Table

_ROW = 0.27


def ladder_table(rungs: Sequence[Rung], beyond: str = "") -> Table:
    """A row per step."""
    rows = [
        [
            rung.title,
            str(rung.features or NONE),
            "yes" if rung.anatomy else "no",
            interval(rung.auc, rung.low, rung.high),
        ]
        for rung in rungs
    ]
    columns = ("what the classifier is given", "features", "anatomy", "AUC")
    note = f"{CAUTION} Logistic regression fixed beforehand, five folds by patient, 95 % intervals."
    return Table(
        "The ladder: what is knowable without the disease",
        columns,
        [("", rows)],
        1,
        f"{note} {beyond}".strip(),
    )


def ladder_figure(rungs: Sequence[Rung], key: str) -> Picture:
    """AUC of every step with its interval; steps without anatomy are filled circles.

    Args:
        rungs: in order.
        key: see :func:`srcmatters.reports.inline_svg.inline`.
    """
    with matplotlib.rc_context(style()):
        figure = Figure(figsize=(6.2, _ROW * len(rungs) + 0.7), layout="constrained")
        axes = figure.subplots()
        axes.axvline(0.5, color="#888888", linewidth=0.9)
        for at, rung in enumerate(rungs):
            colour = "#0072B2" if rung.anatomy else "#D55E00"
            axes.plot([rung.low, rung.high], [at, at], color=colour, linewidth=1.8)
            axes.plot([rung.auc], [at], "o" if rung.anatomy else "D", color=colour, markersize=5)
        lowest = min([0.45, *(rung.low - 0.02 for rung in rungs)])
        axes.set(xlim=(lowest, 1.0), ylim=(len(rungs) - 0.4, -0.6))
        axes.set_yticks(range(len(rungs)), [rung.title for rung in rungs])
        axes.tick_params(axis="y", length=0)
        axes.set_xlabel("AUC (diamonds: no anatomy to be seen; circles: anatomy)", color=INK)
        axes.xaxis.set_major_formatter(lambda value, _: number(value, 1))
        axes.spines[["top", "right", "left"]].set_visible(False)
        words = "; ".join(f"{rung.title}: {interval(rung.auc, rung.low, rung.high)}" for rung in rungs)
        return Picture(inline(figure, f"AUC by step. {words}.", key))


def target_ladder(
    target: str, shortcut: NaturalShortcut | str, cells: pd.DataFrame, predictions: pd.DataFrame
) -> tuple[Picture, list[Table]] | None:
    """Figure and tables of a study's target; None where its images were not measured.

    Args:
        target: name.
        shortcut: what was measured of it.
        cells: runs of the study without null controls; those of the lowest p_art are looked at.
        predictions: of all runs.
    """
    if isinstance(shortcut, str) or not shortcut.rungs:
        return None
    rungs = [Rung(**rung) for rung in shortcut.rungs]
    key = "ladder" + "".join(sign for sign in target if sign.isalnum())
    tables = [ladder_table(rungs)]
    if shortcut.quintiles:
        beyond = _beyond_table(shortcut, cells[cells["target"] == target], predictions)
        tables += [] if beyond is None else [beyond]
    return ladder_figure(rungs, key), tables


def _beyond_table(shortcut: NaturalShortcut, cells: pd.DataFrame, predictions: pd.DataFrame) -> Table | None:
    """Clean AUC of each source, and within quintiles of the step; runs are not compared with each other."""
    lowest = cells[np.isclose(cells["p_art"], cells["p_art"].min())]
    rows = []
    for source, runs in lowest.groupby("source", sort=True):
        tested = predictions[predictions["cell"].isin(runs.index)]
        known = tested["case_id"].astype(str).map(shortcut.quintiles)
        tested, quintile = tested[known.notna()], known.dropna().to_numpy(dtype=int)
        if tested.empty:
            continue
        weights = resample_patients(tested["patient_id"], RESAMPLINGS)
        run = pd.factorize(tested["cell"])[0]
        columns = [str(source), f"{run.max() + 1}"]
        for strata in (run, run * 10 + quintile):
            ranking = Ranking(
                tested["label"].to_numpy(),
                tested["score_clean"].to_numpy(),
                weights.rows(tested["patient_id"]),
                strata=strata,
            )
            low, high = np.nanquantile(replicate_auc(ranking, weights), [0.025, 0.975])
            columns.append(interval(auc(ranking), low, high))
        rows.append(columns)
    if not rows:
        return None
    share_text = share(lowest["p_art"].iloc[0])
    caption = f"What the networks know beyond: {shortcut.plain_step}, p_art {share_text}"
    note = (
        "Within quintiles: clean AUC among cases that the step without anatomy that tells most cannot tell"
        " apart; quintiles leave a little of it. 95 % intervals, patients resampled."
    )
    return Table(caption, ("source", "runs", "clean AUC", "within quintiles"), [("", rows)], 1, note)
