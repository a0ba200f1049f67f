"""What a study costs besides the work of its bundle: 60 trivial cells, tracked in MLflow.

    python scripts/benchmarks/studies.py [--cells 60] [--workers 2] [--json FILE]

The cells are those of the tests' tiny bundle. "Outside the bundle" is the time that workers were
held, from the first cell handed out to the last one back, less the time that the workflow itself
took: its configuration, its MLflow run and its files included.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

import yaml

TESTS = Path(__file__).parents[2] / "tests" / "studies"


def measure(cells: int, workers: int, folder: Path) -> dict[str, float]:
    """Run the study and read the records of its cells."""
    from srcmatters.studies.executors.local import LocalExecutor, local_slots
    from srcmatters.studies.runner import StudyRun
    from srcmatters.studies.state import read_state
    from srcmatters.studies.study_file import read_study

    folds = list(range(cells // 2))
    content = {"name": "benchmark", "bundle": str(TESTS / "tiny_bundle"), "retries": 0}
    content |= {
        "tracking_uri": f"sqlite:///{folder}/mlflow.db",
        "axes": {"source": ["a", "b"], "fold": folds},
    }
    (folder / "study.yaml").write_text(yaml.safe_dump(content))
    started = time.perf_counter()
    arrivals: list[tuple[float, str]] = []

    class Timed(LocalExecutor):
        def outcomes(self, timeout: float):  # type: ignore[no-untyped-def]
            finished = super().outcomes(timeout)
            arrivals.extend((time.perf_counter(), outcome.cell_id) for outcome in finished)
            return finished

    study = read_study(folder / "study.yaml")
    end = StudyRun(study, folder / "out", lambda: Timed(local_slots(workers))).run()
    total = time.perf_counter() - started
    if end.failed or end.finished != len(folds) * 2:
        sys.exit(f"{len(end.failed)} cells failed")
    inside = read_state(folder / "out").seconds
    # The first cells wait for the imports of their workers, which are paid once.
    first, counted = arrivals[workers - 1][0], arrivals[workers:]
    held = (counted[-1][0] - first) * workers / len(counted)
    mean_inside = sum(inside[name] for _, name in counted) / len(counted)
    return {
        "cells": len(arrivals),
        "workers": workers,
        "seconds_total": total,
        "seconds_until_first_cell": arrivals[0][0] - started,
        "seconds_per_cell_inside_bundle": mean_inside,
        "seconds_per_cell_outside_bundle": held - mean_inside,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--cells", type=int, default=60)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--json", type=Path, help="write the figures there as one flat object")
    arguments = parser.parse_args()
    sys.path.insert(0, str(TESTS))  # workers inherit it
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(arguments.cells, arguments.workers, Path(folder))
    for name, value in figures.items():
        print(f"{name:<34} {value:.4g}")
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
