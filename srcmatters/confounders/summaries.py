"""What the confounders are, for tables and checks that put none into an image.

The classes are MONAI transforms, and importing MONAI takes seconds. Their facts are therefore kept in
summaries.json, which ``python -m srcmatters.confounders.summaries`` writes anew; a test compares the two.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import cache
from importlib import resources
from pathlib import Path

from srcmatters.errors import InputError, did_you_mean

_FILE = "summaries.json"
#: Columns of a case table that say who and what a case is, and cannot be sampled.
_STRUCTURE = ("case_id", "patient_id", "image", "label", "true_label", "split", "mask")


@dataclass(frozen=True)
class ConfounderSummary:
    """One confounder.

    Args:
        miccat: its place in the taxonomy, in words.
        dims: "2D", "3D" or "2D/3D".
        modalities: what it is made for.
        parameters: each with its default, as text.
        source: who published it.
    """

    miccat: str
    dims: str
    modalities: tuple[str, ...]
    parameters: str
    source: str


@cache
def confounder_summaries() -> Mapping[str, ConfounderSummary]:
    """Every confounder that changes the image, by the name that a study uses."""
    content = json.loads(resources.files(__package__).joinpath(_FILE).read_text(encoding="utf-8"))
    return {
        name: ConfounderSummary(**{**facts, "modalities": tuple(facts["modalities"])})
        for name, facts in content.items()
    }


def sampled_column(confounder: str, columns: Iterable[object]) -> str | None:
    """The column of a case table that a study samples instead of changing images; None if it changes images.

    Args:
        confounder: a name of :func:`confounder_summaries`, which wins, "none", or a column.
        columns: of the case table.

    Raises:
        InputError: it is none of these.
    """
    names = [*confounder_summaries(), "none"]
    if confounder in names or "+" in confounder:  # tag+noise, see pair_names.py
        return None
    sampled = [
        str(column)
        for column in columns
        if column not in _STRUCTURE and not str(column).startswith("split_fold")
    ]
    if confounder not in sampled:
        columns_there = f"a confounder of the catalogue, or a column of the case table: {', '.join(sampled)}"
        hint = did_you_mean(str(confounder), [*names, *sampled], columns_there)
        raise InputError(f"confounder: {confounder!r} is unknown{hint}")
    return confounder


def summarise_classes() -> dict[str, ConfounderSummary]:
    """The same, read off the classes."""
    from srcmatters.confounders.catalogue import known_confounders

    return {
        name: ConfounderSummary(
            str(cls.miccat),
            "/".join(f"{dims}D" for dims in cls.spatial_dims),
            tuple(cls.modalities),
            _parameters(cls),
            cls.source,
        )
        for name, cls in known_confounders().items()
    }


def _parameters(cls: type) -> str:
    parts = []
    for name, parameter in inspect.signature(cls).parameters.items():
        if name == "seed":
            continue
        value = parameter.default
        if isinstance(value, tuple):
            value = tuple(round(item, 4) if isinstance(item, float) else item for item in value)
        parts.append(f"{name}={round(value, 4) if isinstance(value, float) else value!r}")
    return ", ".join(parts)


if __name__ == "__main__":
    text = json.dumps({name: asdict(facts) for name, facts in summarise_classes().items()}, indent=2)
    Path(__file__).with_name(_FILE).write_text(text + "\n", encoding="utf-8")
