"""Answers on disk: a table, and the DICOM objects beside it; all of it or nothing."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
from pydicom import Dataset, dcmwrite

from srcmatters.csv_tables import csv_text
from srcmatters.deployment.prediction.predictor import Prediction
from srcmatters.deployment.redaction import hashed
from srcmatters.errors import InputError
from srcmatters.exported_bundle.disclaimers import disclaimers

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
    # At the end: whoever reads the columns by their numbers finds the others where they were.
    "bundle",
    "marks",
)


def row(prediction: Prediction, rules: Mapping[str, Any], identifiers: bool = False) -> dict[str, Any]:
    """One line of the table; it says which bundle answered and what every output must, as rows get copied.

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
        # As they are: rounded ones could be on the other side of each other than the finding says.
        prediction.probability,
        rules["threshold"]["value"],
        finding,
        prediction.status,
        "; ".join(prediction.reasons),
        rules["name"],
        "; ".join(disclaimers(rules)),
    )
    return dict(zip(COLUMNS, values, strict=True))


def as_csv(rows: Iterable[Mapping[str, Any]]) -> str:
    """The table as CSV."""
    return csv_text(pd.DataFrame(list(rows), columns=list(COLUMNS)), lineterminator="\n")


def as_json(rows: Iterable[Mapping[str, Any]], rules: Mapping[str, Any]) -> str:
    """The table as JSON, with what every output must say."""
    content = {"bundle": rules["name"], "marks": list(disclaimers(rules)), "predictions": list(rows)}
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


class NewFolder:
    """A folder that appears with everything in it, or not at all.

    Args:
        folder: where it will be; must not exist.

    Raises:
        InputError: something of its name exists, or the folder that it belongs in does not or cannot be
            written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        # A link that leads nowhere is in the way as well.
        if os.path.lexists(folder):
            raise InputError(f"--out {folder}: exists already, expected a new folder")
        place = folder.absolute()
        with self._as_input_error():
            place.parent.mkdir(parents=True, exist_ok=True)
            self._part = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=place.parent))

    def __enter__(self) -> NewFolder:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        try:
            if kind is None:
                self._appear()
        finally:
            shutil.rmtree(self._part, ignore_errors=True)  # after the renaming there is nothing to remove

    def _appear(self) -> None:
        """Give the folder its name, which somebody else may have taken since the beginning."""
        place = self.folder.absolute()
        with self._as_input_error():
            self._part.chmod(0o755)
            try:
                place.mkdir()  # renaming alone would replace an empty folder of somebody else's
            except FileExistsError as error:
                raise InputError(f"--out {self.folder}: exists by now, expected a new folder") from error
            try:
                self._part.rename(place)
            except BaseException:
                place.rmdir()
                raise

    @contextmanager
    def _as_input_error(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise InputError(f"--out {self.folder}: cannot be written ({reason})") from error

    def write_text(self, name: str, text: str) -> None:
        """Write a text file.

        Raises:
            InputError: it cannot be written; the disk is full.
        """
        with self._as_input_error():
            (self._part / name).write_text(text, encoding="utf-8")

    def write_dicom(self, folder: str, number: int, dataset: Dataset) -> None:
        """Write ``folder/number.dcm``; its number is that of the row in the table, from 1.

        Raises:
            InputError: it cannot be written; the disk is full.
        """
        with self._as_input_error():
            (self._part / folder).mkdir(exist_ok=True)
            with (self._part / folder / f"{number:06d}.dcm").open("xb") as file:
                dcmwrite(file, dataset, enforce_file_format=True)
