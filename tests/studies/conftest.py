"""A study whose cells take no time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import mlflow
import pytest
import yaml

from srcmatters.studies.cell_run import import_bundles, run_cell
from srcmatters.studies.executors.base import CellTask, Outcome
from srcmatters.studies.study_file import Study, read_study

BUNDLE = Path(__file__).parent / "tiny_bundle"


#: Twelve cells of single confounders and a pair, with carriers among the negatives and an arm.
MITIGATED = {
    "source": ["good"],
    "confounder": ["tag", "tag+noise"],
    "p_art": [0.5],
    "p_neg": [0, 0.1, 0.2],
    "mitigation": ["none", "paired"],
    "fold": [0],
}


class InlineExecutor:
    """Runs every cell in this process: what a study does without what processes do."""

    capacity = 1

    def __init__(self, before: Callable[[CellTask], Outcome | None] = lambda task: None) -> None:
        self.before = before
        self.done: list[Outcome] = []
        self.order: list[str] = []
        self.ended = False

    def submit(self, task: CellTask) -> None:
        self.order.append(task.cell_id)
        self.done.append(self.before(task) or run_cell(task))

    def outcomes(self, timeout: float) -> Sequence[Outcome]:
        finished, self.done = self.done, []
        return finished

    def shutdown(self, grace: float = 5.0) -> None:
        self.ended = True


@pytest.fixture(scope="session", autouse=True)
def imported() -> None:
    import_bundles()


@pytest.fixture
def study_file(tmp_path: Path) -> Callable[..., Path]:
    """Write a study file of the tiny bundle; arguments replace its fields."""

    def write(**fields: Any) -> Path:
        content = {"name": "tiny", "bundle": str(BUNDLE), "tracking_uri": ""}
        content |= {"axes": {"source": ["good", "better"], "p_art": [0, 0.5, 1], "fold": [0, 1]}}
        path = tmp_path / "study-file.yaml"
        path.write_text(yaml.safe_dump({**content, **fields}, sort_keys=False))
        return path

    return write


@pytest.fixture
def tiny_study(study_file: Callable[..., Path]) -> Callable[..., Study]:
    return lambda **fields: read_study(study_file(**fields))


@pytest.fixture
def store(tmp_path: Path) -> str:
    """An empty store, which other processes need not make first."""
    (tmp_path / "mlruns").mkdir()
    address = f"sqlite:///{tmp_path}/mlruns/mlflow.db"
    mlflow.MlflowClient(address).search_experiments()
    return address
