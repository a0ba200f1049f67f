"""All finished runs below a folder, as three tables: every analysis of a study starts here."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from srcmatters.confounders.pair_names import is_pair
from srcmatters.errors import UNREADABLE_CSV, InputError
from srcmatters.files import foreign_text
from srcmatters.runs.file_names import METRICS, PERMUTATIONS, PREDICTIONS, REFITS, TRANSFER, VALIDATION
from srcmatters.runs.four_state_table import read_tested
from srcmatters.runs.prediction_table import read_predictions, read_transfer

#: Settings by which runs are told apart in an analysis, besides source and p_art.
AXES = ("target", "network", "depth", "protocol", "control", "confounder", "confounder_args", "p_neg",
        "adaptation", "train_size")  # fmt: skip

_NEEDED = ("target", "network", "confounder", "source", "p_art")
_FIGURES = ("clean_auc", "iid_auc", "ood_auc")
#: What a run meant that was made before the setting existed.
_ALWAYS = {
    "confounder_args": "{}",
    "seed": 0,
    "protocol": "corrected",
    "depth": "finetune",
    "control": "none",
    "p_neg": 0.0,
    "mitigation": "none",
    "adaptation": "full",
    "train_size": 0,
}


@dataclass(frozen=True)
class StudyResults:
    """The results of a study, whichever machine or depth they come from.

    Args:
        cells: one row per finished run: every setting as a column (source, target, network, confounder,
            confounder_args as text, p_art, fold, seed, protocol, depth "finetune" or "screen", control, ...),
            the figures of its ``metrics.json``, and output_dir. ``cells.attrs["settings"]`` names the columns
            that are settings.
        predictions: all prediction tables one under another; the column ``cell`` is the label of the row in
            ``cells``.
        validation: likewise the validation cases of each run; empty if no run kept any.
        refits: likewise the AUCs of heads that were fitted again on resampled patients, by ``refit``; only
            runs of the screen depth have them.
        permutations: likewise those of heads that were fitted to permuted labels, by ``permutation``, 0 being
            the labels of the run; only null controls of the screen depth have them.
        transfer: prediction tables under further confounders, by ``tested``; empty if no run has any.
        pairs: rows as in ``cells`` of the runs that were taught two confounders, which are not among those.
        four_states: their prediction tables, likewise (:mod:`srcmatters.runs.four_state_table`).
    """

    cells: pd.DataFrame
    predictions: pd.DataFrame
    validation: pd.DataFrame = field(default_factory=pd.DataFrame)
    refits: pd.DataFrame = field(default_factory=pd.DataFrame)
    permutations: pd.DataFrame = field(default_factory=pd.DataFrame)
    transfer: pd.DataFrame = field(default_factory=pd.DataFrame)
    pairs: pd.DataFrame = field(default_factory=pd.DataFrame)
    four_states: pd.DataFrame = field(default_factory=pd.DataFrame)


def read_runs(folder: str | Path) -> pd.DataFrame:
    """Settings and figures of every finished run below a folder, one row each.

    A folder whose name begins with a dot is not looked into: what is in there is unfinished.

    Args:
        folder: any folder; runs are found at any depth.

    Returns:
        One row per run; ``attrs["settings"]`` names the columns that are settings.

    Raises:
        InputError: no such folder, no run there, or a ``metrics.json`` that is not one of ours.
    """
    if not Path(folder).is_dir():
        raise InputError(f"{folder}: no such folder, expected a study or the output of runs")
    rows: list[dict[str, Any]] = []
    names: set[str] = set()
    for path in sorted(Path(folder).rglob(METRICS)):
        if any(part.startswith(".") for part in path.relative_to(folder).parts[:-1]):
            continue
        record = _read_record(path)
        if record is None:
            continue
        settings = record.pop("settings")
        names.update(settings)
        rows.append({**settings, **record, "output_dir": str(path.parent)})
    if not rows:
        raise InputError(f"{folder}: no metrics.json below this folder, expected the output of a run")
    runs = pd.DataFrame(rows)
    runs.attrs["settings"] = sorted(names)
    return runs


def read_results(folder: str | Path, pairs_alone: bool = False) -> StudyResults:
    """Every finished run below a folder with its predictions.

    Args:
        folder: a study, or any folder with runs below it. Retests of a run are not read.
        pairs_alone: take a folder, too, all of whose runs were taught two confounders; ``cells`` is empty.

    Raises:
        InputError: no run of a single confounder there, or a file that is not one of ours; names the file and
            the field.
    """
    cells = read_runs(folder)
    names = cells.attrs["settings"]
    for name, meaning in _ALWAYS.items():
        present = cells[name] if name in cells else pd.Series(None, index=cells.index, dtype=object)
        cells[name] = present.where(present.notna(), meaning)
    cells = cells.infer_objects().astype({"p_neg": float})
    cells.loc[cells["depth"] == "screen", "adaptation"] = "linear"
    cells.attrs["settings"] = sorted({*names, *_ALWAYS})
    taught_two = cells["confounder"].map(is_pair)
    if taught_two.all() and not pairs_alone:
        taught = ", ".join(sorted(set(cells["confounder"])))
        raise InputError(
            f"{folder}: runs of {taught} alone, expected runs of a single confounder beside them"
        )
    pairs, cells = _part(cells, taught_two), _part(cells, ~taught_two)
    folders = dict(zip(cells.index.tolist(), map(Path, cells["output_dir"]), strict=True))
    columns = zip(pairs.index.tolist(), pairs["output_dir"], pairs["confounder"], strict=True)
    tables = [
        read_tested(Path(folder) / PREDICTIONS, name).assign(cell=number) for number, folder, name in columns
    ]
    return StudyResults(
        cells,
        _stacked(folders, PREDICTIONS),
        _stacked(folders, VALIDATION, optional=True),
        _stacked_statistics(folders, REFITS),
        _stacked_statistics(folders, PERMUTATIONS),
        _stacked_transfer(folders),
        pairs,
        pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(),
    )


def _part(cells: pd.DataFrame, rows: pd.Series) -> pd.DataFrame:
    part = cells[rows]
    part.attrs = cells.attrs
    return part


def _stacked_statistics(folders: Mapping[int, Path], name: str) -> pd.DataFrame:
    """Tables of numbers alone, one per run that has one."""
    tables = []
    for number, path in folders.items():
        if not (path / name).is_file():
            continue
        try:
            table = pd.read_csv(path / name, dtype=float)
        except UNREADABLE_CSV as error:
            reason = str(error).splitlines()[0]
            raise InputError(f"{path / name}: not a table of numbers ({reason})") from error
        tables.append(table.assign(cell=number))
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def _stacked(folders: Mapping[int, Path], name: str, optional: bool = False) -> pd.DataFrame:
    """One table per run one under another; ``cell`` is the number of the run."""
    tables = [
        read_predictions(path / name).assign(cell=number)
        for number, path in folders.items()
        if not optional or (path / name).is_file()
    ]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def _stacked_transfer(folders: Mapping[int, Path]) -> pd.DataFrame:
    """Tables of further confounders; each of a run is a prediction table."""
    tables = []
    for number, folder in folders.items():
        if (folder / TRANSFER).is_file():
            tables.append(read_transfer(folder / TRANSFER).assign(cell=number))
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def _read_record(path: Path) -> dict[str, Any] | None:
    """Figures and, under "settings", settings that one can group by; None for a retest."""
    try:
        record = json.loads(foreign_text(path))
        if "retest_of" in record:
            return None
        settings = {name: _shown(value) for name, value in record["settings"].items()}
    except (ValueError, KeyError, AttributeError, TypeError, OSError) as error:
        raise InputError(f"{path}: not the metrics of a run ({error})") from error
    present = settings.keys() | record.keys()
    missing = [name for name in (*_NEEDED, *_FIGURES) if name not in present]
    if missing:
        raise InputError(f"{path}: not the metrics of a run (no {', '.join(missing)})")
    return {**record, "settings": settings}


def _shown(value: Any) -> Any:
    """A setting as one can group by it."""
    if isinstance(value, Mapping):
        return str(dict(sorted(value.items(), key=lambda item: str(item[0]))))
    return str(value) if isinstance(value, list) else value
