"""An exported bundle as it is read again: its rules checked, its weights loaded without running code."""

from __future__ import annotations

import json
import tempfile
import zipfile
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
from torch import nn

from srcmatters.errors import InputError, first_line
from srcmatters.exported_bundle.calibration import ProbabilityCalibration, read_calibration
from srcmatters.exported_bundle.monitors import DISTANCE_NUMBERS, ConfounderProbe, FeatureDistance
from srcmatters.exported_bundle.programs import read_program
from srcmatters.exported_bundle.rules_schema import RULES_SCHEMA, RULES_VERSION
from srcmatters.exported_bundle.unpacking import unpack
from srcmatters.files import foreign_text, sha256_of
from srcmatters.sources import classifier_of, is_own, read_weights

RULES = "configs/clinical.json"
ARRAYS = "configs/clinical.npz"
WEIGHTS = "models/model.pt"
#: What is run of a network of one's own, whose code no hospital has.
PROGRAM = "models/model.pt2"
#: Hashes of the three, as ``sha256sum -c`` checks them.
SUMS = "SHA256SUMS"
_MOST_BYTES = 2**20


@dataclass(frozen=True)
class ExportedBundle:
    """What `srcmatters export` wrote.

    A context manager: :meth:`close` deletes what was unpacked of a zip. Rules and arrays are in memory.

    Args:
        folder: of the bundle; of a zip, where it was unpacked.
        rules: ``configs/clinical.json``, checked.
        arrays: of ``configs/clinical.npz``.
    """

    folder: Path
    rules: dict[str, Any]
    arrays: dict[str, np.ndarray] = field(repr=False)
    _unpacked: tempfile.TemporaryDirectory[str] | None = field(default=None, repr=False, compare=False)

    def close(self) -> None:
        """Delete what was unpacked; of a folder nothing. Its files, the weights among them, are gone then."""
        if self._unpacked is not None:
            self._unpacked.cleanup()

    def __enter__(self) -> ExportedBundle:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def network(self) -> nn.Module:
        """The network in evaluation mode: (B, 1, H, W[, D]) float32 in [0, 1] to (B, 2) logits.

        Raises:
            InputError: weights that are missing, damaged, of another network, or hold code.
        """
        path = self.folder / WEIGHTS
        if is_own(self.rules["network"]):
            # Nobody's code is run: the program holds the operations, and its parts keep their names.
            return read_program(self.folder / PROGRAM)
        return classifier_of(read_weights(path), self.rules["network"], origin=str(path)).eval()

    def calibrate(self, log_odds: np.ndarray | float) -> np.ndarray:
        """Calibrated probabilities of log-odds (logit of label 1 minus logit of label 0)."""
        return self.calibration(log_odds)

    @cached_property
    def calibration(self) -> ProbabilityCalibration:
        """How log-odds become probabilities."""
        return read_calibration(self.rules["calibration"])

    @cached_property
    def monitors(self) -> list[ConfounderProbe]:
        """A probe for each audited confounder that can be put into an image."""
        return [self._monitor(record) for record in self.rules["monitors"]]

    @cached_property
    def ood(self) -> FeatureDistance | None:
        """The distance to the training images; None where the bundle carries none."""
        record = self.rules["ood"]
        if record is None:
            return None
        numbers = {name: record[name] for name in DISTANCE_NUMBERS}
        return FeatureDistance(**self._named(record["arrays"]), **numbers)

    def _monitor(self, record: dict[str, Any]) -> ConfounderProbe:
        names = ("confounder", "bias", "threshold", "auc", "sensitivity", "false_alarms")
        return ConfounderProbe(**self._named(record["arrays"]), **{name: record[name] for name in names})

    def _named(self, names: dict[str, str]) -> dict[str, Any]:
        return {name: self.arrays[stored] for name, stored in names.items()}


def open_bundle(path: str | Path) -> ExportedBundle:
    """Open an exported bundle.

    Args:
        path: its folder; or a zip file, which is unpacked into a temporary folder until the result is closed.

    Raises:
        InputError: no bundle; a zip that is damaged, too large, or would write outside of its folder; a rule
            that is missing or wrong; what cannot be read; one line that names the file and the field.
    """
    path = Path(path)
    try:
        return _opened(path)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise InputError(
            f"{path}: cannot be read ({reason}), expected a folder or zip of `srcmatters export`"
        ) from error


def _opened(path: Path) -> ExportedBundle:
    if path.is_dir():
        return _read(path, path, None)
    if not path.is_file():
        raise InputError(f"{path}: no such bundle, expected a folder or zip of `srcmatters export`")
    if not zipfile.is_zipfile(path):
        raise InputError(f"{path}: not a bundle, expected a folder or zip of `srcmatters export`")
    unpacked = tempfile.TemporaryDirectory(prefix="srcmatters-bundle-")
    try:
        folder = Path(unpacked.name) / "bundle"
        unpack(path, folder, keep_paths=True)
        return _read(path, _root(path, folder), unpacked)
    except BaseException:
        unpacked.cleanup()
        raise


