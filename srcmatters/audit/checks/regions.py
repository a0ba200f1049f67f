"""Regions: does the model look where the disease is?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from srcmatters.audit.check import Check, Evidence, Finding
from srcmatters.audit.regions.fills import FILLS
from srcmatters.audit.regions.interventions import Change, Interventions
from srcmatters.audit.regions.masks import PLAIN, plain_region
from srcmatters.audit.two_states import Measured, TwoStates
from srcmatters.evaluation.environments import Mixture
from srcmatters.evaluation.outcomes import Outcome
from srcmatters.numbers import counted, interval, number
from srcmatters.reports.study_tables import Table
from srcmatters.runs.prediction_table import prediction_table

#: Cases at most, of either label in their shares: some twenty passes of the model are made.
MOST_CASES = 200
_LUNGS = "lungs"
_ALWAYS = ("corners",)  # where tags are
_SAMPLE = 50  # images whose mean grey value is that of everything that is not kept
_GROWN = (0.5, 1.0)  # radii by which the region is grown


class Regions(Check):
    """Interventions, not saliency: a region is removed, or nothing but it is kept.

    Where the case table says where the disease is (a mask, a box, or a nodule of a diameter), that region is
    filled with the mean of the rest, with a blur of its surroundings, or in-painted; so is a region of the
    same shape elsewhere, mirrored if that fits; it is grown; it is kept alone; and it is exchanged for that
    of another case of the same label. A case without a region borrows another's, so that both labels are
    treated alike. Corners, and the lungs where a column lungs_mask names their masks, are removed (mean) and
    kept alone; where neither disease nor lungs are known also border, centre and quadrants.
    """

    code = "regions"
    title = "Regions"
    question = "Does the model look where the disease is?"
    needs = ("images", "region")

    def findings(self, evidence: Evidence) -> list[Finding]:
        """One for the disease where its place is known, and one for every part of the image."""
        measured = _Measuring(evidence)
        lungs = [_LUNGS] if "lungs_mask" in evidence.scores.cases else []
        names = [*lungs, *(PLAIN if evidence.disease is None and not lungs else _ALWAYS)]
        parts = [_part(measured, name) for name in names]
        if evidence.disease is None:
            reason = "the case table has no mask, box (box_x ...) or diameter_mm"
            text = f"The region of the disease: not tested; {reason}."
            return [Finding(self.code, "disease", Outcome.SKIPPED, text, reason=reason), *parts]
        return [_disease(measured, evidence.disease), *parts]

    @classmethod
    def table(cls, findings: Sequence[Finding]) -> Table | None:
        """A row per intervention."""
        rows = [
            [
                one.subject,
                row["intervention"],
                interval(row["auc"]["value"], row["auc"]["low"], row["auc"]["high"]),
                interval(row["cost"]["value"], row["cost"]["low"], row["cost"]["high"]),
                number(row["shift_of_positives"]),
                number(row["shift_of_negatives"]),
            ]
            for one in findings
            for row in one.details.get("interventions", ())
        ]
        columns = ("region", "intervention", "AUC", "cost in AUC", "shift of positives", "of negatives")
        note = (
            "Cost: clean AUC minus that of the changed images, paired. Shift: mean change of the log-odds."
            " The size of a region stays visible in what is filled or kept, and may tell the label: compare"
            " with the matched region."
        )
        return Table("Regions", columns, [("", rows)], labels=2, note=note) if rows else None


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

    def row(self, changed: _Changed) -> dict[str, Any]:
        """Numbers of one intervention, of plain types."""
        states, apart = self.states(self.clean, changed.scores), changed.scores - self.clean
        labels = self.evidence.scores.labels[self.rows]
        return {
            "intervention": changed.name,
            "auc": _plain(states.auc(Mixture(1, 1))),
            "cost": _plain(self.cost(self.clean, changed.scores)),
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
    apart, cost = beyond["inpaint"], rows[FILLS.index("inpaint")]["cost"]
    other = rows[len(FILLS) + FILLS.index("inpaint")]["cost"]
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


def _plain(measured: Measured) -> dict[str, float]:
    return {"value": measured.value, "low": measured.low, "high": measured.high}
