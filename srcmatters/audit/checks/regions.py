"""Regions: does the model look where the disease is?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from srcmatters.audit.check import Check, Evidence, Finding
from srcmatters.audit.checks.sensitivity import Sensitivity
from srcmatters.audit.regions.fills import FILLS, filled
from srcmatters.audit.regions.interventions import Change, Interventions
from srcmatters.audit.regions.masks import PLAIN, plain_region
from srcmatters.audit.two_states import Measured, TwoStates
from srcmatters.evaluation.environments import Mixture
from srcmatters.evaluation.outcomes import Outcome
from srcmatters.numbers import counted, interval, number
from srcmatters.reports.region_table import region_table
from srcmatters.reports.study_tables import Table
from srcmatters.runs.prediction_table import prediction_table

#: Cases at most, of either label in their shares: some twenty passes of the model are made.
MOST_CASES = 200
_LUNGS = "lungs"
_ALWAYS = ("corners",)  # where tags are
_SAMPLE = 50  # images whose mean grey value is that of everything that is not kept
_FILL = "inpaint"  # of the sentences
_GROWN = (0.5, 1.0)  # radii by which the region is grown


class Regions(Check):
    """Interventions, not saliency: a region is removed, or nothing but it is kept.

    Where the case table says where the disease is (a mask, a box, or a nodule of a diameter), that region is
    filled with the mean of the rest, with a blur of its surroundings, or in-painted; so is a region of the
    same shape elsewhere, mirrored if that fits; it is grown; it is kept alone; and it is exchanged for that
    of another case of the same label. A case without a region borrows another's, so that both labels are
    treated alike. Corners, and the lungs where a column lungs_mask names their masks, are removed (mean) and
    kept alone; where neither disease nor lungs are known also border, centre and quadrants. A local
    confounder that leans is put on all positives; what removing its place costs then stands beside what
    removing the region of the disease costs.
    """

    code = "regions"
    title = "Regions"
    question = "Does the model look where the disease is?"
    needs = ("images", "region")

    def findings(self, evidence: Evidence) -> list[Finding]:
        """One for the disease where its place is known, for every part of the image, and for what leans."""
        measured = _Measuring(evidence)
        lungs = [_LUNGS] if "lungs_mask" in evidence.scores.cases else []
        names = [*lungs, *(PLAIN if evidence.disease is None and not lungs else _ALWAYS)]
        parts = [_part(measured, name) for name in names]
        leaning = [one.subject for one in Sensitivity().run(evidence) if one.outcome is Outcome.LEANS]
        local = [name for name in leaning if name in evidence.changes and evidence.changes[name].local]
        parts += [_carried(measured, name) for name in local]
        if evidence.disease is None:
            reason = "the case table has no mask, box (box_x ...) or diameter_mm"
            text = f"The region of the disease: not tested; {reason}."
            return [Finding(self.code, "disease", Outcome.SKIPPED, text, reason=reason), *parts]
        return [_disease(measured, evidence.disease), *parts]

    @classmethod
    def table(cls, findings: Sequence[Finding]) -> Table | None:
        """A row per intervention."""
        return region_table(
            [
                {"subject": one.subject, "interventions": one.details.get("interventions", ())}
                for one in findings
            ]
        )


@dataclass(frozen=True)
class _Changed:
    """What the model says of the images after one intervention."""

    name: str
    scores: np.ndarray


class _Measuring:
    """Scores of a sample of the cases under interventions."""

    def __init__(self, evidence: Evidence) -> None:
        self.evidence = evidence
        scored = np.flatnonzero(np.isfinite(evidence.scores.clean))
        stream = np.random.default_rng(evidence.plan.seed)
        labels = evidence.scores.labels
        kept = [
            stream.permutation(of_label)[: max(round(MOST_CASES * len(of_label) / len(scored)), 1)]
            for label in (0, 1)
            if len(of_label := scored[labels[scored] == label])
        ]
        self.rows = np.sort(np.concatenate(kept))
        self.clean = evidence.scores.clean[self.rows]
        assert evidence.region is not None
        means = [evidence.region(int(row), None)[0].mean() for row in self.rows[:_SAMPLE]]
        self.level = float(np.mean(means))

    def scores(self, name: str, change: Change) -> _Changed:
        assert self.evidence.score_images is not None
        return _Changed(name, self.evidence.score_images(self.rows, change))

    def states(self, before: np.ndarray, after: np.ndarray) -> TwoStates:
        """Statistics of two scores of the same cases."""
        evidence = self.evidence
        known = np.isfinite(before) & np.isfinite(after)
        cases = evidence.scores.cases.iloc[self.rows[known]]
        carries = cases["label"].to_numpy() == 1
        table = prediction_table(cases, 0, carries, before[known], after[known])
        return TwoStates(table, evidence.weights, evidence.plan.seed, evidence.plan.confidence)

    def cost(self, before: np.ndarray, after: np.ndarray) -> Measured:
        """AUC before less AUC after, paired."""
        return self.states(before, after).difference_of_areas(Mixture(0, 0), Mixture(1, 1))

    def row(self, changed: _Changed, before: np.ndarray | None = None) -> dict[str, Any]:
        """Numbers of one intervention, of plain types; ``before`` are the clean scores unless given."""
        before = self.clean if before is None else before
        states, apart = self.states(before, changed.scores), changed.scores - before
        labels = self.evidence.scores.labels[self.rows]
        return {
            "intervention": changed.name,
            "auc": _plain(states.auc(Mixture(1, 1))),
            "cost": _plain(self.cost(before, changed.scores)),
            "shift_of_positives": float(np.nanmean(apart[labels == 1])),
            "shift_of_negatives": float(np.nanmean(apart[labels == 0])),
        }


def _disease(measuring: _Measuring, kind: str) -> Finding:
    evidence = measuring.evidence
    assert evidence.region is not None
    todo = Interventions(evidence.region, measuring.rows, evidence.scores.labels, evidence.plan.seed)
    removed = {fill: measuring.scores(f"removed ({fill})", todo.remove(fill)) for fill in FILLS}
    matched = {
        fill: measuring.scores(f"matched region removed ({fill})", todo.remove_matched(fill))
        for fill in FILLS
    }
    others = [
        *(
            measuring.scores(f"grown by {number(grown, 1)} radii, removed (blur)", todo.remove("blur", grown))
            for grown in _GROWN
        ),
        measuring.scores("nothing else kept", todo.keep_only(measuring.level)),
        measuring.scores("exchanged within the label", todo.swap()),
    ]
    rows = [measuring.row(one) for one in (*removed.values(), *matched.values(), *others)]
    beyond = {fill: _plain(measuring.cost(matched[fill].scores, removed[fill].scores)) for fill in FILLS}
    apart, cost = beyond[_FILL], rows[FILLS.index(_FILL)]["cost"]
    other = rows[len(FILLS) + FILLS.index(_FILL)]["cost"]
    conclusion = (
        "it uses what is there"
        if apart["low"] > 0
        else "it uses the other region more"
        if apart["high"] < 0
        else "no difference is shown"
    )
    text = (
        f"The region of the disease ({kind}, in-painted) costs"
        f" {interval(cost['value'], cost['low'], cost['high'])} AUC when it is removed, a region of the same"
        f" shape elsewhere {interval(other['value'], other['low'], other['high'])}; difference"
        f" {interval(apart['value'], apart['low'], apart['high'])}: {conclusion}"
        f" ({counted(len(measuring.rows), 'image')}, {todo.owned()} with a region of their own)."
    )
    details = {"kind": kind, "interventions": rows, "beyond_matched": beyond, "cases": len(measuring.rows)}
    ends = (apart["value"], apart["low"], apart["high"])
    return Finding(Regions.code, "disease", None, text, *ends, "auc_difference", details=details)


def _part(measuring: _Measuring, name: str) -> Finding:
    """A region that every image has."""

    def look(position: int, image: Tensor | None) -> tuple[np.ndarray, np.ndarray | None]:
        assert measuring.evidence.region is not None
        if image is None:
            plane, _ = measuring.evidence.region(position, None)
        else:
            plane = image.as_subclass(Tensor)[0].numpy()
        if name == _LUNGS:
            return measuring.evidence.region(position, image, "lungs_mask")
        return plane, plain_region(plane.shape, name)

    todo = Interventions(look, measuring.rows, measuring.evidence.scores.labels)
    rows = [
        measuring.row(measuring.scores("removed (mean)", todo.remove("mean"))),
        measuring.row(measuring.scores("nothing else kept", todo.keep_only(measuring.level))),
    ]
    cost, kept = rows[0]["cost"], rows[1]["auc"]
    text = (
        f"The {name} of the image: removing it costs"
        f" {interval(cost['value'], cost['low'], cost['high'])} AUC, alone it gives"
        f" {interval(kept['value'], kept['low'], kept['high'])}."
    )
    ends = (cost["value"], cost["low"], cost["high"])
    return Finding(Regions.code, name, None, text, *ends, "auc_difference", details={"interventions": rows})


def _carried(measuring: _Measuring, name: str) -> Finding:
    """A confounder on all positives, as a network sees it that was taught with it: which region counts?"""
    evidence, rows = measuring.evidence, measuring.rows
    assert evidence.region is not None
    labels, apply = evidence.scores.labels, evidence.changes[name].apply
    state = next(one for one in evidence.scores.confounded if one.confounder == name and one.dose == 1.0)
    before = np.where(labels[rows] == 1, evidence.scores.confounded[state][rows], measuring.clean)

    def put(image: Tensor, position: int) -> Tensor:
        return apply(image, position) if labels[position] == 1 else image

    def without(image: Tensor, position: int) -> Tensor:
        return _without_change(put(image, position), image, apply(image, position))

    place = measuring.scores(f"on all positives, what it changes removed ({_FILL})", without)
    interventions = [measuring.row(place, before)]
    compared = _plain(measuring.cost(before, place.scores))
    against = ""
    if evidence.disease is not None:
        todo = Interventions(evidence.region, rows, labels, evidence.plan.seed)
        remove = todo.remove(_FILL)
        disease = measuring.scores(
            f"on all positives, region of the disease removed ({_FILL})",
            lambda image, position: remove(put(image, position), position),
        )
        interventions.append(measuring.row(disease, before))
        compared = _plain(measuring.cost(disease.scores, place.scores))
        against = _against(interventions[1]["cost"], compared, name)
    cost, area = interventions[0]["cost"], _plain(measuring.states(before, before).auc(Mixture(0, 0)))
    text = (
        f"With {name} on all positives (AUC {interval(area['value'], area['low'], area['high'])}) removing"
        f" what it changes costs {interval(cost['value'], cost['low'], cost['high'])} AUC{against}."
    )
    ends = (compared["value"], compared["low"], compared["high"])
    details = {"interventions": interventions, "auc_before": area, "cases": len(rows)}
    return Finding(Regions.code, name, None, text, *ends, "auc_difference", details=details)


def _against(cost: Mapping[str, float], apart: Mapping[str, float], name: str) -> str:
    """What the region of the disease costs beside it, and which costs more."""
    conclusion = (
        f"{name} counts for more than the disease"
        if apart["low"] > 0
        else f"the disease counts for more than {name}"
        if apart["high"] < 0
        else "neither is shown to count for more"
    )
    return (
        f", removing the region of the disease {interval(cost['value'], cost['low'], cost['high'])};"
        f" difference {interval(apart['value'], apart['low'], apart['high'])}: {conclusion}"
    )


def _without_change(image: Tensor, clean: Tensor, confounded: Tensor) -> Tensor:
    """An image in which the pixels that a confounder changes are filled, whether it carries it or not."""
    changed = (confounded.as_subclass(Tensor) - clean.as_subclass(Tensor)).abs().amax(0) > 0
    region = changed.numpy()
    if not region.any() or region.all():
        return image
    result = image.clone()
    plane = image.as_subclass(Tensor)[0].numpy()
    result[0] = torch.from_numpy(filled(plane, region, _FILL)).to(result.dtype)
    return result


def _plain(measured: Measured) -> dict[str, float]:
    return {"value": measured.value, "low": measured.low, "high": measured.high}
