"""The audit of a case table from beginning to end: every image is read once."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from srcmatters.audit.case_images import CaseImages, Refused
from srcmatters.audit.checks.attributes import attribute_columns
from srcmatters.audit.cohort.file_facts import date_columns, file_facts, order_facts
from srcmatters.audit.cohort.image_summaries import ImageSummary, image_summaries
from srcmatters.audit.cohort.leaks import (
    EmptyCell,
    FactLeak,
    empty_cells,
    fact_leaks,
    near_between,
    shared_between,
)
from srcmatters.errors import InputError
from srcmatters.evaluation.ladder import CAUTION, Ladder, climb
from srcmatters.evaluation.ladder_steps import column_step, stacked_steps
from srcmatters.reports.provenance import versions, written_on

#: Grows by new fields only; a field that changes its meaning makes a new number.
VERSION = 1


@dataclass(frozen=True)
class CohortAudit:
    """What a case table and its images tell without any model.

    Args:
        ladder: of the target.
        leaks: facts about cases and files, the strongest first.
        cells: combinations of label and attributes without a case.
        shared: counts of duplicates and of patients in two sets.
        cases: images, ``positives`` and ``patients`` of them.
        columns: of the case table, in the first step of the ladder.
        not_used: columns and facts that were not tested.
        unreadable: images that were left out of the ladder, with the reason.
    """

    ladder: Ladder
    leaks: tuple[FactLeak, ...]
    cells: tuple[EmptyCell, ...]
    shared: dict[str, int]
    cases: dict[str, int]
    columns: tuple[str, ...]
    not_used: tuple[str, ...]
    unreadable: tuple[str, ...]

    def as_record(self) -> dict[str, Any]:
        """The audit as plain JSON; names nobody."""
        return {
            "version": VERSION,
            "kind": "srcmatters cohort audit",
            "written_on": written_on(),
            "versions": versions(),
            "cases": self.cases,
            "caution": CAUTION,
            "ladder": [asdict(rung) for rung in self.ladder.rungs],
            "columns": list(self.columns),
            "not_used": list(self.not_used),
            "leaks": [asdict(one) for one in self.leaks],
            "empty_cells": [asdict(one) for one in self.cells],
            "shared": self.shared,
            "unreadable": len(self.unreadable),
        }


def audit_cohort(images: CaseImages, seed: int = 0, cache_dir: str | Path | None = None) -> CohortAudit:
    """Audit a case table and its images.

    Args:
        images: of the case table.
        seed: of folds, permutations and resampling.
        cache_dir: where what is kept of the images lies; see
            :func:`srcmatters.audit.cohort.image_summaries.image_summaries`.

    Raises:
        InputError: one label only, no readable image, images below 16 pixels a side, or too few patients.
    """
    cases = images.cases
    if cases["label"].nunique() < 2:
        raise InputError(f"cases, column 'label': every label is {cases['label'].iloc[0]}, expected 0 and 1")
    summaries = list(image_summaries(images, cache_dir))
    readable = {row: one for row, one in enumerate(summaries) if isinstance(one, ImageSummary)}
    unreadable = [one.reason for one in summaries if isinstance(one, Refused)]
    if not readable:
        raise InputError(f"no image can be read, the first because: {(unreadable or ['there is none'])[0]}")
    read = list(readable)
    features = stacked_steps([one.steps for one in readable.values()])
    labels, patients = cases["label"].to_numpy(dtype=int), cases["patient_id"].to_numpy().astype(str)
    described = cases[attribute_columns(cases)]
    facts, header = file_facts(cases["image"].tolist())
    columns, used, left_out = column_step(described.iloc[read])
    of_header, _, _ = column_step(header.iloc[read])
    features |= {
        name: part for name, part in (("columns", columns), ("header", of_header)) if part is not None
    }
    dates = date_columns(described)
    others = described.drop(columns=list(dates))
    table = pd.concat([order_facts(cases), facts, dates, others.reset_index(drop=True)], axis=1)
    leaks, untested = fact_leaks(table.loc[:, ~table.columns.duplicated()], labels, patients, seed)
    digests = [readable[row].digest if row in readable else images.digest(row) for row in range(len(cases))]
    hashes = np.stack([one.perceptual_hash for one in readable.values()])
    counts = {"cases": len(cases), "positives": int(labels.sum()), "patients": len(set(patients))}
    return CohortAudit(
        climb(features, labels[read], patients[read], seed),
        tuple(leaks),
        tuple(empty_cells(others, labels, patients)),
        shared_between(cases, digests) | near_between(cases.iloc[read], hashes),
        counts,
        tuple(used),
        tuple(dict.fromkeys([*left_out, *untested])),
        tuple(unreadable),
    )
