"""The figure of a study that varies adaptation and train_size: what is drawn where."""

from __future__ import annotations

import json
import re
from itertools import product
from pathlib import Path

import pandas as pd
import pytest
from study_tables_on_disk import cohort_of, write_run

from srcmatters.reports.adaptation_figure import AdaptationFigure, adaptation_figures
from srcmatters.reports.report import write_report
from srcmatters.reports.study_figures import source_lines

SHARES = {"linear": 0.001, "freeze_3": 0.6, "full": 1.0}
SAME = {"target": "chests", "network": "resnet10", "depth": "finetune", "protocol": "corrected"}


def drawn(
    adaptations: tuple[str, ...] = tuple(SHARES), sizes: tuple[int, ...] = (64, 0), told: bool = True
) -> list[AdaptationFigure]:
    """Figures of leans that grow with what moved, and shrink with the cases."""
    rows = [
        {
            **SAME,
            "confounder": "tag",
            "confounder_args": "{}",
            "source": source,
            "p_art": p_art,
            "family": "declared" if p_art == 1 else "other",
            "adaptation": adaptation,
            "train_size": size,
            "lean": (lean := SHARES[adaptation] * p_art / 2 + (0.3 if size else 0.0)),
            "low": lean - 0.05,
            "high": lean + 0.05,
        }
        for source, p_art, adaptation, size in product(("imagenet", "random"), (0.5, 1.0), adaptations, sizes)
    ]
    leans = pd.DataFrame(rows)
    cells = leans.assign(moved_share=leans["adaptation"].map(SHARES) if told else float("nan"))
    return adaptation_figures(leans, cells, source_lines(["imagenet", "random"]))


def words(figure: AdaptationFigure, panel: int) -> str:
    label = re.search(r'aria-label="([^"]*)"', str(figure.panels[panel].markup))
    assert label is not None
    return label[1]


def test_one_panel_shows_what_moved_and_one_the_cases() -> None:
    (figure,) = drawn()
    assert figure.heading == "tag (chests, resnet10, p_art 1)"
    assert [panel.title for panel in figure.panels] == ["all training cases", "adaptation full"]
    moved, cases = words(figure, 0), words(figure, 1)
    # All cases: half the share; at p_art 1 alone.
    assert "imagenet, freeze_3, all cases: .30 [.25, .35]" in moved and moved.count(" cases: ") == 6
    assert "64 cases" not in moved
    assert "random, full, 64 cases: .80 [.75, .85]" in cases and cases.count(" cases: ") == 4
    assert "linear" not in cases
    svg = str(figure.panels[0].markup)
    assert "share of the weights that moved" in svg and ">freeze_3<" in svg and ">.001<" in svg


@pytest.mark.parametrize(
    ("adaptations", "sizes", "told", "titles"),
    [
        (("full",), (0,), True, []),
        (("full",), (64, 0), True, ["adaptation full"]),
        (("linear", "full"), (0,), True, ["all training cases"]),
        (("linear", "full"), (0,), False, []),
        (("linear", "freeze_3"), (64, 128), True, ["128 training cases", "adaptation freeze_3"]),
    ],
)
def test_a_panel_is_drawn_where_its_axis_varies(
    adaptations: tuple[str, ...], sizes: tuple[int, ...], told: bool, titles: list[str]
) -> None:
    assert [panel.title for one in drawn(adaptations, sizes, told) for panel in one.panels] == titles


def test_without_leans_there_is_nothing() -> None:
    assert adaptation_figures(pd.DataFrame(), pd.DataFrame(), {}) == []


def test_the_report_of_such_a_study_has_the_figure(tmp_path: Path) -> None:
    cohort = cohort_of(24, 3)
    for adaptation, p_art, fold in product(("linear", "full"), (0.0, 1.0), range(3)):
        axes = {"source": "imagenet", "confounder": "tag", "p_art": p_art, "fold": fold}
        output = write_run(tmp_path / "study" / adaptation, cohort, axes, {"adaptation": adaptation})
        record = json.loads((output / "metrics.json").read_text())
        (output / "metrics.json").write_text(json.dumps({**record, "moved_share": SHARES[adaptation]}))
    (tmp_path / "study" / "study.yaml").write_text("name: moved\nanalysis: {replicates: 200}\n")
    page = write_report(tmp_path / "study", tmp_path / "report.html", data=False).read_text()
    assert "How far the network moved, and on how many cases" in page
    assert "Learned lean over the share of moved weights, all training cases. imagenet, " in page
