"""Commands that read tables and lists do not wait for what trains networks."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from study_tables_on_disk import write_study

_RUN = """
import sys
from srcmatters.cli import command
try:
    command(sys.argv[1:])
except SystemExit as end:
    assert not end.code, end.code
print(*sorted(name for name in ("monai", "mlflow", "ray") if name in sys.modules), file=sys.stderr)
"""


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a finished study of two sources."""
    folder = write_study(
        tmp_path_factory.mktemp("studies") / "study",
        sources=("imagenet", "random"),
        p_art=(0.0, 1.0),
        patients=40,
        study_file={"name": "light", "analysis": {"p_art": 1.0, "replicates": 200}},
    )
    (folder / "study.json").write_text(json.dumps({"name": "light", "cells": ["a", "b"]}))
    return folder


@pytest.mark.parametrize(
    "words",
    [
        ["results", "{study}"],
        ["study", "status", "{study}"],
        ["study", "plan", "bundles/xray_classification/studies/quick.yaml", "--dataset_dir", "{cohort}"],
        ["report", "{study}", "--no-data", "--out", "{out}/report.html"],
        ["sources", "list"],
        ["confounders", "list"],
        ["cohorts", "nih", "--help"],
    ],
    ids=lambda words: "-".join(words[:2]),
)
def test_a_command_that_reads_tables_does_not_import_monai(
    words: list[str], study: Path, radiograph_cohort: Path, tmp_path: Path
) -> None:
    places = {"study": study, "cohort": radiograph_cohort, "out": tmp_path}
    line = [word.format(**places) for word in words]
    done = subprocess.run([sys.executable, "-c", _RUN, *line], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[-1:] in ([], [""]), done.stderr
