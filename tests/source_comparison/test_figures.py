"""The figure of a comparison: its legend covers nothing, and a stage without a value says why."""

from __future__ import annotations

from itertools import combinations, product

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from srcmatters.source_comparison.figures import BLANK, source_comparison_figure
from srcmatters.source_comparison.rank_figure import rank_figure
from srcmatters.source_comparison.ranking import SourceRanking
from srcmatters.source_comparison.tables import print_source_comparison

STAGES = ("input", "block 1", "features")


def tables(sources: list[str], dead: str = "") -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Stages, similarity and probes; the features of ``dead`` are the same for every image."""
    similarity = pd.DataFrame(
        [
            (
                one,
                first,
                other,
                second,
                np.nan if dead and (dead, "features") in ((one, first), (other, second)) else 0.9,
            )
            for one, other in combinations(sources, 2)
            for first, second in product(STAGES, STAGES)
        ],
        columns=["source_a", "stage_a", "source_b", "stage_b", "cka"],
    )
    same = similarity[similarity["stage_a"] == similarity["stage_b"]].rename(columns={"stage_a": "stage"})
    same = same.assign(standard_error=0.05, auc_difference=0.0, low=-0.1, high=0.1)
    probes = pd.DataFrame(
        [(source, stage, 0.7, 0.6, 0.8) for source in sources for stage in STAGES],
        columns=["source", "stage", "auc", "low", "high"],
    )
    return same, similarity, probes


@pytest.mark.parametrize(
    "sources", [["imagenet", "random"], ["imagenet", "radiology2-791cbcd4", "random", "dinov2"]]
)
def test_the_legend_lies_outside_of_the_axes(sources: list[str]) -> None:
    figure = source_comparison_figure(*tables(sources))
    FigureCanvasAgg(figure).draw()
    legends = [axes for area in figure.subfigs for axes in area.axes if axes.get_legend() is not None]
    assert len(legends) == 2
    for axes in legends:
        assert axes.get_legend().get_window_extent().y0 >= axes.get_window_extent().y1 - 1


def test_the_legends_of_a_ranking_lie_outside_and_its_markers_inside_of_the_axes() -> None:
    names, against = ("imagenet", "random"), ("tag", "noise", "denoise", "sex", "view", "age")
    known = pd.DataFrame({"source": names, "clean_auc": 0.7, "low": 0.6, "high": 0.8, "rank": [1, None]})
    cells = pd.DataFrame(product(names, against), columns=["source", "of"]).assign(low=0.4, high=0.6)
    stages = pd.DataFrame(product(names, STAGES, ("label", *against)), columns=["source", "stage", "of"])
    ranking = SourceRanking(
        known.astype({"rank": "Int64"}),
        cells.rename(columns={"of": "confounder"}).assign(lean=0.5),
        cells.rename(columns={"of": "against"}).assign(index=0.5),
        stages.assign(auc=0.7),
    )
    figure = rank_figure(ranking)
    FigureCanvasAgg(figure).draw()
    upper, lower = figure.subfigs
    for axes in upper.axes:
        low, high = sorted(axes.get_ylim())
        assert all(low < place < high for line in axes.lines[1:] for place in line.get_ydata())
        if axes.get_legend() is not None:
            assert axes.get_legend().get_window_extent().y0 >= axes.get_window_extent().y1 - 1
    assert not any(axes.get_legend() for axes in lower.axes)
    (legend,) = lower.legends
    assert legend.get_window_extent().y0 >= max(axes.get_window_extent().y1 for axes in lower.axes) - 1


def test_a_blank_stage_is_explained_and_a_full_figure_needs_no_note(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for dead, notes in (("random", 1), ("", 0)):
        same, similarity, probes = tables(["imagenet", "random"], dead)
        figure = source_comparison_figure(same, similarity, probes)
        texts = [area.get_supxlabel().replace("\n", " ") for area in figure.subfigs]
        assert sum(text == f"Hatched: {BLANK}" for text in texts) == notes
        print_source_comparison(same, probes, "title")
        assert (BLANK in capsys.readouterr().out) == bool(notes)
