"""The state of a study as a table."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from srcmatters.studies.quantities import spelled_seconds
from srcmatters.studies.state import StudyState, read_state

_SHOWN_FAILURES = 20


def status_table(state: StudyState) -> Group:
    """Counts, who is at work, what failed, and how long it will take."""
    counts = Table(title=escape(f"study {state.name}"), title_justify="left", show_header=False)
    counts.add_row("cells", str(len(state.cells)))
    counts.add_row("finished", str(len(state.finished)))
    counts.add_row("running", str(len(state.running)))
    counts.add_row("failed", str(len(state.failures)))
    counts.add_row("waiting", str(state.waiting))
    left = state.seconds_left()
    driver = state.driver.get("pid")
    if len(state.finished) == len(state.cells):
        counts.add_row("state", "complete")
    elif driver is None:
        counts.add_row("state", "stopped; `srcmatters study run` goes on where it was")
    else:
        counts.add_row(
            "state", f"process {driver} on {escape(str(state.driver.get('host', '?')))} is at work"
        )
        counts.add_row("left", "unknown until a cell has finished" if left is None else spelled_seconds(left))
    parts: list[Any] = [counts]
    if state.running and driver is not None:
        parts.append(_running_table(state.running))
    if state.failures:
        parts.append(failure_table(state.failures))
    return Group(*parts)


def _running_table(running: Mapping[str, Mapping[str, Any]]) -> Table:
    table = Table("running", "process", "since", title_justify="left")
    for cell, who in running.items():
        started = datetime.fromisoformat(str(who["started"]))
        seconds = (datetime.now(started.tzinfo) - started).total_seconds()
        table.add_row(escape(cell), f"{who.get('pid')}", spelled_seconds(seconds))
    return table


def failure_table(failures: Mapping[str, Mapping[str, Any]]) -> Table:
    """Cells that failed, with the line that says why and the number of attempts."""
    table = Table("failed", "attempts", "error", title_justify="left")
    for cell, failure in list(failures.items())[:_SHOWN_FAILURES]:
        table.add_row(escape(cell), str(failure.get("attempts", "?")), Text(str(failure.get("error", ""))))
    if len(failures) > _SHOWN_FAILURES:
        table.add_row(f"and {len(failures) - _SHOWN_FAILURES} more", "", "")
    return table


def watch(study_dir: Path, console: Console, seconds: float = 1.0) -> None:
    """Show the table until nothing runs any more, or until Ctrl-C, which ends the watching only."""
    with Live(console=console, auto_refresh=False) as live:
        while True:
            state = read_state(study_dir)
            live.update(status_table(state), refresh=True)
            if not state.driver:
                return
            time.sleep(seconds)