def _read(origin: Path, folder: Path, unpacked: tempfile.TemporaryDirectory[str] | None) -> ExportedBundle:
    rules = _read_rules(origin, folder / RULES)
    arrays = _read_arrays(origin, folder / ARRAYS)
    records = [*rules["monitors"], *([rules["ood"]] if rules["ood"] else [])]
    for name in (name for record in records for name in record["arrays"].values()):
        if name not in arrays:
            raise InputError(f"{origin}, {ARRAYS}: no array {name!r}, which {RULES} names")
    if not (folder / WEIGHTS).is_file():
        raise InputError(f"{origin}: no {WEIGHTS}, expected a bundle of `srcmatters export`")
    if is_own(rules["network"]) and not (folder / PROGRAM).is_file():
        raise InputError(f"{origin}: no {PROGRAM}, which runs a network of one's own; export the run again")
    _check_sums(origin, folder, rules)
    return ExportedBundle(folder, rules, arrays, unpacked)


def sums(folder: Path, program: bool = False) -> str:
    """Text of :data:`SUMS` for a bundle whose files are written: rules, arrays, weights, and its program."""
    names = (RULES, ARRAYS, WEIGHTS, *((PROGRAM,) if program else ()))
    present = [name for name in names if (folder / name).is_file()]
    return "".join(f"{sha256_of(folder / name)}  {name}\n" for name in present)


def _check_sums(origin: Path, folder: Path, rules: dict[str, Any]) -> None:
    """Refuse rules, arrays or weights that are not those of the export: what was audited is all of them."""
    file = folder / SUMS
    if not file.is_file():
        raise InputError(f"{origin}: no {SUMS}, expected a bundle of `srcmatters export`")
    written = dict(
        line.split(maxsplit=1)[::-1] for line in file.read_text("utf-8").splitlines() if " " in line
    )
    for line in sums(folder, is_own(rules["network"])).splitlines():
        digest, name = line.split(maxsplit=1)
        if written.pop(name, None) != digest:
            raise InputError(f"{origin}, {name}: changed after the export ({SUMS}); export the run again")
        if name == WEIGHTS and rules["weights_sha256"] != digest:
            raise InputError(f"{origin}, {WEIGHTS}: not the weights that {RULES} is about; export again")
    if written:
        raise InputError(f"{origin}: no {min(written)}, which {SUMS} names; export the run again")


def _read_rules(origin: Path, file: Path) -> dict[str, Any]:
    if not file.is_file():
        raise InputError(f"{origin}: no {RULES}, expected a bundle of `srcmatters export`")
    try:
        rules = json.loads(foreign_text(file, _MOST_BYTES), parse_constant=_no_number)
    except InputError:
        raise
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{origin}, {RULES}: not readable ({first_line(error)})") from error
    version = rules.get("version") if isinstance(rules, dict) else None
    if isinstance(version, int) and version != RULES_VERSION:
        raise InputError(
            f"{origin}, {RULES}, version: {version}, of another version of srcmatters, expected"
            f" {RULES_VERSION}; export the run again"
        )
    mistake = jsonschema.exceptions.best_match(
        jsonschema.Draft202012Validator(RULES_SCHEMA).iter_errors(rules)
    )
    if mistake is not None:
        where = ".".join(str(part) for part in mistake.absolute_path) or "the whole"
        raise InputError(f"{origin}, {RULES}, {where}: {first_line(mistake)[:200]}")
    curve = rules["calibration"]
    if curve["method"] == "isotonic":
        rising = all(np.all(np.diff(curve[name]) >= 0) for name in ("x", "y"))
        if len(curve["x"]) != len(curve["y"]) or not rising:
            raise InputError(
                f"{origin}, {RULES}, calibration: {len(curve['x'])} x and {len(curve['y'])} y, expected as"
                " many of both, rising"
            )
    return rules


def _no_number(word: str) -> None:
    raise ValueError(f"{word} is no number")


def _read_arrays(origin: Path, file: Path) -> dict[str, np.ndarray]:
    if not file.is_file():
        return {}
    try:
        with np.load(file, allow_pickle=False) as stored:
            return {name: np.asarray(stored[name], dtype=np.float64) for name in stored.files}
    except Exception as error:  # a damaged archive makes zipfile and numpy raise anything
        raise InputError(f"{origin}, {ARRAYS}: not readable ({first_line(error)})") from error


def _root(path: Path, folder: Path) -> Path:
    """The one folder at the top of the zip, or all of it."""
    rules = [folder / RULES, *folder.glob(f"*/{RULES}")]
    present = [file for file in rules if file.is_file()]
    if len(present) != 1:
        raise InputError(f"{path}: {len(present)} times {RULES}, expected one bundle of `srcmatters export`")
    return present[0].parents[1]
