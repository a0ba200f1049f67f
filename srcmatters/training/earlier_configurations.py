"""Names under which the configuration of a run of version 0.1 finds what has moved since."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import pandas as pd

from srcmatters.cohorts import study_cases
from srcmatters.cohorts.study_cases import CaseChoice, StudyCases
from srcmatters.confounders import sampled_column
from srcmatters.preprocessing.state_cache import StateCache

_MOVED = {
    "AntialiasedResized": "srcmatters.preprocessing",
    "FeatureCache": "srcmatters.preprocessing",
    "ResamplePatchd": "srcmatters.preprocessing",
    "Results": "srcmatters.runs",
    "Tracker": "srcmatters.runs",
    "confounder_place": "srcmatters.preprocessing",
    "control_labels": "srcmatters.cohorts",
    "create_image_confounder": "srcmatters.preprocessing",
    "default_output_dir": "srcmatters.runs",
    "slab_to_read": "srcmatters.preprocessing",
}


def earlier_name(name: str) -> Any:
    """What ``srcmatters.training.<name>`` was.

    Raises:
        AttributeError: it never was anything.
    """
    if name == "StateCache":  # was opened by its constructor
        return StateCache.open
    if name in _MOVED:
        return getattr(importlib.import_module(_MOVED[name]), name)
    if name in ("choose_cases", "choose_readable"):
        return globals()[name]
    raise AttributeError(f"module 'srcmatters.training' has no attribute {name!r}")


def choose_cases(cases: pd.DataFrame, **choice: Any) -> StudyCases:
    """:func:`srcmatters.cohorts.choose_cases` with the arguments of version 0.1."""
    return study_cases.choose_cases(cases, _choice(cases, choice))


def choose_readable(
    planned: StudyCases, cases: pd.DataFrame, readable: pd.DataFrame, **choice: Any
) -> StudyCases:
    """:func:`srcmatters.cohorts.choose_readable` with the arguments of version 0.1."""
    return study_cases.choose_readable(planned, cases, readable, _choice(cases, choice))


def _choice(cases: pd.DataFrame, choice: Mapping[str, Any]) -> CaseChoice:
    others = {name: value for name, value in choice.items() if name != "confounder"}
    return CaseChoice(sampled=sampled_column(choice["confounder"], cases), **others)
