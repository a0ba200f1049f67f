"""What the MLflow registry says of an exported model, in Markdown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from srcmatters import numbers
from srcmatters.markdown import escaped

_ENVIRONMENTS = {"clean_auc": "clean", "iid_auc": "i.i.d.", "ood_auc": "o.o.d."}


def model_text(card: Mapping[str, Any]) -> str:
    """Description of a registered model, whatever its version.

    Args:
        card: ``model_card.json``.
    """
    return (
        f"{escaped(card['name'])}. Each version is one exported run. The alias `audited` is the last one that"
        f" was tested under a confounder, `unaudited` the last one that was not. {card['notice']}"
    )


def version_text(rules: Mapping[str, Any], card: Mapping[str, Any]) -> str:
    """Description of a version: what it is, what the audit found, how it decides.

    Args:
        rules: ``clinical.json``.
        card: ``model_card.json``.
    """
    threshold = rules["threshold"]
    return "\n\n".join(
        [
            escaped(card["summary"]),
            _verdict(card),
            f"**Decision.** Positive at a {card['decision']['output']} of {threshold['value']:.4f} or more"
            f" ({threshold['rule']}, fixed on {threshold['cases']} validation cases; calibration:"
            f" {rules['calibration']['method']}).",
            "Input: `image`, float32 in [0, 1]; output: `logits`, not calibrated. The model card is among the"
            " artifacts of the logged model, `docs/model_card.html`.",
            f"*{card['notice']}*",
        ]
    )


def _verdict(card: Mapping[str, Any]) -> str:
    if not card["audited"]:
        return f"**NOT AUDITED.** {escaped(card['verdict'])}"
    lines = [_row(row) for row in card["audit"]["tested"]]
    heading = (
        f"**Audited** on {escaped(card['audit']['of'])}. {escaped(card['verdict'])} AUC with 95 % intervals:"
    )
    return "\n".join([heading, "", *lines])


def _row(row: Mapping[str, Any]) -> str:
    areas = ", ".join(
        f"{shown} {_figure(row[name])}" for name, shown in _ENVIRONMENTS.items() if row.get(name)
    )
    arguments = "" if row["confounder_args"] == "{}" else f" {row['confounder_args']}"
    share = "" if row["p_art"] is None else f", p_art {numbers.share(row['p_art'])}"
    return (
        f"- **{row['confounder']}**{arguments}{share}: {areas}; i.i.d. minus o.o.d."
        f" {_figure(row['iid_minus_ood'])}"
    )


def _figure(figure: Mapping[str, float | None]) -> str:
    return numbers.interval(figure["value"], figure["low"], figure["high"])
