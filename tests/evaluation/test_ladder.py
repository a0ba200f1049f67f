"""The ladder: each step finds what is in it and nothing else, and what a network knows beyond."""

import numpy as np
import pandas as pd
import pytest
import torch

from srcmatters.errors import InputError
from srcmatters.evaluation.ladder import Ladder, beyond_step, climb
from srcmatters.evaluation.ladder_steps import STEPS, column_step, image_steps

LABELS = np.arange(160) % 2
PATIENTS = np.array([f"p{place // 2}" for place in range(0, 320, 2)])


def ladder(where: np.ndarray, size: float = 0.2, seed: int = 0) -> Ladder:
    """Images of noise in which positives are brighter at some pixels."""
    noise = np.random.default_rng(seed).uniform(0.2, 0.5, (160, 1, 48, 48)).astype(np.float32)
    images = noise + size * LABELS[:, None, None, None] * where
    return climb(image_steps(torch.from_numpy(images.astype(np.float32))), LABELS, PATIENTS)


def areas(climbed: Ladder) -> dict[str, tuple[float, float]]:
    return {rung.step: (rung.low, rung.auc) for rung in climbed.rungs}


def test_nothing_is_known_of_noise() -> None:
    climbed = ladder(np.zeros((48, 48)))
    assert [rung.step for rung in climbed.rungs] == [step.name for step in STEPS][2:]
    assert sum(rung.low > 0.5 for rung in climbed.rungs) <= 1
    assert climbed.without_anatomy is None or climbed.without_anatomy.low < 0.55


def test_a_corner_is_in_corners_and_frame_and_not_in_the_edge_of_the_other_side() -> None:
    where = np.zeros((48, 48))
    where[4:8, 4:8] = 1  # within the outer sixth, behind the outer sixteenth
    known = areas(ladder(where))
    assert min(known[name][0] for name in ("corners", "frame", "centre_masked", "thumbnail")) > 0.8
    assert known["edge"][0] < 0.5
    side = np.zeros((48, 48))
    side[22:26, :3] = 1
    known = areas(ladder(side))
    assert min(known["edge"][0], known["frame"][0]) > 0.8 > 0.5 > known["corners"][0]


def test_the_centre_is_in_the_thumbnail_and_in_nothing_without_a_centre() -> None:
    where = np.zeros((48, 48))
    where[20:28, 20:28] = 1
    climbed = ladder(where)
    known = areas(climbed)
    assert known["thumbnail"][0] > 0.8 and known["low_pass_32"][0] > 0.8
    assert max(known[name][0] for name in ("corners", "edge", "frame", "centre_masked")) < 0.5


def test_a_histogram_knows_what_mean_and_sd_do_not() -> None:
    stream = np.random.default_rng(0)
    flat = stream.uniform(0.0, 1.0, (160, 1, 48, 48))
    two = np.where(stream.random((160, 1, 48, 48)) < 0.5, 0.5 - 12**-0.5, 0.5 + 12**-0.5)  # same mean, SD
    images = np.where(LABELS[:, None, None, None] == 1, two, flat).astype(np.float32)
    known = areas(climb(image_steps(torch.from_numpy(images)), LABELS, PATIENTS))
    assert known["histogram"][0] > 0.95 and known["mean_sd"][0] < 0.6


def test_beyond_is_chance_for_a_network_that_reads_the_step_and_not_for_one_that_knows_more() -> None:
    stream, labels = np.random.default_rng(1), np.arange(400) % 2
    patients = np.arange(400).astype(str)
    features = labels[:, None] + stream.normal(size=(400, 2))
    climbed = climb({"mean_sd": features}, labels, patients)
    step = climbed.without_anatomy
    assert step is not None and step.step == "mean_sd"
    probe = climbed.probes["mean_sd"]
    same = beyond_step(probe.scores, labels, patients, probe, "mean_sd")
    knows = probe.scores + 3 * labels + stream.normal(size=400)
    more = beyond_step(knows, labels, patients, probe, "mean_sd")
    assert same.whole > 0.75 and same.auc < 0.62 and same.left < 0.62
    assert more.low > 0.8


def test_columns_become_numbers_kinds_and_missing_values() -> None:
    table = pd.DataFrame(
        {
            "age": [50.0, None, 70.0],
            "sex": ["F", "M", None],
            "note": ["a", "a", "a"],
            "flag": [True, False, True],
        }
    )
    features, used, left_out = column_step(table)
    assert features is not None and used == ["age", "sex", "flag"] and left_out == ["note"]
    assert features.tolist() == [
        [50, 0, 1, 0, 0, 0, 1],
        [60, 1, 0, 1, 0, 1, 0],
        [70, 0, 0, 0, 1, 0, 1],
    ]


def test_images_below_a_thumbnail_are_refused() -> None:
    with pytest.raises(InputError, match="16 or more a side"):
        image_steps(torch.zeros(3, 1, 15, 40))
