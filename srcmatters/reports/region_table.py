"""What a classifier loses with each region, as a table of the audit and of the study report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from srcmatters.numbers import interval, number
from srcmatters.reports.study_tables import Table

_COLUMNS = ("region", "intervention", "AUC", "cost in AUC", "shift of positives", "of negatives")
_NOTE = (
    "Cost: AUC before minus that of the changed images, paired. Shift: mean change of the log-odds. The size"
    " of a region stays visible in what is filled or kept, and may tell the label"
)
_MATCHED = "matched region"


def region_table(regions: Sequence[Mapping[str, Any]], caption: str = "Regions") -> Table | None:
    """A row per intervention; None where there is none.

    Args:
        regions: ``subject`` and ``interventions`` of each, an intervention with its name, "auc" and "cost"
            (value, low, high), and the shifts of both labels.
        caption: of the table.
    """
    rows = [
        [
            str(one["subject"]),
            row["intervention"],
            interval(row["auc"]["value"], row["auc"]["low"], row["auc"]["high"]),
            interval(row["cost"]["value"], row["cost"]["low"], row["cost"]["high"]),
            number(row["shift_of_positives"]),
            number(row["shift_of_negatives"]),
        ]
        for one in regions
        for row in one["interventions"]
    ]
    if not rows:
        return None
    against = f": compare with the {_MATCHED}" if any(row[1].startswith(_MATCHED) for row in rows) else ""
    return Table(caption, _COLUMNS, [("", rows)], labels=2, note=f"{_NOTE}{against}.")
