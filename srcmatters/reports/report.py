"""The report of a study: one page that needs nothing but itself, and the same on paper."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup

from srcmatters import numbers
from srcmatters.errors import InputError
from srcmatters.evaluation.analysis import Analysis, analyse
from srcmatters.evaluation.run_groups import without_arms
from srcmatters.evaluation.verdicts import Outcome, Verdict, control_verdicts, verdicts
from srcmatters.files import write_text
from srcmatters.reports.adaptation_figure import adaptation_figures
from srcmatters.reports.attribute_table import attribute_table
from srcmatters.reports.check_tables import control_table, detectability_table, subgroup_table
from srcmatters.reports.coverage import missing_cells, not_tested, unreadable_images
from srcmatters.reports.example_record import Example, recorded_phantom_examples
from srcmatters.reports.inline_svg import legend_colours
from srcmatters.reports.ladder import target_ladder
from srcmatters.reports.lean_tables import balance_table, effect_table, lean_table
from srcmatters.reports.mitigation_section import mitigation_section
from srcmatters.reports.network_checks import read_network_checks, regions_of_study
from srcmatters.reports.page_template import downloads, page_template
from srcmatters.reports.pair_page import render_pair_page
from srcmatters.reports.pair_section import pair_section
from srcmatters.reports.printing import find_browser, print_pdf
from srcmatters.reports.provenance import hashes, method_facts, settings_table, versions, written_on
from srcmatters.reports.published_results import published_section, read_published
from srcmatters.reports.setups import Setup, setups, with_labels
from srcmatters.reports.shortcut_record import shortcuts
from srcmatters.reports.study_figures import (
    Line,
    area_panels,
    dumbbells,
    effect_panel,
    forest,
    legend_mark,
    source_lines,
)
from srcmatters.reports.study_folder import StudyFolder, open_study
from srcmatters.reports.study_tables import (
    METRIC_NAMES,
    area_table,
    contrast_table,
    degradation_table,
    interaction_table,
    planned_contrasts,
    quality_table,
)
from srcmatters.runs.finished_runs import StudyResults, read_results

_TEMPLATE = "report.html.j2"


@dataclass(frozen=True)
class ReportOptions:
    """What a report may look at beside the results.

    Args:
        images: show images of the target itself; otherwise a synthetic chest stands for them.
        data: open the target's images to measure its natural shortcut, unless that was done before.
        trust: evaluate configurations of runs that hold code of their own for that.
        published: results of others, shown beside those of the study.
    """

    images: bool = False
    data: bool = True
    trust: bool = False
    published: pd.DataFrame | None = None


def write_report(
    folder: str | Path,
    out: str | Path,
    pdf: str | Path | None = None,
    images: bool = False,
    data: bool = True,
    trust: bool = False,
    published: str | Path | None = None,
) -> Path:
    """Write the report of a study, or of any folder of runs.

    Patients' identifiers are never part of it, and their images only if asked for.

    Args:
        folder: a study (with ``study.yaml``), or any folder with finished runs below it.
        out: the HTML file.
        pdf: a PDF of it, printed by Chromium.
        images: show example images of the target instead of a synthetic chest.
        data: open the images of the target where something has to be measured on them, by the configuration
            of a run.
        trust: of a run whose configuration holds code that no packaged bundle has, too.
        published: results of others, see :func:`srcmatters.reports.published_results.read_published`.

    Returns:
        ``out``.

    Raises:
        InputError: no runs, a study file that is none, a folder that cannot be written, no browser for the
            PDF; or what :func:`srcmatters.evaluation.analyse` refuses.
    """
    out = Path(out)
    for path in (out, *([Path(pdf)] if pdf else [])):
        if not path.absolute().parent.is_dir():
            raise InputError(f"{path}: the folder {path.absolute().parent} does not exist")
    if pdf:
        find_browser()  # said before minutes of analysis
    others = None if published is None else read_published(published)
    study = open_study(folder)
    results = read_results(folder, pairs_alone=True)
    page = render_report(
        study, results, analyse(results, study.plan), ReportOptions(images, data, trust, others)
    )
    try:
        write_text(out, page)
    except OSError as error:
        raise InputError(f"{out}: cannot be written ({error.strerror})") from error
    if pdf:
        print_pdf(out, Path(pdf))
    return out


def render_report(
    study: StudyFolder, results: StudyResults, analysis: Analysis, options: ReportOptions
) -> str:
    """The page as text.

    Args:
        study: the folder and what was declared.
        results: its runs.
        analysis: of these results.
        options: what else may be looked at.
    """
    if results.cells.empty and len(results.pairs):
        return render_pair_page(study, results, analysis.plan)
    cells = with_labels(results.cells)
    all_setups = setups(analysis)
    if not all_setups:
        raise InputError(f"{study.path}: all runs are null controls, expected some that are not")
    lines = source_lines(list(dict.fromkeys(source for setup in all_setups for source in setup.sources)))
    plain = cells[cells["control"] == "none"]
    examples = _examples(plain, study.path, options)
    measured = shortcuts(plain, study.path, options.data, options.trust)
    checked = read_network_checks(study.path)
    everything = _with_pairs(cells, results.pairs)
    return page_template(_TEMPLATE).render(
        study=study,
        plan=analysis.plan,
        metric=METRIC_NAMES[analysis.plan.metric],
        notes=analysis.notes,
        mitigation=(mitigation := mitigation_section(results, analysis.plan)),
        pairs=(pairs := pair_section(results, analysis.plan)),
        date=written_on(),
        legends={place: _legend(lines, place) for place in ("curves", "adaptations", "effects")},
        sections=[
            _section(setup, number, lines, cells, results.predictions)
            for number, setup in enumerate(all_setups)
        ],
        adaptations=adaptation_figures(analysis.leans, plain, lines),
        cells=cells,
        runs=len(everything),
        detectability=detectability_table(plain),
        examples=examples[0],
        without_example=examples[1],
        patients_shown=options.images,
        difference_colours=legend_colours(),
        shortcuts=measured,
        ladders={
            target: target_ladder(target, one, without_arms(plain), results.predictions)
            for target, one in measured.items()
        },
        published=published_section(options.published, analysis.environments, cells, lines),
        attributes=attribute_table(results, analysis.plan, checked),
        regions=regions_of_study(checked),
        missing=missing_cells(cells) if study.unfinished is None else study.unfinished,
        unreadable=unreadable_images(everything),
        not_tested=not_tested(cells, results.predictions, analysis.plan),
        settings=settings_table(everything),
        versions=versions(),
        hashes=hashes(everything, study.sha256),
        downloads=[
            file
            for tables in (analysis, mitigation.analysis if mitigation else None, pairs)
            if tables is not None
            for file in downloads(tables)
        ],
    )


def _with_pairs(cells: pd.DataFrame, pairs: pd.DataFrame) -> pd.DataFrame:
    """The runs of single confounders and those of pairs, which settings and hashes are told of."""
    if pairs.empty:
        return cells
    stacked = pd.concat([cells, with_labels(pairs)], ignore_index=True)
    stacked.attrs["settings"] = list(dict.fromkeys([*cells.attrs["settings"], *pairs.attrs["settings"]]))
    return stacked


def _examples(cells: pd.DataFrame, folder: Path, options: ReportOptions) -> tuple[list[Example], list[str]]:
    if not options.images:
        return recorded_phantom_examples(cells, folder, draw=options.data)
    from srcmatters.reports.example_images import target_examples  # imports what trains

    return target_examples(cells, options.trust)


def _section(
    setup: Setup, place: int, lines: dict[str, Line], cells: pd.DataFrame, predictions: pd.DataFrame
) -> dict[str, Any]:
    """Everything the page shows of one setup."""
    analysis, key = setup.analysis, f"s{place}"
    own_lines = {source: lines[source] for source in setup.sources}
    runs = cells[
        np.logical_and.reduce([cells[axis].astype(str) == value for axis, value in setup.values.items()])
    ]
    runs = runs[runs["control"] == "none"]
    runs.attrs = cells.attrs
    environments = analysis.environments
    planned = setup.p_art(environments)
    at_planned = environments[np.isclose(environments["p_art"], planned)]
    tested = [name for name in setup.confounders if name in set(at_planned["confounder"])]
    contrasts = planned_contrasts(setup)
    effects = [
        effect_panel(_rows(analysis.gaps, name), own_lines, name, f"{key}effect{number}")
        for number, name in enumerate(setup.confounders)
    ]
    compared = f"{METRIC_NAMES[analysis.plan.metric]} at p_art {numbers.share(planned)}"
    return {
        "setup": setup,
        "p_art": planned,
        "verdicts": _verdicts(analysis),
        "failed_controls": _failed_controls(replace(analysis, controls=setup.controls)),
        "glance": dumbbells(at_planned, own_lines, tested, f"{key}glance"),
        "areas": [
            (name, area_panels(_rows(environments, name), own_lines, name, f"{key}area{number}"))
            for number, name in enumerate(setup.confounders)
        ],
        "effects": [picture for picture in effects if picture is not None],
        "forest": None
        if contrasts.empty
        else forest(contrasts, analysis.plan.equivalence_margin, compared, f"{key}forest"),
        "contrasts": contrast_table(setup),
        "leans": lean_table(setup),
        "effect_table": effect_table(setup),
        "degradation": degradation_table(setup),
        "interactions": interaction_table(setup),
        "area_tables": [area_table(setup, name) for name in setup.confounders],
        "quality": quality_table(setup),
        "subgroups": subgroup_table(setup),
        "balance": balance_table(setup),
        "controls": control_table(setup),
        "method": method_facts(runs, predictions[predictions["cell"].isin(runs.index)]),
    }


def _legend(lines: dict[str, Line], place: str) -> list[tuple[str, Markup]]:
    """Each source with a piece of its line."""
    return [
        (source, legend_mark(line, f"{place}{number}")) for number, (source, line) in enumerate(lines.items())
    ]


def _rows(table: pd.DataFrame, confounder: str) -> pd.DataFrame:
    return table[table["confounder"] == confounder]


def _verdicts(analysis: Analysis) -> list[tuple[str, dict[str, list[Verdict]]]]:
    """By confounder: what each source leans on, and how sources compare."""
    of_confounder: dict[str, dict[str, list[Verdict]]] = {}
    for verdict in verdicts(analysis):
        kinds = of_confounder.setdefault(str(verdict.axes["confounder"]), {"lean": [], "comparison": []})
        kinds.setdefault(verdict.kind, []).append(verdict)
    return list(of_confounder.items())


def _failed_controls(analysis: Analysis) -> list[str]:
    """Sentences of the null controls that fail."""
    return [one.text for one in control_verdicts(analysis) if one.outcome is Outcome.LEANS]
