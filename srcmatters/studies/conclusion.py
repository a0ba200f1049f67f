"""What a finished study comes to: tables, figures and the report."""

from __future__ import annotations

import shutil
from dataclasses import fields
from pathlib import Path

import pandas as pd

from srcmatters.csv_tables import write_csv
from srcmatters.evaluation.analysis import analyse
from srcmatters.evaluation.pairs import analyse_pairs
from srcmatters.evaluation.verdicts import verdict_table, verdicts
from srcmatters.markdown import escaped
from srcmatters.reports.pair_section import pair_verdicts
from srcmatters.reports.report import ReportOptions, render_report
from srcmatters.reports.setups import SETUP, setup_words
from srcmatters.reports.study_folder import open_study
from srcmatters.runs.finished_runs import read_results

#: Folder of the tables, and the page, in the study's folder.
TABLES, REPORT, VERDICTS = "tables", "report.html", "verdicts.csv"


def verdict_lines(study_dir: Path, most: int = 12) -> list[str]:
    """What a concluded study found, a line for each verdict; empty where it has no tables.

    Args:
        study_dir: folder of the study.
        most: lines; how many more there are is said.
    """
    path = study_dir / TABLES / VERDICTS
    if not path.is_file():
        return []
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    # Comparisons of sources are what a study is for; controls say whether to believe them.
    order = {"comparison": 0, "lean": 1, "control": 2}
    table = table.sort_values("kind", key=lambda kinds: kinds.map(order).fillna(3), kind="stable")
    varying = [axis for axis in SETUP if axis in table and table[axis].nunique() > 1]
    lines = []
    for row in table.to_dict("records"):
        setup = setup_words({axis: row[axis] for axis in varying})
        lines.append(f"{row['outcome']}{f' ({setup})' if setup else ''}: {row['text']}")
    left = len(lines) - most
    return lines if left <= 0 else [*lines[:most], f"and {left} more in {path}"]


def description(study_dir: Path) -> str:
    """The verdicts of a concluded study and where its report is, in Markdown, for MLflow; holds no path."""
    lines = []
    for line in verdict_lines(study_dir, most=1000):
        outcome, _, text = line.partition(": ")
        lines.append(f"- **{outcome}** {escaped(text)}")
    return "\n".join(
        [*lines, "", f"The report, `{REPORT}`, and its tables are among the artifacts of this run."]
    )


def conclude(study_dir: Path) -> Path:
    """Analyse a study as its plan says, and write ``tables/*.csv`` and ``report.html`` into its folder.

    Args:
        study_dir: folder of the study, all of whose cells are there.

    Returns:
        A folder with the tables and the report, for MLflow; neither holds an identifier.

    Raises:
        InputError: see :func:`srcmatters.evaluation.analysis.analyse`.
    """
    tables = study_dir / TABLES
    shutil.rmtree(tables, ignore_errors=True)
    tables.mkdir()
    results = read_results(study_dir / "cells", pairs_alone=True)
    study = open_study(study_dir)
    analysis = analyse(results, study.plan)
    cells = pd.concat([results.cells, results.pairs]).sort_index()
    write_csv(cells.drop(columns="output_dir"), tables / "cells.csv")
    for field in fields(analysis):
        table = getattr(analysis, field.name)
        if isinstance(table, pd.DataFrame):
            write_csv(table, tables / f"{field.name}.csv")
    pairs = analyse_pairs(results, study.plan)
    if len(pairs):
        write_csv(pairs, tables / "pairs.csv")
    spoken = [*verdicts(analysis), *pair_verdicts(pairs, study.plan)]
    write_csv(verdict_table(spoken), tables / VERDICTS)
    (tables / "notes.txt").write_text("".join(f"{note}\n" for note in analysis.notes))
    page = render_report(study, results, analysis, ReportOptions(trust=True))  # its cells were run just now
    (tables / REPORT).write_text(page, encoding="utf-8")
    shutil.copy(tables / REPORT, study_dir / REPORT)
    return tables
