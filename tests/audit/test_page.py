"""Tables of the audit's page: what a reader sees of numbers that are written elsewhere."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd

from srcmatters.audit.page import _sweep


def test_conventions_are_shown_with_intervals_and_p_to_three_digits() -> None:
    rows = [
        ("as declared", 0.9, 0.0, 0.0, 0.0, np.nan, np.nan, "declared", ""),
        ("inverted", 0.4, -0.5, -0.6, -0.4, 1e-9, 1e-8, "significantly worse", ""),
        ("channels grey", 0.9, 0.0, -0.01, 0.01, 0.9, 0.9, "cannot be told apart", ""),
        ("transposed", np.nan, np.nan, np.nan, np.nan, np.nan, np.nan, "does not run", "wants squares"),
    ]
    names = ("convention", "auc", "difference", "low", "high", "p_value", "p_adjusted", "result", "reason")
    table = _sweep(SimpleNamespace(sweep=pd.DataFrame(rows, columns=names)))  # type: ignore[arg-type]
    assert table is not None
    assert table.groups[0][1] == [
        ["as declared", "declared", ".90", "–", "–"],
        ["inverted", "significantly worse", ".40", "−.50 [−.60, −.40]", "< .001"],
        ["channels grey", "cannot be told apart", ".90", ".00 [−.01, .01]", ".900"],
        ["transposed", "does not run", "–", "–", "–"],
    ]
    assert table.note == "transposed: wants squares."
