"""Answers on disk: a table, and the DICOM objects beside it; all of it or nothing."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from pydicom import Dataset, dcmwrite

from srcmatters.clinical.predict import Prediction, hashed, marks
from srcmatters.errors import InputError

COLUMNS = (
    "file",
    "files",
    "study",
    "series",
    "probability",
    "threshold",
    "finding",
    "status",
    "reasons",
)


def row(prediction: Prediction, rules: Mapping[str, Any], identifiers: bool = False) -> dict[str, Any]:
    """One line of the table.

    Args:
        prediction: the answer.
        rules: of the bundle.
        identifiers: write the UIDs of study and series instead of their hashes.
    """
    item = prediction.item
    header: Mapping[str, Any] = item.headers[0] if item.headers else {}
    uids = [header.get(name, "") for name in ("StudyInstanceUID", "SeriesInstanceUID")]
    study, series = uids if identifiers else map(hashed, uids)
    finding = {None: "", True: "yes", False: "no"}[prediction.finding]
    values = (
        item.name,
        len(item.files),
        study,
        series,
        None if prediction.probability is None else round(prediction.probability, 6),
        rules["threshold"]["value"],
        finding,
        prediction.status,
        "; ".join(prediction.reasons),
    )
    return dict(zip(COLUMNS, values, strict=True))


def as_csv(rows: Iterable[Mapping[str, Any]]) -> str:
    """The table as CSV."""
    return pd.DataFrame(list(rows), columns=list(COLUMNS)).to_csv(index=False, lineterminator="\n")


def as_json(rows: Iterable[Mapping[str, Any]], rules: Mapping[str, Any]) -> str:
    """The table as JSON, with what every output must say."""
    content = {"bundle": rules["name"], "marks": list(marks(dict(rules))), "predictions": list(rows)}
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


class NewFolder:
    """A folder that appears with everything in it, or not at all.

    Args:
        folder: where it will be; must not exist.

    Raises:
        InputError: it exists, or the folder that it belongs in does not or cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        if folder.exists():
            raise InputError(f"--out {folder}: exists already, expected a new folder")
        try:
            folder.absolute().parent.mkdir(parents=True, exist_ok=True)
            self._part = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.absolute().parent))
        except OSError as error:
            raise InputError(f"--out {folder}: cannot be written ({error.strerror})") from error
        self._part.chmod(0o755)

    def __enter__(self) -> NewFolder:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self._part.rename(self.folder.absolute())
        else:
            shutil.rmtree(self._part, ignore_errors=True)

    def write_text(self, name: str, text: str) -> None:
        """Write a text file."""
        (self._part / name).write_text(text, encoding="utf-8")

    def write_dicom(self, folder: str, number: int, dataset: Dataset) -> None:
        """Write ``folder/number.dcm``; its number is that of the row in the table, from 1."""
        (self._part / folder).mkdir(exist_ok=True)
        with (self._part / folder / f"{number:06d}.dcm").open("xb") as file:
            dcmwrite(file, dataset, enforce_file_format=True)
