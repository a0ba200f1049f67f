"""What was asked of a study's networks themselves, and of its images: kept in the study's folder."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from srcmatters.errors import InputError
from srcmatters.files import foreign_text, write_text
from srcmatters.numbers import counted, interval, listed, share
from srcmatters.reports.region_table import region_table
from srcmatters.reports.study_tables import Table

RECORD = "network_checks.json"
_LABELS = {0: "negatives", 1: "positives"}
_CHANCE = 0.5
#: Regions that every image has: a card is short.
_PARTS = {"border", "centre", "upper left", "upper right", "lower left", "lower right"}


@dataclass(frozen=True)
class NetworkChecks:
    """Encoded attributes and regions of the networks of one source.

    Args:
        key: what it was measured on: hash of weights, cases and code.
        setup: target, network and depth of the runs.
        source: of the networks.
        confounder: of the runs; "none" where they learnt without correlation.
        p_art: of the runs.
        lowest: whether this is the lowest p_art of the study.
        runs: networks.
        cases: images that they were tested on.
        encoded: by column :class:`srcmatters.evaluation.attribute_encoding.Encoding` of each label.
        regions: subject, text and interventions of every region.
        left_out: why something was not measured.
        asked: names of the checks.
    """

    key: str
    setup: tuple[str, str, str]
    source: str
    confounder: str
    p_art: float
    lowest: bool
    runs: int
    cases: int
    encoded: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    regions: Sequence[Mapping[str, Any]] = ()
    left_out: Sequence[str] = ()
    asked: Sequence[str] = ()

    @property
    def title(self) -> str:
        """Source, confounder and p_art in words."""
        training = f"p_art {share(self.p_art)}" + ("" if self.lowest else f" of {self.confounder}")
        return f"{', '.join(self.setup)}: {self.source}, {training} ({counted(self.runs, 'network')})"


def read_network_checks(folder: Path) -> list[NetworkChecks]:
    """What was kept of a study; empty where nothing was.

    Raises:
        InputError: a record that is none, naming the file.
    """
    path = folder / RECORD
    if not path.is_file():
        return []
    try:
        return [
            NetworkChecks(**{**entry, "setup": tuple(entry["setup"])})
            for entry in json.loads(foreign_text(path, 2**26))["networks"]
        ]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise InputError(
            f"{path}: not what `srcmatters audit study` writes ({error}); delete it and run that again"
        ) from error


def write_network_checks(folder: Path, checks: Sequence[NetworkChecks]) -> Path:
    """Keep them in the folder of a study, whole or not at all.

    Raises:
        InputError: the folder cannot be written.
    """
    path = folder / RECORD
    try:
        write_text(path, json.dumps({"version": 1, "networks": [asdict(one) for one in checks]}) + "\n")
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror})") from error
    return path


def regions_of_study(checks: Sequence[NetworkChecks]) -> list[tuple[str, list[str], Table]]:
    """Title, sentences and table of each source that was asked, those of the lowest p_art first."""
    shown = []
    for one in sorted(checks, key=lambda one: (one.setup, not one.lowest, one.confounder)):
        table = region_table(one.regions, caption=f"Regions: {one.title}")
        if table is not None:
            shown.append((one.title, [str(row["text"]) for row in one.regions], table))
    return shown


def sentences_for_a_card(folder: Path, setup: tuple[str, str, str], source: str) -> list[str]:
    """What a model card says of the networks of a source: encoded attributes, and the regions that decide.

    Args:
        folder: of the study.
        setup: target, network and depth of the exported run.
        source: of the exported run.

    Raises:
        InputError: see :func:`read_network_checks`.
    """
    sentences = []
    for one in read_network_checks(folder):
        if one.setup != setup or one.source != source:
            continue
        for column, rows in one.encoded.items():
            areas = listed(
                f"{interval(row['auc'], row['low'], row['high'])} in {_LABELS[row['label']]}" for row in rows
            )
            known = "is" if any(row["low"] > _CHANCE for row in rows) else "is not shown to be"
            sentences.append(f"{column} {known} encoded in the features (AUC of a probe {areas}).")
        training = one.title.partition(": ")[2]
        sentences += [f"{training}: {row['text']}" for row in one.regions if row["subject"] not in _PARTS]
    return sentences
