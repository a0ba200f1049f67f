"""What every output of a bundle must say of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_LEANING = "LEANS ON A CONFOUNDER"


def disclaimers(rules: Mapping[str, Any]) -> tuple[str, ...]:
    """What every output must say, each in one line.

    A network that failed its audit says so: it must not look better than one that nobody tested.

    Args:
        rules: of the bundle.
    """
    unaudited = () if rules["audited"] else ("UNAUDITED: not tested for confounders",)
    leaning = (f"{_LEANING}: {confounder}" for confounder in _leans_on(rules))
    return ("RESEARCH USE ONLY: not a medical device", *unaudited, *leaning)


def audit_disclaimer(rules: Mapping[str, Any]) -> str:
    """In few words what the audit came to, for places of few characters; empty if nothing was found.

    Args:
        rules: of the bundle.
    """
    if not rules["audited"]:
        return "UNAUDITED"
    return _LEANING if _leans_on(rules) else ""


def _leans_on(rules: Mapping[str, Any]) -> list[str]:
    """On what the audit showed that it leans."""
    return rules["audit"]["leans_on"] if rules["audited"] else []
