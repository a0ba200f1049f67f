"""The split that a publication prints: five pairs of training and validation lists, and one test list."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd

from srcmatters.cohorts.case_table import SPLIT_OF_FOLD, check_cases
from srcmatters.csv_tables import read_their_csv
from srcmatters.errors import InputError

_LIST = re.compile(r"(?:(?P<set>train|val)_fold(?P<fold>\d+)|test)\.csv")
_SETS = {"train": "train", "val": "validation", None: "test"}
_NEGATIVE = ("NO", "No Finding")
_COLUMNS = {"path": "image", "pid": "patient_id", "class": "class", "Patient Gender": "sex"}
_NAMED = 5  # missing images that are named one by one


def read_published_lists(splits: str | Path, images: str | Path, below: str | Path) -> pd.DataFrame:
    """Make a case table with a split of each fold out of published lists.

    Args:
        splits: folder with ``train_fold1.csv``, ``val_fold1.csv``, ... and ``test.csv`` (lists by sex have
            none); columns path, pid and class (YES and NO, or a finding and "No Finding").
        images: folder in or below which the images are, by their names.
        below: folder that the paths of the table are relative to.

    Returns:
        A case table with ``split_fold0``, ``split_fold1``, ...: the set of each image in each fold, empty
        where it is in none.

    Raises:
        InputError: no such lists, a column that is missing, an image that two lists describe differently or
            one names twice, or images that are not there, in one line that names the first ones.
    """
    lists = {
        path: match for path in sorted(Path(splits).glob("*.csv")) if (match := _LIST.fullmatch(path.name))
    }
    folds = sorted({int(match["fold"]) for match in lists.values() if match["fold"]})
    for fold in folds or [1]:
        for name in ("train", "val"):
            if not (Path(splits) / f"{name}_fold{fold}.csv").is_file():
                raise InputError(f"{splits}: no {name}_fold{fold}.csv, expected the lists of every fold")
    tables = {path: _read(path) for path in lists}
    everyone = pd.concat(tables.values(), ignore_index=True).drop_duplicates()
    twice = everyone["image"].duplicated()
    if twice.any():
        name = everyone.loc[twice, "image"].iloc[0]
        raise InputError(
            f"{splits}: two lists say different things of {name}, expected one class and patient"
        )
    cases = everyone.set_index("image")
    for path, match in lists.items():
        for fold in [int(match["fold"])] if match["fold"] else folds:
            column = f"{SPLIT_OF_FOLD}{folds.index(fold)}"
            if column not in cases:
                cases[column] = None
            cases.loc[tables[path]["image"], column] = _SETS[match["set"]]
    cases["label"] = _labels(cases.pop("class"), splits)
    table = cases.reset_index()
    table["image"] = _located(table["image"], Path(images), Path(below))
    return check_cases(table, splits)


def _read(path: Path) -> pd.DataFrame:
    table = read_their_csv(path)
    missing = [name for name in ("path", "pid", "class") if name not in table]
    if missing:
        raise InputError(f"{path}: no column {missing[0]!r}, expected path, pid and class")
    kept = table[[name for name in _COLUMNS if name in table]].rename(columns=_COLUMNS).dropna(how="all")
    twice = kept["image"].duplicated()
    if twice.any():
        raise InputError(
            f"{path}: {kept.loc[twice, 'image'].iloc[0]} is there twice, expected each image once"
        )
    return kept


def _labels(classes: pd.Series, splits: str | Path) -> pd.Series:
    names = sorted(set(classes) - set(_NEGATIVE))
    if len(names) != 1:
        raise InputError(f"{splits}: classes {', '.join(names) or 'NO'}, expected one class beside NO")
    return (classes == names[0]).astype(int)


def _located(names: pd.Series, images: Path, below: Path) -> list[str]:
    """Paths relative to a folder."""
    if not images.is_dir():
        raise InputError(f"--images: {images} is not a folder, expected that of the {len(names)} images")
    there: dict[str, Path] = {}
    for path in sorted(images.rglob("*")):
        there.setdefault(path.name, path)
    missing = [name for name in names if Path(name).name not in there]
    if missing:
        more = f" and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
        first = ", ".join(missing[:_NAMED])
        raise InputError(
            f"--images: {len(missing)} of {len(names)} images are not below {images}: {first}{more}"
        )
    paths = [there[Path(name).name].absolute() for name in names]
    outside = [path for path in paths if not path.is_relative_to(below.absolute())]
    if outside:
        raise InputError(f"--out: {outside[0]} is not below {below}, expected a table in or above {images}")
    return [path.relative_to(below.absolute()).as_posix() for path in paths]
