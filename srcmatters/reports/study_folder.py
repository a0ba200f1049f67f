"""What lies in the folder of a study beside the results of its runs."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from srcmatters.errors import InputError
from srcmatters.evaluation.analysis_plan import AnalysisPlan
from srcmatters.runs.file_names import FAILURE, MANIFEST, METRICS, STUDY_FILE


@dataclass(frozen=True)
class StudyFolder:
    """The study file, and what its runner wrote down; a folder of single runs has neither.

    Args:
        path: the folder.
        name: of the study, or of the folder.
        declared: what the study file holds.
        sha256: of the study file; "" without one.
        plan: its analysis plan, else the default one.
        manifest: cells, beginning and MLflow run, as the runner recorded them.
        failed: names of the cells that failed, and how often they were tried.
    """

    path: Path
    name: str
    declared: dict[str, Any] = field(default_factory=dict)
    sha256: str = ""
    plan: AnalysisPlan = field(default_factory=AnalysisPlan)
    manifest: dict[str, Any] = field(default_factory=dict)
    failed: dict[str, int] = field(default_factory=dict)

    @property
    def planned(self) -> bool:
        """Whether the analysis was written down before the runs."""
        return bool(self.declared.get("analysis"))

    @property
    def replanned_after(self) -> list[int]:
        """Each time the plan was changed after results had been there: how many cells had finished."""
        return [int(change["finished_cells"]) for change in self.manifest.get("analysis_changes", [])]

    @property
    def unfinished(self) -> list[str] | None:
        """Cells of the study that have no result and did not fail; None where nobody recorded the cells."""
        if "cells" not in self.manifest:
            return None
        cells = self.path / "cells"
        return [
            name
            for name in self.manifest["cells"]
            if name not in self.failed and not (cells / name / METRICS).is_file()
        ]

    @property
    def origin(self) -> dict[str, str]:
        """When the study was started, and where it is in MLflow."""
        facts = {"study started": self.manifest.get("started")}
        if self.manifest.get("parent_run_id"):
            facts |= {"MLflow experiment": self.name, "MLflow run": self.manifest["parent_run_id"]}
        return {name: str(value) for name, value in facts.items() if value}


def open_study(folder: str | Path) -> StudyFolder:
    """Read the study file of a folder, if there is one.

    Raises:
        InputError: no folder, or a study file or record that is none; names the file.
    """
    path = Path(folder)
    if not path.is_dir():
        raise InputError(f"{path}: no such folder, expected a study or the output of runs")
    name = path.resolve().name
    manifest, failed = _mapping(path / MANIFEST), _failed(path)
    file = path / STUDY_FILE
    declared = _mapping(file)
    if not declared:
        return StudyFolder(path, name, manifest=manifest, failed=failed)
    try:
        plan = AnalysisPlan.from_mapping(declared.get("analysis"))
    except InputError as error:
        raise InputError(f"{file}: {error}") from error
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    return StudyFolder(path, str(declared.get("name") or name), declared, digest, plan, manifest, failed)


def _mapping(file: Path) -> dict[str, Any]:
    """A YAML or JSON file, which YAML reads as well; empty if it is not there."""
    if not file.exists():
        return {}
    try:
        content = yaml.safe_load(file.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"{file}: not readable ({' '.join(str(error).split())})") from error
    if not isinstance(content, dict):
        raise InputError(f"{file}: got a {type(content).__name__}, expected a mapping with name and axes")
    return content


def _failed(path: Path) -> dict[str, int]:
    """Cells with a record of a failure and no result. What went wrong may name a file, and stays there."""
    failures = {}
    for record in sorted(path.glob(f"cells/*/{FAILURE}")):
        if not (record.parent / METRICS).exists():
            failures[record.parent.name] = int(_mapping(record).get("attempts", 1))
    return failures
