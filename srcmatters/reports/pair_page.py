"""The report of a study that taught pairs of confounders and no single one."""

from __future__ import annotations

from srcmatters.evaluation.analysis_plan import AnalysisPlan
from srcmatters.reports.coverage import missing_cells, unreadable_images
from srcmatters.reports.page_template import downloads, page_template
from srcmatters.reports.pair_section import pair_section
from srcmatters.reports.provenance import hashes, settings_table, versions, written_on
from srcmatters.reports.setups import with_labels
from srcmatters.reports.study_folder import StudyFolder
from srcmatters.runs.finished_runs import StudyResults


def render_pair_page(study: StudyFolder, results: StudyResults, plan: AnalysisPlan) -> str:
    """The page as text.

    Args:
        study: the folder and what was declared.
        results: its runs, at least one of a pair.
        plan: of the analysis.
    """
    section = pair_section(results, plan)
    assert section is not None
    cells = with_labels(results.pairs)
    return page_template("pair_report.html.j2").render(
        study=study,
        plan=plan,
        pairs=section,
        cells=cells,
        date=written_on(),
        versions=versions(),
        missing=missing_cells(cells) if study.unfinished is None else study.unfinished,
        unreadable=unreadable_images(cells),
        settings=settings_table(cells),
        hashes=hashes(cells, study.sha256),
        downloads=downloads(section),
    )
