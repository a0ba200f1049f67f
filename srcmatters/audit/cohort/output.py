"""What the audit of a case table leaves: tables for the terminal, a figure, a page."""

from __future__ import annotations

from pathlib import Path

import jinja2

from srcmatters import numbers
from srcmatters.audit.cohort.cohort_audit import CohortAudit
from srcmatters.evaluation.ladder import CAUTION
from srcmatters.files import write_text
from srcmatters.numbers import counted, interval, listed, number, p_value
from srcmatters.reports.ladder import ladder_figure, ladder_table
from srcmatters.reports.provenance import versions, written_on
from srcmatters.reports.study_tables import Table

PAGE = "cohort_audit.html"


def leak_table(audit: CohortAudit) -> Table:
    """A row per fact, the strongest first."""
    rows = [
        [
            one.fact.replace("_", " "),
            str(one.cases),
            interval(one.auc, one.low, one.high),
            p_value(one.p_value),
            p_value(one.p_adjusted),
        ]
        for one in audit.leaks
    ]
    columns = ("fact", "cases", "AUC", "p", "p, Holm")
    unused = f" Not tested: {listed(audit.not_used)}." if audit.not_used else ""
    chance = (
        ""
        if all(one.auc >= 0.5 for one in audit.leaks)
        else (" An AUC below .5 is chance: texts are read by a probe that was fitted on other patients.")
    )
    note = f"p: labels of whole patients permuted. A column that makes the label is no leak.{unused}{chance}"
    return Table("Facts that predict the label", columns, [("", rows)], 1, note)


def sentences(audit: CohortAudit) -> list[str]:
    """Duplicates, patients in two sets, empty cells, unreadable images: a line each."""
    shared = audit.shared
    lines = [
        f"{counted(shared['duplicates'], 'image is', 'images are')} there more than once"
        f" ({shared['duplicates_of_both_labels']} with both labels,"
        f" {shared['duplicates_of_several_patients']} under several patients).",
        f"{counted(shared['look_alikes'], 'pair')} of images of different patients look the same"
        f" ({shared['look_alikes_of_both_labels']} with different labels); copies that were cropped or"
        " rotated are not found.",
        f"{counted(shared['patients_of_both_labels'], 'patient has', 'patients have')} images of both"
        " labels.",
    ]
    if "patients_in_both_sets" in shared:
        patients, images = (shared[f"{name}_in_both_sets"] for name in ("patients", "images"))
        lines.append(
            f"{counted(patients, 'patient')} and {counted(images, 'image')} are in the training and in the"
            " test set."
        )
    lines += [
        f"No case is {cell.cell} ({number(cell.expected, 0)} were expected): label and attributes cannot be"
        " told apart there."
        for cell in audit.cells
    ]
    if audit.unreadable:
        count = counted(len(audit.unreadable), "image")
        lines.append(f"{count} could not be read, the first: {audit.unreadable[0]}")
    return lines


def write_cohort_page(audit: CohortAudit, folder: Path, name: str) -> Path:
    """Write cohort_audit.html, one page that needs no network.

    Args:
        audit: to show.
        folder: where.
        name: of the case table's folder.
    """
    environment = jinja2.Environment(
        loader=jinja2.ChoiceLoader(
            [jinja2.PackageLoader("srcmatters.audit"), jinja2.PackageLoader("srcmatters.reports")]
        ),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["counted"] = numbers.counted
    page = environment.get_template("cohort_audit.html.j2").render(
        audit=audit,
        name=name,
        date=written_on(),
        versions=versions(),
        figure=ladder_figure(audit.ladder.rungs, "ladder"),
        ladder=ladder_table(audit.ladder.rungs),
        leaks=leak_table(audit),
        sentences=sentences(audit),
        caution=CAUTION,
    )
    write_text(folder / PAGE, page)
    return folder / PAGE
