"""The whole analysis of a study: pure functions of its prediction tables, put together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from srcmatters.evaluation.analysis_plan import USUAL_SUBGROUPS, AnalysisPlan
from srcmatters.evaluation.cell_tables import environment_rows, gap_rows, subgroup_rows
from srcmatters.evaluation.contrasts import adjusted_p_values, contrast_rows, with_families
from srcmatters.evaluation.curves import curve_rows, interaction_rows
from srcmatters.evaluation.run_groups import RunGroup, group_runs, resample_runs
from srcmatters.runs.finished_runs import AXES, StudyResults

_CELL = (*AXES, "source", "p_art")
_PAIR = ("source_a", "source_b")
_COLUMNS = {
    "environments": (*_CELL, "environment", "auc", "auc_low", "auc_high", "auprc", "brier",
                     "calibration_slope", "calibration_intercept", "threshold", "sensitivity", "specificity",
                     "folds", "seeds", "cases", "patients"),
    "gaps": (*_CELL, "iid_minus_ood", "low", "high", "effect", "effect_low", "effect_high"),
    "contrasts": (*AXES, "p_art", "metric", *_PAIR, "difference", "low", "high", "standard_error", "p_value",
                  "family", "correction", "p_adjusted", "p_delong", "p_nadeau_bengio", "p_permutation",
                  "p_permutation_attainable", "p_equivalence", "equivalent", "detectable_difference",
                  "trainings"),
    "curves": (*AXES, "source", "area_under_degradation", "area_under_degradation_low",
               "area_under_degradation_high", "slope", "slope_low", "slope_high", "crossing"),
    "interactions": (*AXES, *_PAIR, "difference", "low", "high", "p_value", "p_adjusted"),
    "subgroups": (*_CELL, "environment", "column", "value", "auc", "low", "high", "cases", "positives",
                  "worst"),
}  # fmt: skip
_SMALL = 100  # patients of the rarer class below which an AUC is known to some +-.05 at best


@dataclass(frozen=True)
class Analysis:
    """What a study found.

    Every table begins with the columns :data:`srcmatters.runs.finished_runs.AXES`. ``low`` and ``high``
    end an interval of the plan's confidence, for other images *and* other trainings of the same kind.

    Args:
        plan: what was declared.
        environments: by source, p_art and environment ("clean", "iid", "ood", "confounded"): auc, auc_low,
            auc_high, auprc, brier, calibration_slope, calibration_intercept, threshold, sensitivity,
            specificity (all three NaN where no validation cases were kept), folds, seeds, cases, patients.
        gaps: by source and p_art: iid_minus_ood, low, high (AUC), effect, effect_low, effect_high (mean
            change of the log-odds that the confounder causes; NaN for a sampled one).
        contrasts: by p_art, metric ("clean_auc", "iid_auc", "ood_auc", "iid_minus_ood_auc"), source_a and
            source_b: difference (a - b), low, high, standard_error, p_value, family ("primary",
            "secondary", "control"), correction ("holm", "bh"), p_adjusted, p_delong (images only),
            p_nadeau_bengio, p_permutation, p_permutation_attainable, p_equivalence, equivalent (at the
            plan's margin), detectable_difference (seen with 80 % power), trainings (of each source).
        curves: by source: area_under_degradation with _low and _high (i.i.d. - o.o.d. AUC averaged over
            p_art), slope with _low and _high (of the o.o.d. AUC, per unit of p_art), crossing (p_art at which
            the o.o.d. AUC crosses .5, NaN if it never does).
        interactions: by source_a and source_b: difference of the slopes a - b, low, high, p_value, p_adjusted
            (Benjamini-Hochberg).
        subgroups: by source, p_art, environment, column and value: auc, low, high, cases, positives, worst
            (the lowest AUC of its column).
        notes: what could not be computed and why, small test sets, what an interval does not cover.
    """

    plan: AnalysisPlan
    environments: pd.DataFrame
    gaps: pd.DataFrame
    contrasts: pd.DataFrame
    curves: pd.DataFrame
    interactions: pd.DataFrame
    subgroups: pd.DataFrame
    notes: list[str]


def analyse(results: StudyResults, plan: AnalysisPlan | None = None) -> Analysis:
    """Analyse a study as its plan says.

    Args:
        results: what :func:`srcmatters.runs.finished_runs.read_results` read.
        plan: declared before running; None: the default one.

    Raises:
        InputError: two runs of the same cell, runs that differ in a setting that is no axis, or scores that
            are no numbers.
    """
    plan = AnalysisPlan() if plan is None else plan
    notes: list[str] = []
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in _COLUMNS}
    for group in group_runs(results, plan):
        runs = resample_runs(group)
        rows["environments"] += environment_rows(runs, plan)
        rows["gaps"] += gap_rows(runs, plan)
        rows["contrasts"] += contrast_rows(runs, plan, notes)
        rows["curves"] += curve_rows(runs, plan, notes)
        rows["interactions"] += interaction_rows(runs, plan, notes)
        rows["subgroups"] += subgroup_rows(runs, plan)
        notes += _notes(group, plan)
    tables = {name: pd.DataFrame(found) for name, found in rows.items()}
    if rows["contrasts"]:
        tables["contrasts"] = with_families(tables["contrasts"], plan)
    if rows["interactions"]:
        p_values = tables["interactions"]["p_value"]
        tables["interactions"]["p_adjusted"] = adjusted_p_values(p_values, "fdr_bh")
    tables = {name: tables[name].reindex(columns=list(columns)) for name, columns in _COLUMNS.items()}
    notes += _plan_notes(tables["contrasts"], results, plan)
    return Analysis(plan=plan, notes=list(dict.fromkeys(notes)), **tables)


def _notes(group: RunGroup, plan: AnalysisPlan) -> list[str]:
    """What limits the results of a group."""
    notes, name = [], f"{group.axes['confounder']} on {group.axes['target']}"
    if group.axes["control"] != "none":
        name += f" (control: {group.axes['control']})"
    if group.rarer < _SMALL:
        notes.append(
            f"{name}: {group.rarer} patients of the rarer class are tested; differences of AUC below the"
            " detectable ones given cannot be seen"
        )
    trainings = group.cells.groupby(["source", "p_art"]).size()
    if trainings.min() == 1:
        notes.append(
            f"{name}: some cells have one training only; their intervals cover other images, not other"
            " trainings"
        )
    elif trainings.min() < 5:
        notes.append(f"{name}: with fewer than 5 trainings a cell, how much they differ is hardly known")
    if group.one_test_set:
        notes.append(
            f"{name}: all folds test the same patients, so the test of Nadeau and Bengio does not apply"
        )
    if len(group.sources) == 1:
        notes.append(f"{name}: {group.sources[0]} is the only source, so there is nothing to compare it with")
    notes += _unusable(group, name)
    return notes


def _unusable(group: RunGroup, name: str) -> list[str]:
    notes = []
    single = sum(table["label"].nunique() < 2 for table in group.tables.values())
    if single:
        notes.append(f"{name}: {single} runs have test cases of one class only and no AUC; they are left out")
    if len(group.validation) < len(group.tables):
        absent = len(group.tables) - len(group.validation)
        notes.append(f"{name}: {absent} runs kept no validation cases, so they have no threshold")
    return notes


def _plan_notes(contrasts: pd.DataFrame, results: StudyResults, plan: AnalysisPlan) -> list[str]:
    """What the plan declared and the results do not hold; and how low the publication's test can go."""
    notes = []
    if not (contrasts["family"] == "primary").any():
        wanted = f"{plan.metric} at p_art {plan.p_art:g}, {plan.confounder or 'any confounder'}"
        notes.append(f"the declared primary comparison ({wanted}) is not in these results")
    lacking = [name for name in plan.sources if name not in set(results.cells["source"])]
    if lacking:
        notes.append(f"declared and not in these results: source {', '.join(lacking)}")
    absent = [
        name for name in plan.subgroups if name not in results.predictions and name not in USUAL_SUBGROUPS
    ]
    if absent:
        notes.append(f"declared and not in the case table: subgroups by {', '.join(absent)}")
    lowest = contrasts["p_permutation_attainable"].astype(float)
    if np.isfinite(lowest).any() and lowest.max() > 0.001:
        notes.append(
            f"the permutation test over folds cannot give a p below {lowest.max():.4f} here, whatever the"
            " data"
        )
    return notes
