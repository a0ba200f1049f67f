"""What is wrong with a file that a JSON schema describes, in one line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError, best_match

from srcmatters.errors import did_you_mean

_LONGEST = 200


def first_mistake(schema: Mapping[str, Any], content: object) -> str | None:
    """The most telling mistake in a document, None where there is none.

    jsonschema's own message repeats the whole document where one field of it is wrong.

    Args:
        schema: JSON Schema, draft 2020-12; a ``description`` says what is expected in words.
        content: what a YAML or JSON parser made of the file.

    Returns:
        ``field.path: got ..., expected ...``, with the nearest known names for one that is unknown.
    """
    error = best_match(Draft202012Validator(schema).iter_errors(content))
    return None if error is None else _explain(error)


def _explain(error: ValidationError) -> str:
    field = ".".join(str(step) for step in error.absolute_path)
    if error.validator == "required":
        assert isinstance(error.instance, dict)
        missing = [name for name in error.validator_value if name not in error.instance]
        return f"{field + ': ' if field else ''}{', '.join(missing)} missing"
    if error.validator == "additionalProperties":
        assert isinstance(error.instance, dict)
        known = list(error.schema["properties"])
        unknown = next(str(name) for name in error.instance if name not in known)
        return f"{field + '.' if field else ''}{unknown} is unknown{did_you_mean(unknown, known)}"
    described = error.schema.get("description")
    if described is not None:
        text = f"got {repr(error.instance)[:80]}, expected {described}"
    elif error.validator == "enum":
        text = f"got {error.instance!r}{did_you_mean(str(error.instance), map(str, error.validator_value))}"
    else:
        text = " ".join(error.message.split())
    return f"{field + ': ' if field else ''}{text}"[:_LONGEST]
