"""The figures of a card: their intervals count patients, each class its own."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
import pandas as pd
import pytest

from srcmatters.export.performance import _others


def _wilson(share: float, trials: int) -> tuple[float, float]:
    """Wilson's 95 % interval by its formula (Wilson 1927)."""
    z = NormalDist().inv_cdf(0.975)
    centre = (share + z**2 / (2 * trials)) / (1 + z**2 / trials)
    half = z / (1 + z**2 / trials) * np.sqrt(share * (1 - share) / trials + z**2 / (4 * trials**2))
    return centre - half, centre + half


@pytest.mark.parametrize(("positives", "negatives"), [(5, 40), (40, 5)])
def test_sensitivity_and_specificity_count_the_patients_of_their_own_class(
    positives: int, negatives: int
) -> None:
    """Two images of each patient; the classes are not equally large."""
    labels = np.repeat([1, 0], [2 * positives, 2 * negatives])
    patients = np.repeat([str(number) for number in range(positives + negatives)], 2)
    scores = np.where(labels == 1, 0.8, 0.2)
    wrong_positive, wrong_negative = 3, 4
    scores[:wrong_positive] = 0.1
    scores[2 * positives : 2 * positives + wrong_negative] = 0.9
    figures = _others(pd.DataFrame({"label": labels, "patient_id": patients}), scores, 0.5)
    for name, missed, people in (
        ("sensitivity", wrong_positive, positives),
        ("specificity", wrong_negative, negatives),
    ):
        share = 1 - missed / (2 * people)
        assert figures[name]["value"] == pytest.approx(share)
        assert (figures[name]["low"], figures[name]["high"]) == pytest.approx(_wilson(share, people))
