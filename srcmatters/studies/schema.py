"""What a study file may say."""

from __future__ import annotations

from typing import Any

AXES = ("source", "network", "confounder", "p_art", "p_neg", "mitigation", "adaptation", "train_size", "fold",
        "seed")  # fmt: skip
DEPTHS = ("finetune", "screen")

_NAME = {"type": "string", "minLength": 1, "description": "a name"}
_MAPPING = {"type": "object"}
_WHOLE = {"type": "integer", "minimum": 0}
_CHOICE = {
    "description": "a name, or a mapping of name, args and overrides",
    "oneOf": [
        _NAME,
        {
            "type": "object",
            "properties": {"name": _NAME, "args": _MAPPING, "overrides": _MAPPING},
            "required": ["name"],
            "additionalProperties": False,
        },
    ],
}


def _axis(values: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": values, "minItems": 1}


STUDY_SCHEMA: dict[str, Any] = {
    "type": "object",
    "description": "a mapping with name, bundle and axes",
    "properties": {
        # Also the name of the folder and of the MLflow experiment.
        "name": {
            "type": "string",
            "pattern": r"^[\w][\w.-]*$",
            "description": "letters, digits, '_', '-' and '.'",
        },
        "bundle": _NAME,
        "depth": {"enum": list(DEPTHS)},
        "axes": {
            "type": "object",
            "properties": {
                "source": _axis(_CHOICE),
                "network": _axis(_CHOICE),
                "confounder": _axis(_CHOICE),
                "p_art": _axis({"type": "number", "minimum": 0, "maximum": 1}),
                "p_neg": _axis({"type": "number", "minimum": 0, "maximum": 1}),
                "mitigation": _axis(_CHOICE),
                "adaptation": _axis(_NAME),
                "train_size": _axis(_WHOLE),
                "fold": _axis(_WHOLE),
                "seed": _axis(_WHOLE),
            },
            "minProperties": 1,
            "additionalProperties": False,
        },
        "overrides": _MAPPING,
        "overlays": {"type": "array", "items": _NAME},
        "protocol": {"enum": ["corrected", "paper"]},
        "controls": {
            "type": "array",
            "items": {"enum": ["shuffled_labels", "independent_confounder"]},
            "uniqueItems": True,
        },
        "analysis": _MAPPING,
        "retries": _WHOLE,
        "tracking_uri": {"type": ["string", "null"]},
        "dataset_dir": _NAME,
    },
    "required": ["name", "bundle", "axes"],
    "additionalProperties": False,
}
