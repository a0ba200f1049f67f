"""Where a report comes from: settings, versions, hashes, and the numbers that a method section quotes."""

from __future__ import annotations

import datetime
import os
import platform
from importlib import metadata
from typing import Any

import pandas as pd

from srcmatters import __version__
from srcmatters.numbers import counted, listed, share
from srcmatters.reports.study_tables import Table

_PACKAGES = ("torch", "monai", "pytorch-ignite", "mlflow", "scikit-learn", "scipy", "statsmodels", "numpy")
# Settings that are axes of the study come first, and in this order.
_FIRST = ("target", "source", "network", "depth", "confounder", "confounder_args", "p_art", "fold", "seed")


def written_on() -> str:
    """Today's date (UTC), or that of ``$SOURCE_DATE_EPOCH``."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH", "")
    moment = (
        datetime.datetime.fromtimestamp(int(epoch), datetime.UTC)
        if epoch.isdigit()
        else datetime.datetime.now(datetime.UTC)
    )
    return moment.date().isoformat()


def versions() -> dict[str, str]:
    """Versions of this package and of those that compute its results; only what is installed."""
    versions_by_name = {"srcmatters": __version__, "Python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions_by_name[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return versions_by_name


def settings_table(cells: pd.DataFrame) -> Table:
    """Every setting with the values that the runs had."""
    names: list[str] = [name for name in cells.attrs["settings"] if name in cells]
    ordered = [name for name in _FIRST if name in names] + [name for name in names if name not in _FIRST]
    rows = [[name, _values(cells.loc[:, name])] for name in ordered]
    return Table("Settings of all runs", ("setting", "values"), [("", rows)], labels=2)


def _values(column: pd.Series) -> str:
    """What a setting was, all of it if it differed."""
    present = column.dropna()
    if pd.api.types.is_numeric_dtype(present) and present.dtype != bool:
        return ", ".join(dict.fromkeys(share(value) for value in sorted(present.unique())))
    return ", ".join(sorted({str(value) for value in present}))


#: Runs that agree in these differ by fold and seed alone.
_CELL = ["source", "confounder", "confounder_args", "p_art", "p_neg", "mitigation"]


def method_facts(cells: pd.DataFrame, predictions: pd.DataFrame) -> dict[str, Any]:
    """What the method section says of one setup.

    Args:
        cells: the runs of one setup, null controls left out.
        predictions: their predictions.

    Returns:
        Counts of cases, patients, positives, folds, seeds and runs, and the settings that all runs share.
    """
    cases = predictions.drop_duplicates("case_id")
    same = {
        name: cells[name].iloc[0]
        for name in cells.attrs["settings"]
        if cells[name].nunique(dropna=False) == 1
    }
    per_run = predictions.groupby("cell").size()
    fewest, most = int(per_run.min()), int(per_run.max())
    return {
        "cases": len(cases),
        "patients": int(cases["patient_id"].nunique()),
        "positives": int(cases["label"].sum()),
        "tested": f"{fewest} to {most}" if fewest < most else str(fewest),
        "folds": int(cells["fold"].nunique()),
        "seeds": counted(int(cells["seed"].nunique()), "seed"),
        "runs": counted(len(cells), "run"),
        "fewest_trainings": int(cells.groupby(_CELL, dropna=False).size().min()),
        "sources": listed(sorted(cells["source"].unique())),
        "confounders": listed(sorted(cells["label"].unique())),
        "p_art": listed(share(value) for value in sorted(cells["p_art"].unique())),
        "p_neg": listed(share(value) for value in sorted(cells["p_neg"].unique()) if value > 0),
        "arms": listed(sorted(set(cells["mitigation"]) - {"none"})),
        "settings": same,
        "sampled": sorted(sampled_confounders(cells, predictions)),
    }


def sampled_confounders(cells: pd.DataFrame, predictions: pd.DataFrame) -> set[str]:
    """Confounders that were sampled from the case table and not put into images."""
    if "environment" not in predictions:
        return set()
    sampled = predictions.loc[predictions["environment"].notna(), "cell"].unique()
    return set(cells.loc[cells.index.isin(sampled), "label"])


def hashes(cells: pd.DataFrame, study_sha256: str) -> list[tuple[str, str]]:
    """What was hashed and its SHA-256: images and labels of each target, and the study file."""
    rows = []
    if "dataset_sha256" in cells:
        columns = cells.reindex(columns=["target", "control", "seed", "fold", "dataset_sha256"])
        shuffled = columns["control"] == "shuffled_labels"
        known = columns.assign(
            what=[
                f"images and labels of {row.target}"
                + (
                    f", labels shuffled (seed {row.seed}, fold {row.fold})"
                    if row.control == "shuffled_labels"
                    else ""
                )
                for row in columns.itertuples()
            ],
            shuffled=shuffled,
        ).dropna(subset=["dataset_sha256"])
        known = known.drop_duplicates(["what", "dataset_sha256"]).sort_values(["shuffled", "what"])
        rows = list(zip(known["what"], known["dataset_sha256"].astype(str), strict=True))
    return rows + ([("study file", study_sha256)] if study_sha256 else [])
