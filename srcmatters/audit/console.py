"""An audit in a terminal: a verdict per confounder, the worst first."""

from __future__ import annotations

from collections.abc import Callable

from srcmatters.audit.check import Finding
from srcmatters.audit.result import Audit, OutputAudit
from srcmatters.evaluation.outcomes import Outcome

_COLOURS = {
    Outcome.LEANS: "red",
    Outcome.INCONCLUSIVE: "yellow",
    Outcome.NOT_RANKED: "yellow",
    Outcome.WITHIN_MARGIN: "green",
}
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
    for one in audit.outputs:
        if len(audit.outputs) > 1:
            write("")
            write(styled(one.output, bold=True))
        for line in lines(one, styled):
            write(line)


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
    return shown


def _line(finding: Finding, styled: Callable[..., str]) -> str:
    outcome = finding.outcome
    word = "–" if outcome is None else outcome.value
    coloured = styled(word.ljust(_WIDTH), fg=_COLOURS.get(outcome) if outcome else None, bold=True)
    return f"{coloured}  {finding.text}"
