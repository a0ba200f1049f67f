"""One study and its report for all tests of this folder: both cost seconds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from study_tables_on_disk import HOSTILE, cohort_of, write_run, write_study

from srcmatters.evaluation.analysis import Analysis, analyse
from srcmatters.reports.example_record import recorded_phantom_examples
from srcmatters.reports.report import ReportOptions, render_report
from srcmatters.reports.setups import confounder_label
from srcmatters.reports.study_folder import StudyFolder, open_study
from srcmatters.runs.finished_runs import StudyResults, read_results

PLAN = {"metric": "ood_auc", "p_art": 1.0, "sources": ["imagenet", HOSTILE], "replicates": 200}


@pytest.fixture(scope="session")
def study_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished study with a null control, a cell that failed, and a cell that never ran."""
    folder = write_study(
        tmp_path_factory.mktemp("studies") / "study",
        sources=("imagenet", HOSTILE),
        p_art=(0.0, 0.5, 1.0),
        patients=48,
        study_file={"name": "grid of <b>sources</b>", "analysis": PLAN},
    )
    for source in ("imagenet", HOSTILE):
        for fold in range(3):
            axes = {"source": source, "confounder": "tag", "p_art": 1.0, "fold": fold}
            write_run(folder / "cells", cohort_of(48, 3), axes, {"control": "shuffled_labels"})
    failed = folder / "cells" / "radiology-tag-failed"
    failed.mkdir()
    failure = {"error": "/home/SECRETPERSON/x.png: not readable", "attempts": 2}
    (failed / "failure.json").write_text(json.dumps(failure))
    manifest = {
        "name": "grid",
        "started": "2026-11-23T10:00:00+00:00",
        "parent_run_id": "abc123",
        "analysis_changes": [{"before": {}, "finished_cells": 4}],
        "cells": {path.name: {} for path in (folder / "cells").iterdir()} | {"radiology-tag-waiting": {}},
    }
    (folder / "study.json").write_text(json.dumps(manifest))
    return folder


@pytest.fixture(scope="session")
def study_results(study_folder: Path) -> StudyResults:
    """Its runs."""
    return read_results(study_folder)


@pytest.fixture(scope="session")
def opened_study(study_folder: Path) -> StudyFolder:
    """Its file and records."""
    return open_study(study_folder)


@pytest.fixture(scope="session")
def study_analysis(study_results: StudyResults, opened_study: StudyFolder) -> Analysis:
    """Its analysis, by its own plan."""
    return analyse(study_results, opened_study.plan)


@pytest.fixture(scope="session")
def page(opened_study: StudyFolder, study_results: StudyResults, study_analysis: Analysis) -> str:
    """Its report, which looks at nothing but the results and the examples that were drawn before."""
    cells = study_results.cells[study_results.cells["control"] == "none"]
    named = zip(cells["confounder"], cells["confounder_args"], strict=True)
    labelled = cells.assign(label=[confounder_label(name, args) for name, args in named])
    recorded_phantom_examples(labelled, opened_study.path, draw=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOURCE_DATE_EPOCH", "1763900000")
        return render_report(opened_study, study_results, study_analysis, ReportOptions(data=False))
