"""The shortcut of the target's own, measured once per study and kept in its folder."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

import pandas as pd

from srcmatters.cohorts.case_table import STRUCTURE
from srcmatters.errors import InputError
from srcmatters.evaluation.natural_shortcut import NaturalShortcut, natural_shortcut
from srcmatters.files import write_text

RECORD = "natural_shortcut.json"


def shortcuts(
    cells: pd.DataFrame, folder: Path, measure: bool = True, trust: bool = False
) -> dict[str, NaturalShortcut | str]:
    """What thumbnails of each target tell of the label.

    Args:
        cells: finished runs.
        folder: where the measurement is kept, by the hash of images and labels.
        measure: open the images of a target that has no measurement yet.
        trust: evaluate configurations with code of their own for that.

    Returns:
        By target the measurement, or a sentence on why there is none.
    """
    path = folder / RECORD
    known = _read(path)
    by_target: dict[str, NaturalShortcut | str] = {}
    fresh = False
    for target, runs in cells.groupby("target", sort=True):
        digest = str(runs.get("dataset_sha256", pd.Series([""])).iloc[0])
        if digest and digest in known:
            by_target[str(target)] = known[digest]
        elif not measure:
            by_target[str(target)] = "it was not measured, because this report did not open the images"
        else:
            result = _measured(runs, trust)
            by_target[str(target)] = result
            if isinstance(result, NaturalShortcut) and digest:
                known[digest] = result
                fresh = True
    if fresh:
        _write(path, known)
    return by_target


def _measured(runs: pd.DataFrame, trust: bool) -> NaturalShortcut | str:
    from srcmatters.runs.trained_run import open_images  # imports what trains

    try:
        cache = open_images(runs["output_dir"].iloc[0], trust)
        cases = cache.cases
        described = [name for name in cases.columns if name not in STRUCTURE]
        return natural_shortcut(
            cache.state("clean"),
            cases["label"].astype(int).tolist(),
            cases["patient_id"].tolist(),
            columns=cases[described],
            case_ids=cases["case_id"].tolist(),
        )
    except InputError as error:
        return str(error)


def _read(path: Path) -> dict[str, NaturalShortcut]:
    """Measurements of before; none where the file is missing or was not written by this version."""
    try:
        return {
            digest: NaturalShortcut(**{**record, "rungs": tuple(record["rungs"])})
            for digest, record in json.loads(path.read_text()).items()
        }
    except (OSError, ValueError, TypeError, AttributeError, KeyError):
        return {}


def _write(path: Path, known: dict[str, NaturalShortcut]) -> None:
    content = {digest: asdict(one) for digest, one in known.items()}
    with suppress(OSError):  # a study that may only be read is measured anew each time
        write_text(path, json.dumps(content, indent=2) + "\n")
