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
from srcmatters.evaluation.outcomes import Outcome, outcome_of_interval
from srcmatters.export.performance import REPLICATES
from srcmatters.reports.coverage import not_tested
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
        effect in log-odds, detectability, number of trainings, and output_dirs (of those runs, for the
        monitors; no part of what is exported); "leans_on": of :func:`leans_on`; "notes"; "not_tested"; "of":
        "this network" or "networks trained alike". None where nothing was trained under a confounder.

    Raises:
        InputError: the study's runs under a confounder were trained otherwise, or on other images.
    """
    results = read_results(run.folder if study is None else study)
    cells = results.cells
    # A null control is no evidence of what a network leans on.
    confounded = (cells["confounder"] != "none") & (cells["p_art"].astype(float) > 0)
    candidates = cells[confounded & (cells["control"] == "none")]
    if candidates.empty:
        return None
    siblings = candidates.loc[_alike(run, candidates, str(study or run.folder))]
    digest = run.record.get("dataset_sha256")
    if digest and "dataset_sha256" in siblings and set(siblings["dataset_sha256"].dropna()) - {digest}:
        target = run.settings["target"]
        raise InputError(f"{study}: runs on other images or labels of {target} than those of RUN")
    siblings.attrs = cells.attrs
    return _tables(siblings, results, str(run.folder.resolve()))


def leans_on(tested: Iterable[Mapping[str, Any]]) -> list[str]:
    """The confounders by whose reversal the AUC falls, each in words with figures; none if nothing was shown.

    A fall is shown where the 95 % interval of i.i.d. minus o.o.d. AUC lies above the margin of a study's
    plan. Above 0 would mark a good model with many test cases for .02, and a poor one with few for nothing.

    Args:
        tested: rows of :func:`audit`.
    """
    return [
        f"{_setting(row)}: AUC falls by {_gap(row)} where the correlation is reversed"
        for row in tested
        if _is_shown(row)
    ]


def verdict(found: Mapping[str, Any]) -> str:
    """What an audit came to, in sentences: on what the network leans, and what was not shown but is possible.

    Args:
        found: of :func:`audit`.
    """
    own = found["of"] == "this network"
    leaning = f"{'This network leans' if own else 'Networks trained alike lean'} on a confounder"
    said = [f"{leaning}: {'; '.join(found['leans_on'])}."] if found["leans_on"] else []
    others = [_not_excluded(row) for row in found["tested"] if not _is_shown(row)]
    if others:
        said.append(f"No reliance was shown by this audit: {'; '.join(others)}.")
    return " ".join(said)


def _is_shown(row: Mapping[str, Any]) -> bool:
    gap = row["iid_minus_ood"]
    return outcome_of_interval(gap["low"], gap["high"], _MARGIN) is Outcome.LEANS


def _not_excluded(row: Mapping[str, Any]) -> str:
    """How large a fall the audit may have missed."""
    high = row["iid_minus_ood"]["high"]
    if high is None:
        return f"{_setting(row)}: without an interval, so a fall of any size is possible"
    return (
        f"{_setting(row)}: i.i.d. minus o.o.d. AUC {_gap(row)}, so a fall by up to"
        f" {numbers.number(max(high, 0.0))} is not excluded"
    )


def _setting(row: Mapping[str, Any]) -> str:
    given = "" if row["confounder_args"] == "{}" else f" {row['confounder_args']}"
    return f"{row['confounder']}{given} at p_art {numbers.share(row['p_art'])}"


def _gap(row: Mapping[str, Any]) -> str:
    gap = row["iid_minus_ood"]
    return numbers.interval(gap["value"], gap["low"], gap["high"])


def _alike(run: TrainedRun, candidates: pd.DataFrame, study: str) -> list[Any]:
    """Rows of the runs that agree with the exported one in every setting that decides what is learnt.

    Raises:
        InputError: none does; says in what the nearest one differs.
    """
    own = read_results(run.folder).cells
    compared = {*own.attrs["settings"], *candidates.attrs["settings"]} - _VARIED - _RECORDED_ALIKE
    # In this order what is most telling is named first.
    ordered = [name for name in _TELLING if name in compared] + sorted(compared - set(_TELLING))
    wanted = {name: _text(own.iloc[0].get(name)) for name in ordered}
    found = {
        row: {name: _text(settings.get(name)) for name in ordered} for row, settings in candidates.iterrows()
    }
    differing = {row: [name for name in ordered if found[row][name] != wanted[name]] for row in found}
    alike = [row for row, names in differing.items() if not names]
    if not alike:
        nearest = min(differing, key=lambda row: len(differing[row]))
        named = differing[nearest][:_MOST_NAMED]
        said = [f"{name}: {found[nearest][name]}, expected {wanted[name]}" for name in named]
        more = len(differing[nearest]) - len(said)
        raise InputError(
            f"{study}: no run under a confounder that was trained like RUN; the nearest one has"
            f" {'; '.join(said)}{f'; and {more} more that differ' if more else ''}"
        )
    return alike


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
    found = analyse(StudyResults(siblings, tests, validation), plan)
    areas = found.environments.set_index(["confounder", "confounder_args", "p_art"])
    rows = [
        _row(gap, areas.loc[[(gap["confounder"], gap["confounder_args"], gap["p_art"])]], siblings)
        for gap in found.gaps.to_dict("records")
    ]
    own = {str(Path(name).resolve()) for name in siblings["output_dir"]} == {folder}
    return {
        "tested": rows,
        "leans_on": leans_on(rows),
        "of": "this network" if own else "networks trained alike",
        "notes": [note for note in found.notes if "primary comparison" not in note],
        "not_tested": not_tested(siblings, tests, AnalysisPlan()),
    }


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
