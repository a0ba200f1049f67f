"""The confounder audit of an exported model: what its run and the runs beside it in a study say."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from srcmatters import numbers
from srcmatters.errors import InputError
from srcmatters.evaluation.analysis import analyse
from srcmatters.evaluation.analysis_plan import AnalysisPlan
from srcmatters.evaluation.outcomes import Outcome, gravest
from srcmatters.evaluation.sentences import in_words
from srcmatters.evaluation.verdicts import Verdict, lean_verdicts
from srcmatters.export.performance import REPLICATES
from srcmatters.reports.coverage import not_tested
from srcmatters.reports.network_checks import sentences_for_a_card
from srcmatters.runs.finished_runs import StudyResults, read_results
from srcmatters.runs.private_settings import BOOKKEEPING
from srcmatters.runs.trained_run import TrainedRun

#: In which a run may differ from the exported one and still be trained alike: what an audit varies, and what
#: says where and how a training ran. What is not named here decides what the network learns or sees.
_VARIED = {"confounder", "confounder_args", "p_art", "assignment", "fold", "seed", "force"}
_RECORDED_ALIKE = BOOKKEEPING | {"device"}
_TELLING = ("target", "network", "source", "depth", "protocol", "image_size")
_MOST_NAMED = 3
_MARGIN = AnalysisPlan().equivalence_margin
_CELL = ("confounder", "confounder_args", "p_art")
_ENVIRONMENTS = ("clean", "iid", "ood")
_GAP = {"iid_minus_ood": ("low", "high"), "effect": ("effect_low", "effect_high")}


def audit(run: TrainedRun, study: str | Path | None = None) -> dict[str, Any] | None:
    """What was tested, with 95 % intervals.

    Args:
        run: the run that is exported.
        study: a study, or any folder of runs, some of which were trained under a confounder and else like
            this run, setting by setting; None: the run alone.

    Returns:
        "tested": one row per confounder and p_art above 0: AUC in each environment, i.i.d. minus o.o.d.,
        effect in log-odds, "lean" with its "metric" (beyond the loss at p_art 0 where the study has such
        runs), "outcome" as a study's report has it, "reason", detectability, number of trainings, and
        output_dirs (of those runs, for the monitors; no part of what is exported); "outcome": the gravest;
        "marks": of :func:`marks`; "leans_on": those that begin with LEANS; "notes"; "not_tested"; "of": "this
        network" or "networks trained alike". None where nothing was trained under a confounder.

    Raises:
        InputError: the study's runs under a confounder were trained otherwise, or on other images.
    """
    results = read_results(run.folder if study is None else study)
    cells = results.cells
    # A null control is no evidence of what a network leans on.
    changed = (cells["confounder"] != "none") & (cells["control"] == "none")
    above = cells["p_art"].astype(float) > 0
    candidates = cells[changed & above]
    if candidates.empty:
        return None
    alike, reason = _alike(run, candidates, str(study or run.folder))
    if not alike:
        raise InputError(reason)
    references = _alike(run, cells[changed & ~above], "")[0]
    siblings = cells.loc[[*alike, *references]]
    digest = run.record.get("dataset_sha256")
    if digest and "dataset_sha256" in siblings and set(siblings["dataset_sha256"].dropna()) - {digest}:
        target = run.settings["target"]
        raise InputError(f"{study}: runs on other images or labels of {target} than those of RUN")
    siblings.attrs = cells.attrs
    audited = _tables(siblings, results, str(run.folder.resolve()))
    if study is not None:
        first = siblings.iloc[0]
        setup = (str(first["target"]), str(first["network"]), str(first["depth"]))
        audited["notes"] += sentences_for_a_card(Path(study), setup, str(first["source"]))
    return audited


def marks(tested: Iterable[Mapping[str, Any]]) -> list[str]:
    """What an audit came to, a line for each confounder: its outcome first, then words, then figures.

    Of several p_art it is the gravest outcome, and of these the highest p_art.

    Args:
        tested: rows of :func:`audit`.
    """
    spoken: dict[tuple[str, str], Mapping[str, Any]] = {}
    for row in sorted(tested, key=lambda row: float(row["p_art"]), reverse=True):
        key = (row["confounder"], row["confounder_args"])
        before = spoken.setdefault(key, row)
        if gravest([before["outcome"], row["outcome"]]) is not before["outcome"]:
            spoken[key] = row
    lines = {key: _mark(row) for key, row in spoken.items()}
    ordered = list(Outcome)
    return [lines[key] for key in sorted(lines, key=lambda key: ordered.index(spoken[key]["outcome"]))]


def verdict(audited: Mapping[str, Any]) -> str:
    """What an audit came to, in sentences, the gravest first.

    Args:
        audited: of :func:`audit`.
    """
    return " ".join(f"{mark}." for mark in audited["marks"])


def _mark(row: Mapping[str, Any]) -> str:
    lean, outcome = row["lean"], row["outcome"]
    plain = in_words(row["confounder"])
    plain = plain[0].upper() + plain[1:] if plain != row["confounder"] else plain
    size = numbers.interval(lean["value"], lean["low"], lean["high"])
    beyond = " beyond that at p_art 0" if row["metric"] == "learned_lean" else ""
    fall = f"AUC falls by {size} where the correlation is reversed{beyond}"
    raises = (row["effect"]["low"] or 0.0) > 0
    texts = {
        Outcome.LEANS: f"{plain} raises the score; {fall}" if raises else f"{plain}: {fall}",
        Outcome.WITHIN_MARGIN: f"{plain}: {fall}, within ±{numbers.number(_MARGIN)}",
        Outcome.INCONCLUSIVE: (
            f"{plain}: {fall}, so a fall by up to {numbers.number(max(lean['high'] or 0.0, 0.0))} is not"
            " excluded"
        ),
        Outcome.NOT_RANKED: f"{plain}: {row['reason']}",
        Outcome.SKIPPED: f"{plain}: without an interval, so a fall of any size is possible",
    }
    return f"{outcome}: {texts[outcome]} ({_setting(row)})"


def _setting(row: Mapping[str, Any]) -> str:
    arguments = "" if row["confounder_args"] == "{}" else f" {row['confounder_args']}"
    return f"{row['confounder']}{arguments} at p_art {numbers.share(row['p_art'])}"


def _alike(run: TrainedRun, candidates: pd.DataFrame, study: str) -> tuple[list[Any], str]:
    """Rows of the runs that agree with the exported one in every setting that decides what is learnt.

    Returns:
        Their labels; and, if there are candidates and none agrees, in what the nearest one differs.
    """
    own = read_results(run.folder).cells
    compared = {*own.attrs["settings"], *candidates.attrs["settings"]} - _VARIED - _RECORDED_ALIKE
    # In this order what is most telling is named first.
    ordered = [name for name in _TELLING if name in compared] + sorted(compared - set(_TELLING))
    expected = {name: _text(own.iloc[0].get(name)) for name in ordered}
    recorded = {
        row: {name: _text(settings.get(name)) for name in ordered} for row, settings in candidates.iterrows()
    }
    differing = {row: [name for name in ordered if recorded[row][name] != expected[name]] for row in recorded}
    alike = [row for row, names in differing.items() if not names]
    if differing and not alike:
        nearest = min(differing, key=lambda row: len(differing[row]))
        named = differing[nearest][:_MOST_NAMED]
        differences = [f"{name}: {recorded[nearest][name]}, expected {expected[name]}" for name in named]
        more = len(differing[nearest]) - len(differences)
        return [], (
            f"{study}: no run under a confounder that was trained like RUN; the nearest one has"
            f" {'; '.join(differences)}{f'; and {more} more that differ' if more else ''}"
        )
    return alike, ""


def _text(setting: Any) -> str:
    """A setting as it is compared and named: a table turns whole numbers into floats where a run has none."""
    if setting is None or (isinstance(setting, float) and np.isnan(setting)):
        return "nothing"
    if isinstance(setting, Real) and not isinstance(setting, bool | np.bool_):
        return f"{float(setting):.12g}"
    return str(setting)


def _tables(siblings: pd.DataFrame, results: StudyResults, folder: str) -> dict[str, Any]:
    tests = results.predictions[results.predictions["cell"].isin(siblings.index)]
    validation = results.validation
    if len(validation):
        validation = validation[validation["cell"].isin(siblings.index)]
    plan = AnalysisPlan(replicates=REPLICATES, subgroups=())
    analysis = analyse(StudyResults(siblings, tests, validation), plan)
    areas = analysis.environments.set_index(list(_CELL))
    leans = {(*(one.axes[name] for name in _CELL[:2]), one.p_art): one for one in lean_verdicts(analysis)}
    rows = [
        _row(gap, areas.loc[[key]], siblings) | _judged(leans[key])
        for gap in analysis.gaps.to_dict("records")
        if (key := tuple(gap[name] for name in _CELL)) in leans
    ]
    siblings = siblings[siblings["p_art"].astype(float) > 0]
    tests = tests[tests["cell"].isin(siblings.index)]
    own = {str(Path(name).resolve()) for name in siblings["output_dir"]} == {folder}
    lines = marks(rows)
    return {
        "outcome": gravest(row["outcome"] for row in rows),
        "tested": rows,
        "marks": lines,
        "leans_on": [line for line in lines if line.startswith(Outcome.LEANS)],
        "of": "this network" if own else "networks trained alike",
        "notes": [note for note in analysis.notes if "primary comparison" not in note],
        "not_tested": not_tested(siblings, tests, AnalysisPlan()),
    }


def _judged(lean: Verdict) -> dict[str, Any]:
    """How a study's report judges a row."""
    size = {"value": lean.value, "low": lean.low, "high": lean.high}
    known = {name: float(value) if np.isfinite(value) else None for name, value in size.items()}
    return {"outcome": lean.outcome, "reason": lean.reason, "metric": lean.metric, "lean": known}


