"""What a CT confounder looks like in the report: on a synthetic scan, preprocessed as the networks see it."""

import pandas as pd
import pytest
import torch

from srcmatters.confounders import create_confounder
from srcmatters.reports.example_images import phantom_examples
from srcmatters.reports.phantom_scan import phantom_states

RUN = {"window": "lung", "patch_mm": 60, "unit": "HU", "seed": 0, "protocol": "corrected"}


@pytest.mark.parametrize("name", ["low_dose_ct", "kernel", "noise", "denoise", "tag"])
def test_both_states_are_shown_and_differ(name: str) -> None:
    confounder = create_confounder(name)
    assert confounder is not None
    clean, confounded = phantom_states(confounder, pd.Series(RUN))
    assert clean.shape == confounded.shape == (1, 256, 256)
    assert float(clean.min()) >= 0 and float(clean.max()) <= 1
    assert float((clean - confounded).abs().max()) > 0.01
    again, _ = phantom_states(confounder, pd.Series({**RUN, "patch_mm": 120}))
    assert not torch.equal(again, clean)


def test_runs_on_ct_are_shown_on_ct_and_others_on_a_radiograph() -> None:
    run = {**RUN, "confounder": "denoise", "confounder_args": "{}", "image_size": 64}
    cells = pd.DataFrame([{**run, "label": "denoise"}, {**run, "label": "denoise 2D", "unit": None}])
    examples, left_out = phantom_examples(cells)
    assert [example.title for example in examples] == ["synthetic CT", "synthetic chest"] and not left_out
