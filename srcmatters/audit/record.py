"""audit.json: everything that an audit found, in a versioned form that other tools read."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from srcmatters.audit.check import Finding
from srcmatters.audit.result import Audit, OutputAudit
from srcmatters.csv_tables import csv_text, read_csv
from srcmatters.errors import InputError
from srcmatters.evaluation.outcomes import Outcome
from srcmatters.files import foreign_text, write_text
from srcmatters.reports.provenance import versions, written_on
from srcmatters.schemas import first_mistake

#: Grows by new fields only; a field that changes its meaning makes a new number.
VERSION = 1
RECORD, SCORES, EXCLUDED = "audit.json", "scores.csv", "excluded.csv"
_LARGEST = 50_000_000  # bytes of a record


def as_record(audit: Audit) -> dict[str, Any]:
    """An audit as plain JSON: NaN becomes null, names of images and patients are left out."""
    record = {
        "version": VERSION,
        "kind": "srcmatters audit",
        "written_on": written_on(),
        "versions": versions(),
        "outcome": audit.outcome.value,
        "model": dict(audit.model),
        "plan": vars(audit.plan),
        "contract": {name: dict(value) for name, value in audit.contract.items()},
        "sweep": None if audit.sweep is None else audit.sweep.to_dict("records"),
        "data": dict(audit.data),
        "refusals": [
            {"state": state, "reason": kind, "images": count} for state, kind, count in audit.refusals
        ],
        "seconds": dict(audit.seconds),
        "notes": list(audit.notes),
        "outputs": [_output(one) for one in audit.outputs],
    }
    return _plain(record)


def _output(audited: OutputAudit) -> dict[str, Any]:
    return {
        "output": audited.output,
        "outcome": audited.outcome.value,
        "confounders": [
            {
                "name": name,
                "doses": audited.scores.doses(name),
                "missing_doses": {
                    f"{dose:.3g}": why for dose, why in audited.scores.missing.get(name, {}).items()
                },
            }
            for name in audited.scores.confounders
        ],
        "findings": [_finding(one) for one in audited.findings],
    }


def _finding(finding: Finding) -> dict[str, Any]:
    return {**vars(finding), "outcome": None if finding.outcome is None else finding.outcome.value}


def _plain(value: Any) -> Any:
    """Nothing that JSON does not have."""
    if isinstance(value, Mapping):
        return {str(name): _plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, Outcome):
        return value.value
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if isinstance(value, int | np.integer):
        return int(value)
    if isinstance(value, float | np.floating):
        return float(value) if math.isfinite(value) else None
    return value if value is None or isinstance(value, str) else str(value)


def write_record(audit: Audit, folder: Path) -> Path:
    """Write audit.json, scores.csv, and excluded.csv if there is anything, each whole or not at all.

    Raises:
        InputError: the folder cannot be written.
    """
    try:
        for number, one in enumerate(audit.outputs):
            name = SCORES if number == 0 else f"scores-{number + 1}.csv"
            write_text(folder / name, csv_text(one.scores.table(), float_format="%.9g"))
        if len(audit.excluded):
            table = audit.excluded[["case_id", "state", "reason"]]
            write_text(folder / EXCLUDED, csv_text(table))
        write_text(folder / RECORD, json.dumps(as_record(audit), indent=2, allow_nan=False) + "\n")
    except OSError as error:
        raise InputError(f"--out: {folder} cannot be written ({error.strerror})") from error
    return folder / RECORD


def schema() -> dict[str, Any]:
    """JSON Schema of audit.json."""
    return json.loads(files("srcmatters.audit").joinpath("audit_schema.json").read_text(encoding="utf-8"))


def is_audit(path: str | Path) -> bool:
    """Whether a path is an audit: its folder, or its audit.json."""
    return _file_of(Path(path)) is not None


def _file_of(path: Path) -> Path | None:
    if path.is_dir() and (path / RECORD).is_file():
        return path / RECORD
    return path if path.is_file() and path.suffix == ".json" else None


def read_record(path: str | Path) -> dict[str, Any]:
    """Read audit.json, checked against its schema.

    Args:
        path: the file, or the folder that holds it.

    Raises:
        InputError: not there, too large, or not an audit; names the file and the field.
    """
    file = _file_of(Path(path))
    if file is None:
        raise InputError(f"{path}: no {RECORD}, expected the --out folder of `srcmatters audit run`")
    try:
        record = json.loads(foreign_text(file, _LARGEST))
    except InputError:
        raise
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{file}: not readable ({str(error).splitlines()[0]})") from error
    mistake = first_mistake(schema(), record)
    if mistake is not None:
        raise InputError(f"{file}: {mistake}")
    return record


def read_scores(path: str | Path) -> pd.DataFrame:
    """The table of scores of an audit's first output.

    Raises:
        InputError: not there or not a table.
    """
    folder = Path(path) if Path(path).is_dir() else Path(path).parent
    file = folder / SCORES
    try:
        return read_csv(file, dtype={"case_id": str, "patient_id": str})
    except (ValueError, OSError) as error:
        raise InputError(f"{file}: not a readable table of scores ({str(error).splitlines()[0]})") from error