def _row(gap: Mapping[Any, Any], areas: pd.DataFrame, siblings: pd.DataFrame) -> dict[str, Any]:
    runs = siblings[
        (siblings["confounder"] == gap["confounder"])
        & (siblings["confounder_args"].astype(str) == str(gap["confounder_args"]))
        & np.isclose(siblings["p_art"].astype(float), gap["p_art"])
    ]
    by_environment = areas.set_index("environment")
    figures = {
        f"{name}_auc": _number(by_environment.loc[name], "auc", ("auc_low", "auc_high"))
        for name in _ENVIRONMENTS
        if name in by_environment.index
    }
    seen = runs["detectability_auc"].dropna() if "detectability_auc" in runs else pd.Series(dtype=float)
    return {
        **{name: gap[name] for name in ("confounder", "confounder_args", "p_art")},
        **figures,
        **{name: _number(gap, name, ends) for name, ends in _GAP.items()},
        "detectability_auc": float(seen.mean()) if len(seen) else None,
        "trainings": len(runs),
        "output_dirs": runs["output_dir"].astype(str).tolist(),
    }


def _number(row: Any, value: str, ends: tuple[str, str]) -> dict[str, float | None]:
    names = {"value": value, "low": ends[0], "high": ends[1]}
    return {name: float(row[key]) if pd.notna(row[key]) else None for name, key in names.items()}
