"""The ladder of a study's target, and what its networks know beyond."""

import numpy as np
import pandas as pd

from srcmatters.evaluation.natural_shortcut import natural_shortcut
from srcmatters.reports.ladder import target_ladder


def test_networks_that_read_the_brightness_know_nothing_beyond_it() -> None:
    stream, labels = np.random.default_rng(0), np.arange(300) % 2
    level = 0.5 + 0.03 * labels + 0.05 * stream.normal(size=300)
    noise = stream.uniform(-0.05, 0.05, (300, 1, 32, 32))
    images = (level[:, None, None, None] + noise).astype(np.float32)
    names = [f"c{place}" for place in range(300)]
    shortcut = natural_shortcut(images, labels.tolist(), names, case_ids=names)
    assert shortcut.plain_step and set(shortcut.quintiles.values()) == {0, 1, 2, 3, 4}
    cells = pd.DataFrame({"target": "t", "source": ["reads it", "knows more"], "p_art": 0.0})
    scores = {0: level, 1: level + 0.3 * labels}
    predictions = pd.concat(
        pd.DataFrame(
            {"case_id": names, "patient_id": names, "label": labels, "score_clean": one, "cell": cell}
        )
        for cell, one in scores.items()
    )
    drawn = target_ladder("t", shortcut, cells, predictions)
    assert drawn is not None
    picture, (_, beyond) = drawn
    assert "<svg" in picture.markup
    rows = {row[0]: [float(cell.split(" ")[0]) for cell in row[2:]] for row in beyond.rows}
    assert rows["reads it"][0] > 0.6 and rows["reads it"][1] < 0.6
    assert min(rows["knows more"]) > 0.95


def test_a_target_that_was_not_measured_has_no_ladder() -> None:
    assert target_ladder("t", "it was not measured", pd.DataFrame(), pd.DataFrame()) is None
