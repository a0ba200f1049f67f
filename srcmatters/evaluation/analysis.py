"""The whole analysis of a study: pure functions of its prediction tables, put together."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from srcmatters.evaluation.analysis_plan import USUAL_SUBGROUPS, AnalysisPlan
from srcmatters.evaluation.balance import balance_rows
from srcmatters.evaluation.cell_tables import environment_rows, gap_rows
from srcmatters.evaluation.contrasts import adjusted_p_values, contrast_rows, with_families
from srcmatters.evaluation.controls import Reference, control_rows, reference_tables
from srcmatters.evaluation.curves import curve_rows, interaction_rows
from srcmatters.evaluation.estimates import LEAST_TRAININGS
from srcmatters.evaluation.leans import lean_rows, with_adjusted, with_not_excluded
from srcmatters.evaluation.resampled_runs import resample_runs
from srcmatters.evaluation.run_groups import RunGroup, group_runs
from srcmatters.evaluation.subgroups import subgroup_rows
from srcmatters.runs.finished_runs import AXES, StudyResults

_CELL = (*AXES, "source", "p_art")
_PAIR = ("source_a", "source_b")
_ENDS = ("{}", "{}_low", "{}_high")


def _with_ends(*names: str) -> tuple[str, ...]:
    return tuple(end.format(name) for name in names for end in _ENDS)


_COLUMNS = {
    "environments": (*_CELL, "environment", *_with_ends("auc"), "auprc", *_with_ends("brier"),
                     *_with_ends("calibration_slope", "calibration_intercept"), "threshold",
                     *_with_ends("sensitivity", "specificity"), "folds", "seeds", "cases", "patients"),
    "gaps": (*_CELL, "iid_minus_ood", "low", "high",
             *_with_ends("effect", "probability_effect", "superiority", "flips")),
    "leans": (*_CELL, "family", "metric", "lean", "low", "high", "not_excluded", *_with_ends("superiority"),
              "p_value", "p_value_adjusted", "p_beyond", "p_beyond_adjusted", "p_equivalence",
              "p_equivalence_adjusted", "of_patients", "of_folds", "of_seeds", "trainings", "seeds",
              "training_cohort"),
    "controls": (*_CELL, "metric", "null", "value", "low", "high", "p_value", "p_value_adjusted", "p_beyond",
                 "p_beyond_adjusted", "p_equivalence", "p_equivalence_adjusted", "permutation_mean",
                 "p_permutation", "trainings"),
    "contrasts": (*AXES, "p_art", "metric", *_PAIR, "difference", "low", "high", "standard_error", "p_value",
                  "family", "correction", "p_adjusted", "p_delong", "p_nadeau_bengio", "p_permutation",
                  "p_permutation_attainable", "p_equivalence", "p_equivalence_adjusted", "equivalent",
                  "detectable_difference", "superiority_difference", "trainings", "training_cohort"),
    "curves": (*AXES, "source", *_with_ends("area_under_lean", "area_under_degradation", "slope"),
               "crossing"),
    "interactions": (*AXES, *_PAIR, "difference", "low", "high", "p_value", "p_adjusted"),
    "subgroups": (*_CELL, "environment", "column", "value", "auc", "low", "high", "cases", "positives",
                  "p_heterogeneity", "worst"),
    "balance": (*AXES, "p_art", "set", "column", "standardised_difference"),
}  # fmt: skip
_ENOUGH_SEEDS = 5
_SMALL = 100  # patients of the rarer class below which an AUC is known to some +-.05 at best


@dataclass(frozen=True)
class Analysis:
    """What a study shows.

    Every table begins with the columns :data:`srcmatters.runs.finished_runs.AXES`. ``low`` and ``high``
    end an interval of the plan's confidence, for other images *and* other training runs of the same kind.
    Columns ``..._low`` and ``..._high`` are those of the column before them. ``p_..._adjusted`` are corrected
    by Holm within a family.

    Args:
        plan: what was declared.
        environments: by source, p_art and environment ("clean", "iid", "ood", "confounded"): auc, auprc,
            brier, calibration_slope, calibration_intercept, threshold, sensitivity, specificity (all three
            NaN where no validation cases were kept), folds, seeds, cases, patients.
        gaps: by source and p_art: iid_minus_ood (AUC), and what the confounder does to a case (NaN for a
            sampled one): effect (mean change of the log-odds), probability_effect, superiority (P that a
            confounded case scores higher than another clean case of its label), flips (share of the
            decisions at the fixed threshold that it changes).
        leans: by source and p_art above 0: metric ("learned_lean": the loss under reversal less that at p_art
            0; "iid_minus_ood_auc" where there is no run at p_art 0), lean, superiority (what was learnt of
            it), p_value (of 0), p_beyond (of a lean within the margin), p_equivalence (of one outside),
            family ("declared": at the plan's p_art, "other"), the standard errors from patients, folds and
            seeds (NaN where they cannot be told), and whether other training cohorts are covered.
        controls: by source, p_art and metric of every null control: its deviation from ``null`` with the
            same p, permutation_mean (baseline: mean deviation under permuted labels) and p_permutation.
        contrasts: by p_art, metric (:data:`CONTRAST_METRICS`), source_a and source_b: difference (a - b),
            standard_error, p_value, family ("primary", "secondary", "reference" at p_art 0, "control"),
            correction ("holm", "bh"), p_adjusted, p_delong (images only), p_nadeau_bengio, p_permutation,
            p_permutation_attainable, p_equivalence, equivalent (adjusted, at the plan's margin),
            detectable_difference (seen with 80 % power), superiority_difference, trainings (of each source),
            training_cohort (whether other training cohorts are covered).
        curves: by source: area_under_lean (learned lean averaged over p_art), area_under_degradation
            (i.i.d. - o.o.d. AUC averaged over p_art), slope (of the o.o.d. AUC, per unit of p_art), crossing
            (p_art at which the o.o.d. AUC crosses .5, NaN if it never does).
        interactions: by source_a and source_b: difference of the slopes of the lean a - b, p_value,
            p_adjusted (Benjamini-Hochberg).
        subgroups: by source, p_art, environment (or "iid_minus_ood", "effect"), column and value: auc (or
            that statistic), cases, positives, p_heterogeneity (of all groups being alike), worst (only where
            they are not).
        balance: of sampled confounders, by p_art, set ("iid", "ood", "validation", which is chosen as the
            training set is) and column: standardised_difference between the classes.
        notes: what could not be computed and why, small test sets, what an interval does not cover.
    """

    plan: AnalysisPlan
    environments: pd.DataFrame
    gaps: pd.DataFrame
    leans: pd.DataFrame
    controls: pd.DataFrame
    contrasts: pd.DataFrame
    curves: pd.DataFrame
    interactions: pd.DataFrame
    subgroups: pd.DataFrame
    notes: list[str]
    balance: pd.DataFrame = field(default_factory=pd.DataFrame)


def analyse(results: StudyResults, plan: AnalysisPlan | None = None, thorough: bool = True) -> Analysis:
    """Analyse a study as its plan says.

    Args:
        results: what :func:`srcmatters.runs.finished_runs.read_results` read.
        plan: declared before running; None: the default one.
        thorough: False computes only what sentences are made of (clean, i.i.d. and o.o.d. AUC, leans,
            controls, contrasts of the declared metric with the primary test); the rest is NaN or empty.

    Raises:
        InputError: two runs of the same cell, runs that differ in a setting that is no axis, or scores that
            are no numbers.
    """
    plan = AnalysisPlan() if plan is None else plan
    notes: list[str] = []
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in _COLUMNS}
    permutations = results.permutations
    permuted = dict(iter(permutations.groupby("cell"))) if len(permutations) else {}
    references: dict[tuple[str, ...], Reference] = {}
    # Groups without a control come first: the controls refer to their runs at p_art 0.
    for group in sorted(group_runs(results, plan), key=lambda group: group.axes["control"] != "none"):
        runs, key = resample_runs(group, thorough), _key(group)
        rows["environments"] += environment_rows(runs, plan, thorough)
        rows["contrasts"] += contrast_rows(runs, plan, notes, thorough)
        if group.axes["control"] == "none":
            references[key] = reference_tables(group)
            rows["leans"] += lean_rows(runs, plan)
        else:
            rows["controls"] += control_rows(runs, references.get(key, {}), permuted, plan)
        if thorough:
            rows["gaps"] += gap_rows(runs, plan)
            rows["curves"] += curve_rows(runs, plan, notes)
            rows["interactions"] += interaction_rows(runs, plan, notes)
            rows["subgroups"] += subgroup_rows(runs, plan)
            rows["balance"] += balance_rows(group, notes)
        notes += _notes(group, plan)
    finished = _finished(rows, plan)
    notes += _plan_notes(finished["contrasts"], results, plan)
    return Analysis(plan=plan, notes=list(dict.fromkeys(notes)), **finished)


def _key(group: RunGroup) -> tuple[str, ...]:
    """The axes of a group but for its control."""
    return tuple(str(group.axes[name]) for name in AXES if name != "control")


def _finished(rows: dict[str, list[dict[str, Any]]], plan: AnalysisPlan) -> dict[str, pd.DataFrame]:
    """The tables with corrected p values and the columns that are promised."""
    tables = {name: pd.DataFrame(table_rows) for name, table_rows in rows.items()}
    if rows["contrasts"]:
        tables["contrasts"] = with_families(tables["contrasts"], plan)
    if rows["interactions"]:
        p_values = tables["interactions"]["p_value"]
        tables["interactions"]["p_adjusted"] = adjusted_p_values(p_values, "fdr_bh")
    if rows["leans"]:
        tables["leans"] = with_not_excluded(with_adjusted(tables["leans"], "family"), plan.confidence)
    if rows["controls"]:
        # All controls of a study are one family, whatever their metric.
        together = tables["controls"].assign(family="controls")
        tables["controls"] = with_adjusted(together, "family")
    return {name: tables[name].reindex(columns=list(columns)) for name, columns in _COLUMNS.items()}


def _notes(group: RunGroup, plan: AnalysisPlan) -> list[str]:  # noqa: ARG001
    """What limits the results of a group."""
    notes, name = [], group.label
    if group.rarer < _SMALL:
        notes.append(
            f"{name}: {group.rarer} patients of the rarer class are tested; differences of AUC below the"
            " detectable ones given cannot be seen"
        )
    trainings = group.cells.groupby(["source", "p_art"]).size()
    if trainings.min() < LEAST_TRAININGS:
        notes.append(
            f"{name}: some cells have fewer than {LEAST_TRAININGS} training runs; their intervals cover other"
            " images, not other training runs"
        )
    elif trainings.min() < 5:
        notes.append(
            f"{name}: with fewer than 5 training runs per cell, the variance between runs is poorly estimated"
        )
    if group.cells["seed"].nunique() < _ENOUGH_SEEDS and "random" in group.sources:
        notes.append(
            f"{name}: random is one network per seed; results for it hold for these initial weights,"
            f" {_ENOUGH_SEEDS} seeds would cover others"
        )
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
        declared = f"{plan.metric} at p_art {plan.p_art:g}, {plan.confounder or 'any confounder'}"
        notes.append(f"the declared primary comparison ({declared}) is not in these results")
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
