"""What ``configs/clinical.json`` of an exported bundle must hold."""

from __future__ import annotations

from typing import Any

from srcmatters.exported_bundle.input_rules import CHOICES

#: Rises with every change after which older bundles mean something else.
RULES_VERSION = 4
_NUMBER = {"type": "number"}
_COUNT = {"type": "integer", "minimum": 0}
#: A name: one line without control characters, which a header, a table and a file name can hold.
NAME = r"[^\x00-\x1f\x7f-\x9f\u2028\u2029]{1,200}"
_WORD = {"type": "string", "pattern": f"^{NAME}$", "maxLength": 200}
_SHA256 = {"type": "string", "pattern": "^[0-9a-f]{64}$"}
_SHARE = {"type": "number", "minimum": 0, "maximum": 1}
_RANGE = {
    "anyOf": [
        {"type": "null"},
        {"type": "array", "items": _NUMBER, "minItems": 2, "maxItems": 2},
    ]
}


def _object(required: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "required": list(required), "properties": required}


def _or_empty(schema: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [{"const": ""}, schema]}


def _or_null(schema: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [{"type": "null"}, schema]}


_CODE = {"type": "array", "items": _WORD, "minItems": 3, "maxItems": 3}
_WINDOW = {
    "anyOf": [
        {"type": "null"},
        _WORD,
        {"type": "array", "items": _NUMBER, "minItems": 2, "maxItems": 2},
    ]
}
_MOST_POINTS = 10_000
_POINTS = {"type": "array", "items": _NUMBER, "minItems": 1, "maxItems": _MOST_POINTS}
_SHARES = {"type": "array", "items": _SHARE, "minItems": 1, "maxItems": _MOST_POINTS}
_CALIBRATION = {
    "oneOf": [
        _object(
            {
                "method": {"const": "temperature"},
                "temperature": {"type": "number", "exclusiveMinimum": 0},
                "bias": _NUMBER,
                "cases": _COUNT,
            }
        ),
        _object({"method": {"const": "isotonic"}, "x": _POINTS, "y": _SHARES, "cases": _COUNT}),
        _object({"method": {"const": "none"}, "cases": _COUNT}),
    ]
}
_ACTIONS = _object({name: {"enum": list(actions)} for name, actions in CHOICES.items()})
_OOD = _object(
    {
        "layer": {"const": "stages"},
        "arrays": _object(dict.fromkeys(("mean", "scale", "basis", "precision"), _WORD)),
        "residual_variance": {"type": "number", "exclusiveMinimum": 0},
        "threshold": _NUMBER,
        "quantile": _NUMBER,
        "false_alarms": _NUMBER,
    }
)
_MONITOR = _object(
    {
        "confounder": _WORD,
        "kind": {"const": "detectability probe"},
        "arrays": _object(dict.fromkeys(("mean", "scale", "weight"), _WORD)),
        "bias": _NUMBER,
        "threshold": _NUMBER,
        "auc": _NUMBER,
        "sensitivity": _NUMBER,
        "false_alarms": _NUMBER,
    }
)

#: JSON schema of the declared rules.
RULES_SCHEMA: dict[str, Any] = _object(
    {
        "version": {"const": RULES_VERSION},
        "name": _WORD,
        "model_version": _WORD,
        "modality": {"enum": ["radiograph", "ct"]},
        "body_part": _or_empty(_WORD),
        "network": _WORD,
        "image_size": {"type": "integer", "minimum": 8},
        "unit": {"enum": ["display", "HU"]},
        "window": _WINDOW,
        "patch_mm": _or_null(_NUMBER),
        "slab_mm": _or_null(_NUMBER),
        "spatial_dims": {"enum": [2, 3]},
        "finding": _object({"positive": _WORD, "negative": _WORD, "code": _or_null(_CODE)}),
        "threshold": _object(
            {
                "value": {"type": "number", "minimum": 0, "maximum": 1},
                "rule": _WORD,
                "fixed_on": {"const": "validation"},
                "cases": _COUNT,
            }
        ),
        "calibration": _CALIBRATION,
        "input": _object(
            {
                "spacing_mm": _RANGE,
                "size": _RANGE,
                "depth_mm": _RANGE,
                "views": _or_null({"type": "array", "items": _WORD}),
                "positions": _or_null({"type": "boolean"}),
            }
        ),
        # A rule that nobody may decide would look as if it were decided.
        "actions": {**_ACTIONS, "additionalProperties": False},
        "ood": _or_null(_OOD),
        "monitors": {"type": "array", "items": _MONITOR},
        "audited": {"type": "boolean"},
        "audit": _or_null(_object({"leans_on": {"type": "array", "items": _WORD}})),
        # Whoever changes the weights has another model, of which these rules say nothing.
        "weights_sha256": _SHA256,
        "mlflow_run": _or_null(_WORD),
        "trained": {"type": "object"},
    }
)
#: Bundles of before know nothing of these.
RULES_SCHEMA["properties"] |= {"shortcut": _or_null(_WORD)}
# What is called audited must say what came of it.
RULES_SCHEMA |= {
    "if": {"properties": {"audited": {"const": True}}},
    "then": {"properties": {"audit": {"type": "object"}}},
}
