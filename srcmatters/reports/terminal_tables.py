"""Tables for the terminal."""

from __future__ import annotations

import ast
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from srcmatters.confounders.pair_names import PairNames, pair_of

_AXES = ["target", "network", "confounder", "source", "p_art"]
# Repetitions of one cell, and what does not matter to it.
_REPEATED = ("fold", "seed", "device")
_FIGURES = {
    "clean_auc": "clean AUC",
    "iid_auc": "i.i.d. AUC",
    "ood_auc": "o.o.d. AUC",
    "iid_minus_ood_auc": "i.i.d. - o.o.d.",
    "confounder_effect": "effect (log-odds)",
}


def print_run(
    settings: Mapping[str, Any],
    metrics: Mapping[str, float],
    output_dir: Path,
    where_to_look: str,
    seconds: float,
    verdicts: Sequence[tuple[str, str]] = (),
) -> None:
    """Print the results of one run, its verdict, and where its evidence lies.

    Args:
        settings: of the run.
        metrics: as :func:`srcmatters.evaluation.compute_metrics` gives them, and further ones.
        output_dir: of the run.
        where_to_look: how to compare it with others; "": nothing tracks it.
        seconds: that it took.
        verdicts: outcome and sentence of each; none without a confounder, three of a pair.
    """
    title = escape(f"{settings['source']} → {settings['target']} · {settings['network']}")
    table = Table(title=title, title_justify="left", show_header=False)
    pair = pair_of(settings["confounder"], settings.get("confounder_args"))
    table.add_row("confounder", escape(f"{_taught(settings, pair)}, fold {settings['fold']}"))
    table.add_row("test", f"{metrics['cases']} images, {metrics['positives']} positive")
    table.add_row("clean AUC", f"{metrics['clean_auc']:.3f}")
    table.add_row("i.i.d. AUC", f"{metrics['iid_auc']:.3f}   (confounded as in training)")
    reversed_in = "correlation reversed" if pair is None else "both correlations reversed"
    for place, name in zip(("first", "second"), () if pair is None else pair.names, strict=False):
        area, alone = metrics[f"{place}_reversed_auc"], metrics[f"{place}_alone_reversed_auc"]
        other = f"the other as in training; {alone:.3f} without it"
        table.add_row(f"{escape(name)} reversed, AUC", f"{area:.3f}   ({other})")
    table.add_row("o.o.d. AUC", f"{metrics['ood_auc']:.3f}   ({reversed_in})")
    if "confounder_effect" in metrics:
        effect, error = metrics["confounder_effect"], metrics["confounder_effect_standard_error"]
        table.add_row("effect of the confounder", f"{effect:+.2f} ± {error:.2f} in log-odds")
    if "detectability_auc" in metrics:
        table.add_row("detectability", f"{metrics['detectability_auc']:.2f}   (a probe's AUC, .5 is none)")
    console = Console()
    console.print(table)
    for outcome, sentence in verdicts:
        console.print(f"[bold]{outcome}[/bold]  {escape(sentence)}", highlight=False, soft_wrap=True)
    console.print(
        f"{seconds:.0f} s. Everything is in [bold]{escape(str(output_dir))}[/bold]",
        highlight=False,
        soft_wrap=True,
    )
    if where_to_look:
        console.print(f"Compare runs: {escape(where_to_look)}", highlight=False, soft_wrap=True)


def _taught(settings: Mapping[str, Any], pair: PairNames | None) -> str:
    """Which confounder lies on whom in training."""
    negatives = f" and {settings['p_neg']:.0%} of the negatives" if settings.get("p_neg") else ""
    share = settings["p_art"]
    if pair is None:
        return f"{settings['confounder']} on {share:.0%} of the positives{negatives}"
    second = share if pair.p_art_second is None else pair.p_art_second
    shares = f"{pair.names[0]} on {share:.0%}, {pair.names[1]} on {second:.0%} of the positives"
    return f"{shares}{negatives}, {pair.carriers} carriers"


def print_comparison(runs: pd.DataFrame) -> None:
    """Print mean ± standard deviation over folds and seeds; runs that differ otherwise are kept apart.

    What is the same in all runs (target, network, confounder as a rule) stands in the title. Each depth has a
    table of its own.
    """
    depths = runs["depth"] if "depth" in runs else pd.Series("finetune", index=runs.index)
    for depth, members in runs.groupby(depths.fillna("finetune"), sort=True):
        members.attrs = runs.attrs  # a setting of one depth alone is no difference within the other
        _print_depth(members, str(depth) if depths.nunique() > 1 else "")


def _print_depth(runs: pd.DataFrame, depth: str) -> None:
    others = [name for name in runs.attrs.get("settings", []) if name not in (*_AXES, *_REPEATED, "depth")]
    shown = [axis for axis in _AXES if axis in ("source", "p_art")]
    varying = [name for name in (*others, *_AXES) if name in shown or runs[name].nunique(dropna=False) > 1]
    same = [escape(str(runs[axis].iloc[0])) for axis in _AXES if axis not in varying]
    title = " · ".join([*([depth] if depth else []), *same, "mean ± standard deviation over folds and seeds"])
    table = Table(title=title, title_justify="left")
    for axis in varying:
        table.add_column(axis)
    for name in ("runs", *_FIGURES.values()):
        table.add_column(name, justify="right")
    last: tuple[Any, ...] = ()
    # Runs of a sampled confounder have no effect, alone they have not even the column.
    runs = runs.reindex(columns=[*varying, *_FIGURES])
    for group, members in runs.groupby(varying, sort=True, dropna=False):
        if last and group[:-1] != last:
            table.add_section()
        last = tuple(group[:-1])
        table.add_row(*map(_spelled, group), str(len(members)), *(_mean(members[name]) for name in _FIGURES))
    # Redirected into a file or a pipe there is no terminal whose width would be known.
    Console(width=None if sys.stdout.isatty() else 140).print(table)


def _spelled(value: object) -> str:
    """A setting as a person writes it: "height .1, text L" instead of a dictionary."""
    if isinstance(value, float):
        return "–" if math.isnan(value) else f"{value:g}"
    text = str(value)
    if text.startswith("{"):
        try:
            mapping = ast.literal_eval(text)
        except (ValueError, SyntaxError):
            return escape(text)
        text = ", ".join(f"{name} {entry}" for name, entry in mapping.items()) or "–"
    return escape(text)


def _mean(values: pd.Series) -> str:
    if values.isna().all():
        return "–"
    return f"{values.mean():.3f}" + (f" ± {values.std():.3f}" if len(values) > 1 else "")
