"""Templates of the report's pages."""

from __future__ import annotations

import base64
from dataclasses import fields
from typing import Any

import jinja2
import pandas as pd

from srcmatters import numbers
from srcmatters.csv_tables import csv_text

_FILTERS = ("number", "signed", "interval", "p_value", "share", "listed", "counted")


def page_template(name: str) -> jinja2.Template:
    """A template of this room, with numbers as the report writes them."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("srcmatters.reports"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters.update({filter_: getattr(numbers, filter_) for filter_ in _FILTERS})
    return environment.get_template(name)


def downloads(analysis: Any) -> list[tuple[str, int, str]]:
    """Every table of an analysis in full: name, rows, and a CSV file as a data URI."""
    files = []
    for entry in fields(analysis):
        table = getattr(analysis, entry.name)
        if isinstance(table, pd.DataFrame) and not table.empty:
            text = csv_text(table, float_format="%.6g", lineterminator="\n")
            uri = "data:text/csv;base64," + base64.b64encode(text.encode()).decode()
            files.append((entry.name, len(table), uri))
    return files
