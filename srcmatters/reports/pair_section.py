"""Pairs of confounders in the report: the AUC with each correlation reversed, and what that costs."""

from __future__ import annotations

import ast
from dataclasses import dataclass

import pandas as pd

from srcmatters.confounders.pair_names import PairNames, pair_of
from srcmatters.evaluation.analysis_plan import AnalysisPlan
from srcmatters.evaluation.estimates import LEAST_TRAININGS
from srcmatters.evaluation.leans import spoken_p_art
from srcmatters.evaluation.outcomes import Outcome
from srcmatters.evaluation.pairs import QUESTIONS, analyse_pairs, environment_words
from srcmatters.evaluation.sentences import scope
from srcmatters.evaluation.verdicts import Verdict
from srcmatters.numbers import interval, number, share
from srcmatters.reports.setups import confounder_label
from srcmatters.reports.study_tables import Table
from srcmatters.runs.finished_runs import AXES, StudyResults

_SHOWN = ("clean", "iid", *QUESTIONS, "first_alone_reversed", "second_alone_reversed")
_ENOUGH_TRAININGS = 5
_ENDS = {
    Outcome.LEANS: ", beyond the margin of {margin}.",
    Outcome.WITHIN_MARGIN: ", within the margin of {margin}.",
    Outcome.INCONCLUSIVE: ": neither shown to exceed the margin of {margin} nor to lie within it.",
}


@dataclass(frozen=True)
class PairSection:
    """A section of the report.

    Args:
        verdicts: three of each source and pair at the p_art of the plan.
        tables: AUCs, one of each pair; losses, one of each pair.
        pairs: the analysis in full.
    """

    verdicts: list[Verdict]
    tables: list[Table]
    pairs: pd.DataFrame


def pair_section(results: StudyResults, plan: AnalysisPlan) -> PairSection | None:
    """The section of a study with pairs of confounders; None of any other."""
    analysis = analyse_pairs(results, plan)
    if analysis.empty:
        return None
    tables: list[Table] = []
    for (name, args), rows in analysis.groupby(["confounder", "confounder_args"], sort=True):
        tables += [_area_table(rows, _pair(name, args)), _loss_table(rows, _pair(name, args))]
    return PairSection(pair_verdicts(analysis, plan), tables, analysis)


def pair_verdicts(analysis: pd.DataFrame, plan: AnalysisPlan) -> list[Verdict]:
    """Sentences on every source and pair, at the p_art that the plan declared, else the highest.

    Args:
        analysis: of :func:`srcmatters.evaluation.pairs.analyse_pairs`; runs with an arm have no sentence.
        plan: of the study.
    """
    if analysis.empty:
        return []
    answers = analysis[analysis["environment"].isin(QUESTIONS) & analysis["loss"].notna()]
    plain = answers[answers["mitigation"] == "none"]
    result = []
    for _, rows in plain.groupby([*AXES, "source"], sort=True, dropna=False):
        spoken = rows[rows["p_art"] == spoken_p_art(rows["p_art"], plan)]
        result += [_verdict(row, plan) for _, row in spoken.iterrows()]
    return result


def _verdict(row: pd.Series, plan: AnalysisPlan) -> Verdict:
    words = environment_words(row["environment"], _pair(row["confounder"], row["confounder_args"]))
    label = confounder_label(row["confounder"], row["confounder_args"])
    control = "" if row["control"] == "none" else f" (control: {row['control']})"
    begin = f"{row['source']}, {label}{control}, p_art {share(row['p_art'])}:"
    outcome, reason = Outcome(row["outcome"]), ""
    if outcome is Outcome.NOT_RANKED:
        reason = "the clean AUC is not shown to exceed chance"
        text = f"{begin} {reason}, so the absence of a loss would not be evidence of robustness."
    else:
        more = " more than at p_art 0" if row["metric"] == "learned" else ""
        size = f"{interval(row['loss'], row['low'], row['high'])} AUC"
        end = _ENDS.get(outcome, ".").format(margin=number(plan.equivalence_margin))
        text = f"{begin} with {words}, the network loses {size}{more}{end}{scope(row)}"
    axes = {name: row[name] for name in AXES}
    values = {name: float(row[name]) for name in ("low", "high")}
    kind = "lean" if row["control"] == "none" else "control"
    return Verdict(
        kind,  # type: ignore[arg-type]
        outcome,
        axes,
        (str(row["source"]),),
        float(row["p_art"]),
        text,
        float(row["loss"]),
        reason=reason,
        metric=f"{row['metric']}, {row['environment']}",
        **values,
    )


