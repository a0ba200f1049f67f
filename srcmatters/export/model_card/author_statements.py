"""What only the authors of a model know: their statements for its card and checklists, from a YAML file."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from srcmatters.errors import InputError, did_you_mean, first_line
from srcmatters.export.model_card.checklist_items import CLAIM, TRIPOD_AI

NOT_KNOWN = "Not recorded."
#: Of a model whose authors give it none.
FIRST_VERSION = "1.0.0"
#: Statement -> what it is about.
STATEMENTS = {
    "version": f"of the model, {FIRST_VERSION} unless given",
    "developer": "who made the model",
    "contact": "how to reach them",
    "intended_use": "what it is for, and at which point of the workflow",
    "intended_users": "who may use it",
    "population": "the patients that it is for",
    "licence": "of the model, that is of its weights",
    "target_licence": "under which licence the images of the training are",
    "maintenance": "how it is watched and updated",
    "funding": "who paid for it",
    "availability": "where it may be used",
    "stakeholders": "who was asked",
    "publications": "peer-reviewed ones on it",
    "consent": "of the patients",
}
_CHECKLISTS = {"claim": CLAIM, "tripod_ai": TRIPOD_AI}


@dataclass(frozen=True)
class Authors:
    """Statements of the authors.

    Args:
        statements: texts by the names in ``STATEMENTS``.
        answers: texts by checklist ("claim", "tripod_ai") and the number of the item.
    """

    statements: Mapping[str, str] = field(default_factory=dict)
    answers: Mapping[str, Mapping[str, str]] = field(
        default_factory=lambda: {name: {} for name in _CHECKLISTS}
    )

    def say(self, statement: str, otherwise: str = NOT_KNOWN) -> str:
        """A statement, or what stands where the authors have made none."""
        assert statement in STATEMENTS
        return self.statements.get(statement, otherwise)


def read_authors(path: Path) -> Authors:
    """Read the statements.

    Args:
        path: YAML: any of ``STATEMENTS``, and under ``claim`` and ``tripod_ai`` answers by the item's number.

    Raises:
        InputError: not readable, an unknown name or number, or a statement that is no text.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise InputError(f"--about: {path} is not readable ({first_line(error)})") from error
    statements_of_file = _mapping(content, f"--about: {path}", (*STATEMENTS, *_CHECKLISTS))
    answers = {}
    for name, items in _CHECKLISTS.items():
        where = f"--about: {path}: {name}"
        item_answers = _mapping(statements_of_file.pop(name, {}), where, [number for number, _, _ in items])
        answers[name] = {key: _text(value, f"{where}: {key}") for key, value in item_answers.items()}
    statements = {key: _text(value, f"--about: {path}: {key}") for key, value in statements_of_file.items()}
    return Authors(statements, answers)


def _mapping(content: Any, where: str, known: Collection[str]) -> dict[str, Any]:
    if not isinstance(content, dict):
        raise InputError(f"{where}: got a {type(content).__name__}, expected a mapping of names to texts")
    mapping = {str(name): value for name, value in content.items()}
    for name in mapping:
        if name not in known:
            raise InputError(f"{where}: {name!r} is unknown{did_you_mean(name, known)}")
    return mapping


def _text(value: Any, where: str) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float) or not str(value).strip():
        raise InputError(f"{where}: got {value!r}, expected a text")
    return str(value).strip()
