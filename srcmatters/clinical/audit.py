"""The confounder audit of an exported model: what its run and the runs beside it in a study say."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from srcmatters.clinical.performance import REPLICATES
from srcmatters.clinical.trained_run import TrainedRun
from srcmatters.errors import InputError
from srcmatters.evaluation.analysis import analyse
from srcmatters.evaluation.collection import StudyResults, read_results
from srcmatters.evaluation.plan import AnalysisPlan
from srcmatters.reports.coverage import not_tested

#: In which a run must agree with the exported one to be its sibling.
_SAME = ("target", "network", "source", "depth", "protocol")
_ENVIRONMENTS = ("clean", "iid", "ood")
_GAP = {"iid_minus_ood": ("low", "high"), "effect": ("effect_low", "effect_high")}


def audit(run: TrainedRun, study: str | Path | None = None) -> dict[str, Any] | None:
    """What was tested, with 95 % intervals.

    Args:
        run: the run that is exported.
        study: a study, or any folder of runs, whose runs on the same target from the same source with the
            same network were trained under a confounder; None: the run alone.

    Returns:
        "tested": one row per confounder and p_art above 0: AUC in each environment, i.i.d. minus o.o.d.,
        effect in log-odds, detectability, number of trainings, and output_dirs (of those runs, for the
        monitors; no part of what is exported); "notes"; "not_tested"; "of": "this network" or "networks
        trained alike". None where nothing was trained under a confounder.

    Raises:
        InputError: the study has no run on the same target, source and network, or of other images.
    """
    results = read_results(run.folder if study is None else study)
    cells = results.cells
    wanted = _named(run.folder).iloc[0]
    alike = np.logical_and.reduce([cells[name].astype(str) == str(wanted[name]) for name in _SAME])
    siblings = cells[alike & (cells["control"] == "none")]
    if siblings.empty:
        same = ", ".join(f"{name} {wanted[name]}" for name in _SAME)
        raise InputError(f"{study}: no run with {same}, expected the audit of such runs")
    digest = run.record.get("dataset_sha256")
    if digest and "dataset_sha256" in siblings and set(siblings["dataset_sha256"].dropna()) - {digest}:
        raise InputError(f"{study}: runs on other images or labels of {wanted['target']} than those of RUN")
    siblings = siblings[(siblings["confounder"] != "none") & (siblings["p_art"].astype(float) > 0)]
    if siblings.empty:
        return None
    siblings.attrs = cells.attrs
    return _tables(siblings, results, str(run.folder.resolve()))


def _named(folder: Path) -> pd.DataFrame:
    return read_results(folder).cells


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