def _pair(name: object, args: object) -> PairNames:
    pair = pair_of(str(name), ast.literal_eval(str(args)))
    assert pair is not None
    return pair


def _row_name(row: pd.Series) -> list[str]:
    arm = "" if row["mitigation"] == "none" else f", {row['mitigation']}"
    control = "" if row["control"] == "none" else f", control: {row['control']}"
    return [f"{row['source']}{arm}{control}", share(row["p_art"])]


def _by_run(rows: pd.DataFrame) -> list[tuple[list[str], dict[str, pd.Series]]]:
    """Name of each source, arm and p_art, with its rows by environment."""
    keys = [*AXES, "source", "mitigation", "p_art"]
    result = []
    for _, members in rows.groupby(keys, sort=True, dropna=False):
        of = {str(row["environment"]): row for _, row in members.iterrows()}
        result.append((_row_name(of["clean"]), of))
    return result


def _headings(pair: PairNames) -> list[str]:
    return [{"clean": "clean", "iid": "i.i.d."}.get(name) or environment_words(name, pair) for name in _SHOWN]


def _area_table(rows: pd.DataFrame, pair: PairNames) -> Table:
    first = rows.iloc[0]
    label = confounder_label(first["confounder"], first["confounder_args"])
    content = [
        [*name, *(interval(*(of[one][end] for end in ("auc", "auc_low", "auc_high"))) for one in _SHOWN)]
        for name, of in _by_run(rows)
    ]
    second = "as many of" if pair.p_art_second is None else f"{share(pair.p_art_second)} of"
    note = (
        f"p_art: share of the positives that carry {pair.names[0]} in training; {second} them carry"
        f" {pair.names[1]}, {pair.carriers} carriers. Reversed: every negative carries it, no positive does."
        " All from one table of four states: clean, each alone, both. Arms treat the first."
    )
    return Table(f"{label}: AUC", ("source", "p_art", *_headings(pair)), [("", content)], 2, note)


def _loss_table(rows: pd.DataFrame, pair: PairNames) -> Table:
    first = rows.iloc[0]
    label = confounder_label(first["confounder"], first["confounder_args"])
    columns = _SHOWN[2:]
    content = [
        [*name, *(_loss(of[one]) for one in columns)]
        for name, of in _by_run(rows)
        if pd.notna(of["ood"].get("loss"))
    ]
    note = (
        "AUC with the correlation as in training less that with it reversed, the other confounder alike;"
        " less the same of the runs at p_art 0 in the same test where there are such. Outcomes after Holm"
        " over all losses of pairs in this study, against the declared margin."
    )
    trainings = int(rows["trainings"].min())
    if trainings < LEAST_TRAININGS:
        note += " Some rows have one training run or two: their intervals cover other images, not other runs."
    elif trainings < _ENOUGH_TRAININGS:
        note += f" With {trainings} training runs a row, the variance between runs is poorly estimated."
    headings = _headings(pair)[2:]
    return Table(f"{label}: loss under reversal", ("source", "p_art", *headings), [("", content)], 2, note)


def _loss(row: pd.Series) -> str:
    return f"{interval(row['loss'], row['low'], row['high'])} {row['outcome']}"
