"""What a finished study says of the sources of a ranking: fine-tuned leans beside the frozen ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy import stats

from srcmatters.errors import InputError
from srcmatters.numbers import number, p_text
from srcmatters.source_comparison.figures import COLOURS, MARKERS

#: Fewer sources order themselves alike too often by chance: among three, one order in six.
LEAST_SOURCES = 8
_LEANS, _ENVIRONMENTS = "leans.csv", "environments.csv"
_NEEDED = {
    _LEANS: (
        "target",
        "network",
        "depth",
        "control",
        "confounder",
        "source",
        "family",
        "lean",
        "low",
        "high",
    ),
    _ENVIRONMENTS: ("network", "depth", "control", "source", "p_art", "environment", "auc"),
}


@dataclass(frozen=True)
class FineTuned:
    """Sources that are in both, and how many order alike.

    Args:
        table: source, confounder, lean, low, high (frozen), tuned_lean, tuned_low, tuned_high, clean_auc
            (frozen) and tuned_clean_auc (at p_art 0).
        correlations: confounder, sources, and from :data:`LEAST_SOURCES` sources on Spearman's rho and its p.
    """

    table: pd.DataFrame
    correlations: pd.DataFrame

    @property
    def remarks(self) -> list[str]:
        """A sentence per confounder."""
        lines = []
        for row in self.correlations.to_dict(orient="records"):
            if np.isnan(row["rho"]):
                lines.append(
                    f"{row['confounder']}: {row['sources']} sources were fine-tuned as well; a rank"
                    f" correlation is given from {LEAST_SOURCES} on."
                )
            else:
                lines.append(
                    f"{row['confounder']}: Spearman's rank correlation of frozen and fine-tuned lean over"
                    f" {row['sources']} sources {number(row['rho'])} ({p_text(row['p'])})."
                )
        return lines


@dataclass(frozen=True)
class TunedStudy:
    """Of a finished study what can stand beside a ranking, its sources named as a ranking names them.

    Args:
        leans: source, confounder, lean, low, high of fine-tuned networks.
        clean_auc: at p_art 0, by source.
    """

    leans: pd.DataFrame
    clean_auc: pd.Series


def read_tuned_study(
    folder: str | Path,
    target: str,
    names: Sequence[str],
    confounders: Sequence[str],
    default_network: str,
    aliases: Mapping[str, str] | None = None,
) -> TunedStudy:
    """The fine-tuned leans of a finished study, before anything is ranked.

    Args:
        folder: of the study, whose ``tables`` are read.
        target: of the ranking; the study's has to be the same.
        names: of the ranking's sources.
        confounders: of the ranking.
        default_network: the network that the name of a source in the ranking does not tell.
        aliases: what a study calls sources that the ranking calls otherwise, by the study's name.

    Raises:
        InputError: no tables, another target, no fine-tuned lean of any source of the ranking, or several of
            one source, which only differ in something that a ranking does not have.
    """
    tables = {name: _read(Path(folder) / "tables" / name) for name in _NEEDED}
    tables = {
        name: _named(table, default_network).replace({"source": dict(aliases or {})})
        for name, table in tables.items()
    }
    tuned = tables[_LEANS]
    tuned = tuned[tuned["family"] == "declared"]
    targets = sorted(tuned["target"].unique())
    if targets and targets != [target]:
        raise InputError(f"--study: {folder} is of the target {', '.join(targets)}, expected {target}")
    keys = ["source", "confounder"]
    both = tuned[tuned["source"].isin(names) & tuned["confounder"].isin(confounders)]
    if both.empty:
        there = ", ".join(sorted(tuned["source"].unique())) or "none"
        raise InputError(
            f"--study: {folder} has fine-tuned {there}, expected sources and confounders of the ranking"
            f" ({', '.join(names)})"
        )
    if both.duplicated(keys).any():
        twice = both.loc[both.duplicated(keys), "source"].iloc[0]
        raise InputError(
            f"--study: {folder} has several fine-tuned leans of {twice}, expected one setup (target, network,"
            " adaptation, train_size, protocol)"
        )
    environments = tables[_ENVIRONMENTS]
    at_none = environments[(environments["environment"] == "clean") & (environments["p_art"] == 0)]
    return TunedStudy(
        both[[*keys, "lean", "low", "high"]], at_none.drop_duplicates("source").set_index("source")["auc"]
    )


def fine_tuned(tuned: TunedStudy, sources: pd.DataFrame, leans: pd.DataFrame) -> FineTuned:
    """Put the leans of a study beside those of a ranking.

    Args:
        tuned: of :func:`read_tuned_study`.
        sources, leans: see :class:`srcmatters.source_comparison.ranking.SourceRanking`.
    """
    wide = tuned.leans.rename(columns={name: f"tuned_{name}" for name in ("lean", "low", "high")})
    both = leans.merge(wide, on=["source", "confounder"])
    clean = sources.set_index("source")["clean_auc"]
    both = both.assign(
        clean_auc=both["source"].map(clean), tuned_clean_auc=both["source"].map(tuned.clean_auc)
    )
    return FineTuned(both, _correlations(both))


def _read(path: Path) -> pd.DataFrame:
    if not path.is_file():
        raise InputError(f"--study: {path} does not exist, expected the folder of a finished study")
    table = pd.read_csv(path)
    missing = [name for name in _NEEDED[path.name] if name not in table]
    if missing:
        raise InputError(f"--study: {path}: no column {missing[0]}, expected a table of `srcmatters study`")
    return table


def _named(table: pd.DataFrame, default_network: str) -> pd.DataFrame:
    """Rows of plain fine-tunings of every weight on all cases, with sources named as a ranking does."""
    plain = (table["depth"] == "finetune") & (table["control"] == "none")
    for axis, usual in (("adaptation", "full"), ("train_size", 0)):
        if axis in table:
            plain &= table[axis] == usual
    rows = table[plain]
    networks = rows["network"].where(rows["network"] != default_network, "")
    return rows.assign(source=rows["source"] + networks.map(lambda name: f"@{name}" if name else ""))


def _correlations(both: pd.DataFrame) -> pd.DataFrame:
    rows = []
    for confounder, own in both.groupby("confounder"):
        row = {"confounder": confounder, "sources": len(own), "rho": float("nan"), "p": float("nan")}
        if len(own) >= LEAST_SOURCES:
            correlation = stats.spearmanr(own["lean"], own["tuned_lean"])
            row |= {"rho": float(correlation.statistic), "p": float(correlation.pvalue)}
        rows.append(row)
    return pd.DataFrame(rows)


def fine_tuned_figure(beside: FineTuned, title: str = "") -> Figure:
    """A scatter per confounder: frozen lean across, fine-tuned lean upwards, a mark per source.

    Args:
        beside: of :func:`fine_tuned`.
        title: written above.
    """
    kinds = list(dict.fromkeys(beside.table["confounder"]))
    figure = Figure(figsize=(3.4 * len(kinds) + 1.6, 3.4), layout="constrained")
    panels = figure.subplots(1, len(kinds), sharex=True, sharey=True, squeeze=False)[0]
    names = list(dict.fromkeys(beside.table["source"]))
    for axes, kind in zip(panels, kinds, strict=True):
        _scatter(axes, beside.table[beside.table["confounder"] == kind], names)
        axes.set_title(str(kind), fontsize=9, loc="left")
    panels[0].set_ylabel("learned lean, fine-tuned")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right upper", frameon=False, fontsize=8)
    figure.suptitle(title, fontsize=10)
    return figure


def _scatter(axes: Axes, rows: pd.DataFrame, names: list[str]) -> None:
    columns = ["lean", "low", "high", "tuned_lean", "tuned_low", "tuned_high"]
    for source, values in zip(rows["source"], rows[columns].to_numpy(dtype=float), strict=True):
        number = names.index(str(source))
        x, low, high, y, tuned_low, tuned_high = map(float, values)
        axes.errorbar(
            [x],
            [y],
            xerr=[[max(x - low, 0)], [max(high - x, 0)]],
            yerr=[[max(y - tuned_low, 0)], [max(tuned_high - y, 0)]],
            color=COLOURS[number % len(COLOURS)],
            marker=MARKERS[number % len(MARKERS)],
            linestyle="none",
            elinewidth=1,
            label=str(source),
        )
    axes.axline((0, 0), slope=1, color="0.7", linewidth=1, zorder=0)
    axes.set_xlabel("learned lean, frozen features")
    axes.spines[["top", "right"]].set_visible(False)
