"""The examples on phantoms, drawn once per study and kept in its folder: drawing imports what trains."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd

from srcmatters.files import write_text

RECORD = "phantom_examples.json"
#: Columns of a run on which its example depends.
_DRAWN_BY = ("confounder", "confounder_args", "protocol", "seed", "unit", "window", "image_size", "patch_mm")


@dataclass(frozen=True)
class Example:
    """One case in both states.

    Args:
        title: what it is.
        confounder: with its parameters.
        clean, confounded, difference: pictures as data URIs.
        limit: what the strongest colour of the difference means, in per cent of the grey range.
        changed: share of the pixels that change.
    """

    title: str
    confounder: str
    clean: str
    confounded: str
    difference: str
    limit: float
    changed: float


def recorded_phantom_examples(
    cells: pd.DataFrame, folder: Path, draw: bool
) -> tuple[list[Example], list[str]]:
    """Each confounder of a study on a synthetic chest, from its record where that was drawn alike.

    Args:
        cells: finished runs; ``label`` is the confounder with its parameters.
        folder: of the study.
        draw: draw what is not recorded, and record it.

    Returns:
        Examples, and a sentence for each confounder that has none.
    """
    key = repr([_drawn_by(runs.iloc[0]) for _, runs in cells.groupby("label", sort=True)])
    with suppress(OSError, ValueError, TypeError, KeyError):  # no record, or one of another version
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        if record["drawn_by"] == key:
            return [Example(**example) for example in record["examples"]], record["left_out"]
    if not draw:
        return [], [
            f"No example was drawn: none is recorded in {RECORD} of the study, and --no-data draws none."
        ]
    from srcmatters.reports.example_images import phantom_examples

    examples, left_out = phantom_examples(cells)
    record = {"drawn_by": key, "examples": [asdict(example) for example in examples], "left_out": left_out}
    with suppress(OSError):  # a study that may only be read is drawn anew each time
        write_text(folder / RECORD, json.dumps(record) + "\n")
    return examples, left_out


def _drawn_by(run: pd.Series) -> list[str]:
    return [str(run.get(name)) for name in _DRAWN_BY]
