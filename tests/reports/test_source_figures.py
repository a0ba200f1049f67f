"""The figure and the table of a comparison show its numbers."""

from __future__ import annotations

from io import BytesIO
from itertools import combinations

import numpy as np
import pandas as pd
import pytest

from srcmatters.numbers import number
from srcmatters.source_comparison.figures import source_comparison_figure
from srcmatters.source_comparison.tables import print_source_comparison

STAGES = ["stem", "blocks1", "features"]


def tables(sources: list[str]) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Same stage, similarity and probes of made-up sources."""
    rng = np.random.default_rng(0)
    similarity = [
        {"source_a": a, "stage_a": one, "source_b": b, "stage_b": other, "cka": rng.uniform(0.1, 0.9)}
        for a, b in combinations(sources, 2)
        for one in STAGES
        for other in STAGES
    ]
    full = pd.DataFrame(similarity)
    same = full[full["stage_a"] == full["stage_b"]].rename(columns={"stage_a": "stage"})
    same = same.assign(standard_error=0.02, auc_difference=0.1, low=-0.05, high=0.25)
    probes = [
        {"source": source, "stage": stage, "auc": auc, "low": auc - 0.1, "high": auc + 0.05}
        for source in sources
        for stage, auc in zip(STAGES, rng.uniform(0.6, 0.9, 3), strict=True)
    ]
    return same, full, pd.DataFrame(probes)


@pytest.mark.parametrize("sources", [["a", "b"], list("abcd")])
def test_every_source_and_pair_is_drawn(sources: list[str]) -> None:
    same, full, probes = tables(sources)
    figure = source_comparison_figure(same, full, probes, "title")
    alike, telling, *rest = figure.axes
    pairs = list(combinations(sources, 2))
    labels = [axes.get_legend_handles_labels()[1] for axes in (alike, telling)]
    assert labels == [[f"{a} – {b}" for a, b in pairs], sources]
    for container, source in zip(telling.containers, sources, strict=True):
        drawn = container.lines[0].get_ydata()
        np.testing.assert_allclose(drawn, probes.loc[probes["source"] == source, "auc"])
    matrices = [axes.images[0].get_array() for axes in rest if axes.images]
    assert len(matrices) == len(pairs)
    np.testing.assert_allclose(matrices[0].ravel(), full["cka"].to_numpy()[:9])
    stream = BytesIO()
    figure.savefig(stream, format="png", dpi=60)
    assert stream.getvalue().startswith(b"\x89PNG")


def test_intervals_are_drawn_where_they_are() -> None:
    same, full, probes = tables(["a", "b"])
    alike, telling = source_comparison_figure(same, full, probes).axes[:2]
    (bar,) = telling.containers[0].lines[2]
    ends = np.array([segment[:, 1] for segment in bar.get_segments()])
    rows = probes[probes["source"] == "a"]
    np.testing.assert_allclose(ends, rows[["low", "high"]])
    (bar,) = alike.containers[0].lines[2]
    reach = [np.ptp(segment[:, 1]) for segment in bar.get_segments()]
    np.testing.assert_allclose(reach, 2 * 1.96 * 0.02)


def test_a_stage_that_says_nothing_leaves_a_gap() -> None:
    same, full, probes = tables(["a", "b"])
    same.loc[same["stage"] == "stem", ["cka", "standard_error"]] = np.nan
    source_comparison_figure(same, full, probes).savefig(BytesIO(), format="png", dpi=40)


def test_the_table_has_the_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    same, _, probes = tables(["a", "[b]"])
    same.loc[same["stage"] == "stem", ["cka", "standard_error"]] = np.nan
    print_source_comparison(same, probes, "net on [target]")
    printed = capsys.readouterr().out
    assert "net on [target]" in printed and "a – [b]" in printed
    line = next(line for line in printed.splitlines() if line.split("│")[1:2] == [" features "])
    assert f"{number(same['cka'].iloc[-1])} ± .02" in line
    assert ".10 [−.05, .25]" in printed
    assert f"{number(probes['auc'].iloc[0])} [{number(probes['low'].iloc[0])}, " in printed
