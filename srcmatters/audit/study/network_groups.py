"""Which runs of a study are asked: without correlation, and with the strongest of each confounder."""

from __future__ import annotations

import ast
import hashlib
import inspect
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from srcmatters import __version__
from srcmatters.audit.checks import regions
from srcmatters.audit.regions import fills, interventions, masks
from srcmatters.audit.study import pooled_runs
from srcmatters.cohorts.case_table import MASK_COLUMNS
from srcmatters.evaluation import attribute_encoding, linear_probe
from srcmatters.evaluation.study_attributes import clean_runs
from srcmatters.files import sha256_of
from srcmatters.images import file_signature
from srcmatters.reports.setups import confounder_label
from srcmatters.runs.file_names import WEIGHTS

_SETUP = ["target", "network", "depth"]
#: Code on which the measurements depend.
_CODE = (regions, fills, interventions, masks, pooled_runs, attribute_encoding, linear_probe)


@dataclass(frozen=True)
class NetworkGroup:
    """Runs of one source that differ in their test cases only.

    Args:
        setup: target, network and depth.
        source: of the networks.
        confounder: of the runs; "none" where they are those of the lowest p_art.
        arguments: of the confounder.
        p_art: of the runs.
        lowest: whether it is the lowest of the study.
        folders: their output, by fold.
    """

    setup: tuple[str, str, str]
    source: str
    confounder: str
    arguments: dict[str, Any]
    p_art: float
    lowest: bool
    folders: tuple[Path, ...]

    @property
    def label(self) -> str:
        """The confounder with its arguments."""
        return confounder_label(self.confounder, str(self.arguments))

    def key(self, cases: pd.DataFrame) -> str:
        """Hash of everything that the measurements depend on: weights, images, table, code.

        Args:
            cases: case table.
        """
        weights = [sha256_of(folder / WEIGHTS) for folder in self.folders if (folder / WEIGHTS).is_file()]
        files = [
            file_signature(path)
            for column in ("image", *(name for name in MASK_COLUMNS if name in cases))
            for path in cases[column].dropna()
            if Path(path).exists()
        ]
        described = {
            "weights": weights,
            "folders": [folder.name for folder in self.folders],
            "files": hashlib.sha256(repr(files).encode()).hexdigest(),
            "table": hashlib.sha256(cases.to_csv(index=False).encode()).hexdigest(),
            "arguments": repr(self.arguments),
            "code": [__version__, *(inspect.getsource(module) for module in _CODE)],
        }
        return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()


def network_groups(cells: pd.DataFrame) -> Iterator[NetworkGroup]:
    """Groups of a study, those of the lowest p_art first; null controls and arms are left out.

    Args:
        cells: finished runs.
    """
    lowest = clean_runs(cells)
    for names, runs in lowest.groupby([*_SETUP, "source"], sort=True):
        yield _group(names, runs, lowest=True)
    plain = cells[(cells["control"] == "none") & (cells["mitigation"] == "none")]
    axes = [*_SETUP, "source", "confounder", "confounder_args"]
    strongest = plain.groupby(axes)["p_art"].transform("max").astype(float)
    least = plain.groupby([*_SETUP, "source"])["p_art"].transform("min").astype(float)
    plain = plain[np.isclose(plain["p_art"].astype(float), strongest) & (strongest > least)]
    for names, runs in plain.groupby(axes, sort=True):
        yield _group(names, runs, lowest=False)


def _group(names: Any, runs: pd.DataFrame, lowest: bool) -> NetworkGroup:
    """Of runs that differ in the seed alone the first is enough."""
    first = runs.sort_values(["fold", "seed"]).drop_duplicates("fold")
    target, network, depth, source = map(str, names[:4])
    confounder = "none" if lowest else str(first["confounder"].iloc[0])
    return NetworkGroup(
        (target, network, depth),
        source,
        confounder,
        ast.literal_eval(str(first["confounder_args"].iloc[0])) if not lowest else {},
        float(first["p_art"].iloc[0]),
        lowest,
        tuple(Path(folder) for folder in first["output_dir"]),
    )
