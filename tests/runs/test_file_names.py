"""The folder of a run has one owner: no other module spells the names of its files."""

from __future__ import annotations

import ast
from pathlib import Path

import srcmatters
from srcmatters.runs import file_names

PACKAGE = Path(str(srcmatters.__file__)).parent
ROOMS = ("training", "runs", "studies", "reports", "source_comparison", "preprocessing", "evaluation")


def test_file_names_of_runs_are_spelled_once() -> None:
    names = {value for name, value in vars(file_names).items() if name.isupper() and isinstance(value, str)}
    assert {"predictions.csv", "metrics.json", "config.yaml", "model.pt", "study.json"} <= names
    spelled = [
        f"{path.relative_to(PACKAGE)}: {node.value}"
        for room in ROOMS
        for path in (PACKAGE / room).rglob("*.py")
        if path.name != "file_names.py"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and node.value in names
    ]
    assert spelled == []
