"""What every output of a bundle must say of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def disclaimers(rules: Mapping[str, Any]) -> tuple[str, ...]:
    """What every output must say, each in one line.

    A line for each confounder that was tested begins with its outcome, LEANS, WITHIN MARGIN or INCONCLUSIVE
    among them: a network that failed its audit must not look better than one that nobody tested, nor a small
    test set better than a large one. What the labels of the target are separable by without any network's
    help stands beside that.

    Args:
        rules: of the bundle.
    """
    unaudited = () if rules["audited"] else ("UNAUDITED: not tested for confounders",)
    shortcut = rules.get("shortcut")
    return (
        "RESEARCH USE ONLY: not a medical device",
        *unaudited,
        *_marks(rules),
        *([shortcut] if shortcut else ()),
    )


def audit_disclaimer(rules: Mapping[str, Any]) -> str:
    """In few words what the audit came to, for places of few characters.

    Args:
        rules: of the bundle.
    """
    if not rules["audited"]:
        return "UNAUDITED"
    if rules["audit"]["leans_on"]:
        return "LEANS ON A CONFOUNDER"
    outcome = rules["audit"].get("outcome")
    return f"AUDIT {outcome}" if outcome else ""


def _marks(rules: Mapping[str, Any]) -> list[str]:
    """Outcome and figures of each confounder; bundles of before there were outcomes name those that lean."""
    if not rules["audited"]:
        return []
    audit = rules["audit"]
    return list(
        audit.get("marks", [f"LEANS ON A CONFOUNDER: {confounder}" for confounder in audit["leans_on"]])
    )
