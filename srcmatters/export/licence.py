"""Which licence covers which part of an exported bundle: the weights are not ours to license."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

NOT_STATED = "Not stated by the authors."
_APACHE = Path(__file__).parent / "templates" / "LICENSE"


def licence_terms(model: str, source: Mapping[str, str], target: Mapping[str, Any]) -> list[dict[str, str]]:
    """What is under which licence: configuration, weights, and the two that the weights were made from.

    Args:
        model: licence of the weights, as the authors say it; :data:`NOT_STATED` if they do not.
        source: "name" and "licence" of what the network was pre-trained on.
        target: likewise of the images of the training.

    Returns:
        Rows with "part" and "licence".
    """
    rows = (
        ("Configuration and texts (configs, docs)", "Apache License 2.0, by the srcmatters authors"),
        ("Weights of the network and its monitors (models, configs/clinical.npz)", model),
        (f"Weights that the training started from ({source['name']})", source["licence"]),
        (f"Images of the training, which docs may show ({target['name']})", target["licence"]),
    )
    return [{"part": part, "licence": licence} for part, licence in rows]


def licence_text(card: Mapping[str, Any]) -> str:
    """``LICENSE`` of a bundle: what is under which licence, and the text of the one that is ours.

    Args:
        card: of :func:`srcmatters.export.model_card.card.model_card`.
    """
    terms = "\n\n".join(f"{row['part']}:\n    {row['licence']}" for row in card["licence"])
    return (
        f"{card['name']}, version {card['version']}\n\n{terms}\n\n"
        "The text below is the licence of configuration and texts alone; it licenses no weights and no"
        " images.\n"
        f"{_APACHE.read_text(encoding='utf-8')}"
    )
