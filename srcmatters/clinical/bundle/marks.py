"""What every output of a bundle must say of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def marks(rules: Mapping[str, Any]) -> tuple[str, ...]:
    """What every output must say, each in one line.

    Args:
        rules: of the bundle.
    """
    unaudited = () if rules["audited"] else ("UNAUDITED: not tested for confounders",)
    return ("RESEARCH USE ONLY: not a medical device", *unaudited)
