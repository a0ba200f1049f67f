"""Figure of a study that varies how a network is adapted: learned lean over what moved, over the cases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib
import numpy as np
import pandas as pd
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from srcmatters.numbers import interval, number, share
from srcmatters.reports.inline_svg import Picture, inline, style
from srcmatters.reports.setups import confounder_label
from srcmatters.reports.study_figures import Line

_GROUP = ["target", "network", "depth", "protocol", "confounder", "confounder_args"]
_SIZE = (3.3, 2.55)  # inches of a panel
_ALL = 0  # train_size: every case of the training folds


@dataclass(frozen=True)
class AdaptationFigure:
    """The panels of one confounder.

    Args:
        heading: the confounder, and the setup where several are in the study.
        panels: over the share of weights that moved, over the training cases, or one of them.
    """

    heading: str
    panels: list[Picture]


def adaptation_figures(
    leans: pd.DataFrame, cells: pd.DataFrame, lines: Mapping[str, Line]
) -> list[AdaptationFigure]:
    """A figure per confounder where runs differ in ``adaptation`` or ``train_size``; else none.

    The first panel holds the runs on all cases (or on the most there are), the second those of which the
    largest share of weights moved; both at the p_art that the study declares.

    Args:
        leans: :attr:`srcmatters.evaluation.analysis.Analysis.leans`.
        cells: of the study; ``moved_share`` where every run tells.
        lines: how each source is drawn.
    """
    if leans.empty or not {"adaptation", "train_size"} <= set(leans):
        return []
    declared = leans[leans["family"] == "declared"]
    rows = declared.assign(moved_share=_moved_shares(declared, cells))
    figures = []
    kept = rows[_GROUP].astype(str).apply(" · ".join, axis=1)
    for place, (_, own) in enumerate(rows.groupby(kept, sort=True)):
        panels = _panels(own, lines, f"adapt{place}")
        if panels:
            first = own.iloc[0]
            label = confounder_label(first["confounder"], first["confounder_args"])
            setup = f"{first['target']}, {first['network']}, p_art {share(float(first['p_art']))}"
            figures.append(AdaptationFigure(f"{label} ({setup})", panels))
    return figures


def _moved_shares(leans: pd.DataFrame, cells: pd.DataFrame) -> list[float]:
    """The share of weights that moved in the runs behind each row; NaN where they do not tell."""
    axes = ["network", "depth", "source", "adaptation"]
    if "moved_share" not in cells:
        return [np.nan] * len(leans)
    shares = cells.groupby([cells[axis].astype(str) for axis in axes])["moved_share"].mean()
    keys = zip(*(leans[axis].astype(str) for axis in axes), strict=True)
    return [float(shares.get(key, np.nan)) for key in keys]


def _panels(rows: pd.DataFrame, lines: Mapping[str, Line], key: str) -> list[Picture]:
    panels = []
    sizes = sorted(rows["train_size"].astype(int).unique(), key=_cases)
    on_most = rows[rows["train_size"].astype(int) == sizes[-1]]
    if on_most["adaptation"].nunique() > 1 and on_most["moved_share"].notna().all():
        title = f"{_size_name(sizes[-1])} training cases" if sizes[-1] else "all training cases"
        panels.append(Picture(_over_moved(on_most, lines, title, f"{key}moved"), title))
    if len(sizes) > 1:
        freest = rows.sort_values("moved_share", kind="stable")["adaptation"].iloc[-1]
        freest = "full" if "full" in set(rows["adaptation"]) else freest
        title = f"adaptation {freest}"
        most = rows[rows["adaptation"] == freest]
        panels.append(Picture(_over_cases(most, sizes, lines, title, f"{key}size"), title))
    return panels


def _cases(size: int) -> float:
    return np.inf if size == _ALL else float(size)


def _size_name(size: int) -> str:
    return "all" if size == _ALL else str(size)


def _over_moved(rows: pd.DataFrame, lines: Mapping[str, Line], title: str, key: str) -> Markup:
    with matplotlib.rc_context(style()):
        figure, axes = _axes()
        # In steps: on any scale the head alone is far from all others, which lie upon each other.
        shares = rows.groupby("adaptation")["moved_share"].mean().sort_values(kind="stable")
        places = {name: place for place, name in enumerate(shares.index)}
        _draw(axes, rows.assign(x=rows["adaptation"].map(places)), lines)
        names = [f"{name}\n{number(value, 3) if value < 1 else 1}" for name, value in shares.items()]
        axes.set_xticks(range(len(names)), names)
        axes.set_xlabel("adaptation, and the share of the weights that moved")
        return inline(figure, f"Learned lean over the share of moved weights, {title}. {_words(rows)}", key)


def _over_cases(
    rows: pd.DataFrame, sizes: Sequence[int], lines: Mapping[str, Line], title: str, key: str
) -> Markup:
    with matplotlib.rc_context(style()):
        figure, axes = _axes()
        places = {size: place for place, size in enumerate(sizes)}
        _draw(axes, rows.assign(x=rows["train_size"].astype(int).map(places)), lines)
        axes.set_xticks(range(len(sizes)), [_size_name(size) for size in sizes])
        axes.set_xlabel("training cases")
        return inline(figure, f"Learned lean over the training cases, {title}. {_words(rows)}", key)


def _axes() -> tuple[Figure, Axes]:
    figure = Figure(figsize=_SIZE, layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    axes.axhline(0, color="#888888", linewidth=0.8, linestyle=(0, (2, 2)), zorder=0)
    axes.set_ylabel("learned lean, AUC")
    return figure, axes


def _draw(axes: Axes, rows: pd.DataFrame, lines: Mapping[str, Line]) -> None:
    for source in [name for name in lines if name in set(rows["source"])]:
        mine, line = rows[rows["source"] == source].sort_values("x"), lines[source]
        lean, low, high = (mine[column].to_numpy(dtype=float) for column in ("lean", "low", "high"))
        axes.errorbar(
            mine["x"].to_numpy(dtype=float),
            lean,
            yerr=np.nan_to_num(np.clip([lean - low, high - lean], 0, None)),
            color=line.colour,
            marker=line.marker,
            linestyle=line.dash,
            markersize=4.5,
            linewidth=1.6,
            elinewidth=1,
        )


def _words(rows: pd.DataFrame) -> str:
    return "; ".join(
        f"{row.source}, {row.adaptation}, {_size_name(int(str(row.train_size)))} cases:"
        f" {interval(row.lean, row.low, row.high)}"
        for row in rows.itertuples()
    )
