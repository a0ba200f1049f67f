"""An audit in a terminal: a verdict per confounder, the worst first."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pandas as pd
import rich.table
from rich import box
from rich.console import Console
from rich.markup import escape

from srcmatters.audit.audit_run import all_checks
from srcmatters.audit.check import Finding
from srcmatters.audit.record import EXCLUDED
from srcmatters.audit.result import Audit, OutputAudit
from srcmatters.evaluation.outcomes import Outcome
from srcmatters.numbers import counted
from srcmatters.reports.study_tables import Table

_COLOURS = {
    Outcome.LEANS: "red",
    Outcome.INCONCLUSIVE: "yellow",
    Outcome.NOT_RANKED: "yellow",
    Outcome.WITHIN_MARGIN: "green",
}
_COLUMNS = 150
_WIDTH = max(len(one.value) for one in Outcome)


def print_audit(audit: Audit, write: Callable[[str], None], styled: Callable[..., str]) -> None:
    """Print what was found.

    Args:
        audit: to print.
        write: prints a line, as ``click.echo`` does.
        styled: colours a text, as ``click.style`` does.
    """
    for note in audit.notes:
        write(styled(f"! {note}", fg="yellow", bold=True))
    if len(audit.excluded):
        write(styled(f"! {left_out(audit.excluded)}", fg="yellow", bold=True))
    for one in audit.outputs:
        if len(audit.outputs) > 1:
            write("")
            write(styled(one.output, bold=True))
        for line in lines(one, styled):
            write(line)


def left_out(excluded: pd.DataFrame) -> str:
    """What has no score: how many cases, the first with its reason, and where the others stand."""
    first = excluded.iloc[0]
    without = "has no score" if excluded["case_id"].nunique() == 1 else "have no score"
    cases = counted(int(excluded["case_id"].nunique()), "case")
    return (
        f"{cases} {without} in one state or more, {first['case_id']} ({first['state']}): {first['reason']};"
        f" {EXCLUDED} lists them"
    )


def lines(audited: OutputAudit, styled: Callable[..., str]) -> list[str]:
    """One line per verdict, and below it what to do next; then what the other checks say."""
    shown: list[str] = []
    beside = {one.check: one for one in audited.findings if not one.subject}
    if "clean_performance" in beside:
        shown.append(beside["clean_performance"].text)
    for finding in audited.verdicts:
        shown.append(_line(finding, styled))
        if finding.advice and finding.outcome is Outcome.LEANS:
            shown.append(" " * (_WIDTH + 2) + styled(f"next: {finding.advice}", dim=True))
    others = [
        one
        for one in audited.findings
        if one.check not in ("sensitivity", "effect", "clean_performance")
        and one.outcome not in (None, Outcome.NOT_APPLICABLE)
    ]
    shown += [_line(one, styled) for one in others]
    for check in all_checks():
        table = check.table([one for one in audited.findings if one.check == check.code])
        if table is not None:
            shown += ["", *table_lines(table)]
    return shown


def table_lines(table: Table) -> list[str]:
    """A table as lines of text that fit a terminal."""
    shown = rich.table.Table(title=table.caption, title_justify="left", box=box.SIMPLE, caption=table.note)
    shown.caption_justify = "left"
    for place, column in enumerate(table.columns):
        shown.add_column(column, justify="left" if place < table.labels else "right")
    for row in table.rows:
        shown.add_row(*map(escape, row))
    # Redirected into a file or a pipe there is no terminal whose width would be known.
    console = Console(width=None if sys.stdout.isatty() else _COLUMNS, color_system=None)
    with console.capture() as text:
        console.print(shown)
    return [line.rstrip() for line in text.get().splitlines()]


def _line(finding: Finding, styled: Callable[..., str]) -> str:
    outcome = finding.outcome
    word = "–" if outcome is None else outcome.value
    coloured = styled(word.ljust(_WIDTH), fg=_COLOURS.get(outcome) if outcome else None, bold=True)
    return f"{coloured}  {finding.text}"
