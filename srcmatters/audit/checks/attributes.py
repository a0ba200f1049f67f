"""Attributes of the case table: encoded in the features, dependent in the score, unequal in performance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import logit

from srcmatters.audit.check import Check, Evidence, Finding
from srcmatters.audit.checks.effect import decision_threshold
from srcmatters.cohorts.case_table import is_structure
from srcmatters.evaluation.attribute_dependence import Dependence, attribute_dependence
from srcmatters.evaluation.attribute_encoding import Encoding, attribute_encoding
from srcmatters.evaluation.attribute_groups import LEAST_PATIENTS, AttributeGroups, attribute_groups
from srcmatters.evaluation.attribute_performance import (
    METRIC_WORDS,
    GroupPerformance,
    Heterogeneity,
    group_performance,
)
from srcmatters.evaluation.contrasts import adjusted_p_values
from srcmatters.evaluation.outcomes import Outcome
from srcmatters.numbers import NONE, counted, interval, listed, p_text, p_value
from srcmatters.reports.study_tables import Table


class Attributes(Check):
    """Every column of the case table, asked three times, since the answers dissociate.

    Encoded: AUC of a linear probe for the attribute among the cases of one label, from the features before
    the head, patients never in two folds. Dependent: whether the score goes with the attribute beyond the
    label, by permuting the attributes of whole patients within the labels (a set that differs within a
    patient is permuted within the patient, and as a whole between patients with as many images); in SD of
    the score within a class. Unequal: AUC, sensitivity, specificity and calibration of every group, after a
    test of heterogeneity. Tests are corrected by Holm over the attributes, those of heterogeneity over the
    metrics as well.
    """

    code = "attributes"
    title = "Attributes of the patients and of the acquisition"
    question = "Are sex, age, view, site and the like encoded, does the score depend on them, is it unequal?"

    def findings(self, evidence: Evidence) -> list[Finding]:
        """One per column; they describe, and do not decide."""
        columns = attribute_columns(evidence.scores.cases)
        if not columns:
            reason = "the case table has no columns besides image, patient and label"
            return [Finding(self.code, "", Outcome.NOT_APPLICABLE, f"Attributes: {reason}.", reason=reason)]
        judged = [_measured(evidence, column) for column in columns]
        tested = [one for one in judged if isinstance(one, _Attribute)]
        _correct(tested)
        return [one if isinstance(one, Finding) else _finding(one) for one in judged]

    @classmethod
    def table(cls, findings: Sequence[Finding]) -> Table | None:
        """The three side by side."""
        rows = [one.details["row"] for one in findings if "row" in one.details]
        if not rows:
            return None
        columns = (
            "attribute",
            "groups (patients)",
            "encoded: AUC in negatives",
            "in positives",
            "dependent: SD beyond the label",
            "p",
            "unequal: AUC by group",
            "p",
        )
        note = (
            "Beyond the label; severity may explain it (portable films are of sicker patients). p corrected"
            f" by Holm. Groups of fewer than {LEAST_PATIENTS} patients are named and not tested."
        )
        return Table("Attributes: encoded, dependent, unequal", columns, [("", rows)], labels=2, note=note)


@dataclass
class _Attribute:
    """What was measured of one column."""

    groups: AttributeGroups
    sizes: dict[str, int]
    encodings: list[Encoding] | None
    dependence: Dependence
    performance: tuple[GroupPerformance, ...]
    heterogeneity: tuple[Heterogeneity, ...]
    small: dict[str, str]
    threshold: float
    p_dependent: float = float("nan")
    p_unequal: dict[str, float] | None = None


def attribute_columns(cases: pd.DataFrame) -> list[str]:
    """Columns of a case table that describe patients or acquisitions."""
    return [str(name) for name in cases.columns if not is_structure(name) and name != "digest"]


def _measured(evidence: Evidence, column: str) -> _Attribute | Finding:
    scores, plan = evidence.scores, evidence.plan
    rows = np.flatnonzero(np.isfinite(scores.clean))
    clean, labels, patients = scores.clean[rows], scores.labels[rows], scores.patients[rows].astype(str)
    groups: AttributeGroups | str = "all scored cases have the same label"
    if len(set(labels)) == 2:
        groups = attribute_groups(scores.cases[column].iloc[rows], patients)
    if not isinstance(groups, AttributeGroups):
        reason = groups
        return Finding(
            Attributes.code, column, Outcome.SKIPPED, f"Column {column}: not tested; {reason}.", reason=reason
        )
    threshold, _ = decision_threshold(evidence)
    performance, heterogeneity, small = group_performance(
        clean, labels, patients, groups, float(logit(threshold)), confidence=plan.confidence
    )
    encodings = None
    if evidence.clean_features is not None:
        encodings = attribute_encoding(evidence.clean_features[rows], labels, patients, groups, plan.seed)
    return _Attribute(
        groups,
        {name: len(set(patients[groups.member == place])) for place, name in enumerate(groups.levels)},
        encodings,
        attribute_dependence(
            clean,
            labels,
            patients,
            groups,
            evidence.weights,
            seed=plan.seed,
            confidence=plan.confidence,
        ),
        performance,
        heterogeneity,
        small,
        threshold,
    )


def _correct(tested: Sequence[_Attribute]) -> None:
    """Holm over the attributes, and over attributes and metrics."""
    if not tested:
        return
    dependent = adjusted_p_values(pd.Series([one.dependence.p_value for one in tested]), "holm")
    keys = [(place, test.metric) for place, one in enumerate(tested) for test in one.heterogeneity]
    raw = pd.Series([test.p_value for one in tested for test in one.heterogeneity])
    unequal = dict(zip(keys, adjusted_p_values(raw, "holm").tolist(), strict=True))
    for place, one in enumerate(tested):
        one.p_dependent = float(dependent[place])
        one.p_unequal = {metric: float(value) for (owner, metric), value in unequal.items() if owner == place}


def _finding(one: _Attribute) -> Finding:
    effect, name = one.dependence.effect, one.groups.name
    details: dict[str, Any] = {
        "row": _row(one),
        "patients": one.sizes,
        "not_tested": {**{key: f"{size} patients" for key, size in one.groups.small.items()}, **one.small},
        "patients_with_several_values": one.groups.varying,
        "encoded": None if one.encodings is None else [asdict(row) for row in one.encodings],
        "dependent": {**asdict(one.dependence), "p_adjusted": one.p_dependent},
        "unequal": {
            "threshold": one.threshold,
            "groups": [asdict(row) for row in one.performance],
            "heterogeneity": [
                {**asdict(test), "p_adjusted": (one.p_unequal or {}).get(test.metric)}
                for test in one.heterogeneity
            ],
        },
    }
    text = f"{name}: {_encoded_text(one)} {_dependent_text(one)} {_unequal_text(one)}"
    ends = (effect.value, effect.low, effect.high)
    return Finding(Attributes.code, name, None, text, *ends, "effect_in_sd", details=details)


def _encoded_text(one: _Attribute) -> str:
    if one.encodings is None:
        return "Encoded: not tested, the features before the head are not given."
    parts = [
        f"{interval(row.auc, row.low, row.high)} among {'positives' if row.label else 'negatives'}"
        for row in one.encodings
    ]
    if not parts:
        return "Encoded: not tested, too few patients."
    lead = "Encoded" if any(row.low > 0.5 for row in one.encodings) else "Not shown to be encoded"
    return f"{lead}: a probe reads it with AUC {listed(parts)}."


def _dependent_text(one: _Attribute) -> str:
    effect, dependence = one.dependence.effect, one.dependence
    way = "higher" if effect.value > 0 else "lower"
    ends = (effect.low, effect.high) if effect.value > 0 else (-effect.high, -effect.low)
    size = interval(abs(effect.value), *ends)
    shown = one.p_dependent < 0.05
    lead = "Dependent beyond the label (severity may explain it)" if shown else "No dependence shown"
    kind = "exact" if dependence.exact else f"{counted(dependence.permutations, 'draw')}"
    test = f"permutation test over {counted(dependence.movable, 'patient')}, {kind}"
    return (
        f"{lead}: scores of {effect.group} are {size} SD {way} than of {dependence.against} within a label"
        f" ({p_text(one.p_dependent)}; {test})."
    )


def _unequal_text(one: _Attribute) -> str:
    if len(one.performance) < 2:
        too_small = "; ".join(f"{name}: {why}" for name, why in {**one.small}.items())
        return f"Unequal: not tested ({too_small or 'one group'})."
    p_adjusted = one.p_unequal or {}
    differing = [test for test in one.heterogeneity if p_adjusted.get(test.metric, 1.0) < 0.05]
    areas = listed(
        f"{interval(row.metrics['auc'].value, row.metrics['auc'].low, row.metrics['auc'].high)} ({row.group})"
        for row in one.performance
    )
    if not differing:
        return f"Unequal: no difference between the groups is shown; AUC {areas}."
    parts = listed(
        f"{METRIC_WORDS[test.metric]} {interval(test.gap.value, test.gap.low, test.gap.high)} lower in"
        f" {test.lowest} than in {test.highest} ({p_text(p_adjusted[test.metric])})"
        for test in differing
    )
    return f"Unequal: {parts}; AUC {areas}."


def _row(one: _Attribute) -> list[str]:
    by_label = {row.label: interval(row.auc, row.low, row.high) for row in one.encodings or ()}
    effect = one.dependence.effect
    unequal = (one.p_unequal or {}).get("auc", float("nan"))
    return [
        one.groups.name,
        ", ".join(f"{name} ({size})" for name, size in one.sizes.items()),
        by_label.get(0, NONE),
        by_label.get(1, NONE),
        f"{effect.group}: {interval(effect.value, effect.low, effect.high)}",
        p_value(one.p_dependent),
        ", ".join(f"{row.group} {interval(*_ends(row))}" for row in one.performance) or NONE,
        p_value(unequal),
    ]


def _ends(row: GroupPerformance) -> tuple[float, float, float]:
    area = row.metrics["auc"]
    return area.value, area.low, area.high
