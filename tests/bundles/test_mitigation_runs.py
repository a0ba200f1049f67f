"""Arms and further confounders in the bundle: what ran is recorded, and who may be tested is checked."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from monai.bundle import ConfigWorkflow

from srcmatters.errors import InputError, find_input_error

CONFIGS = Path(__file__).parents[2] / "bundles" / "xray_classification" / "configs"
LARGE = {"height": 0.5, "position": [0.1, 0.1]}
SMALL: dict[str, Any] = {
    "source": "random",
    "network": "resnet18",
    "image_size": 64,
    "confounder_args": LARGE,
    "p_art": 0.8,
    "p_neg": 0.2,
    "num_folds": 3,
    "validation_folds": 3,
    "num_workers": 0,
    "device": "cpu",
    "tracking_uri": "",
    "tested": [{"name": "tag", "args": LARGE}, "denoise"],
}


@pytest.fixture
def screen(tmp_path: Path, radiograph_cohort: Path) -> Callable[..., Path]:
    """Run the bundle at screen depth; the folder of the run."""

    def run(**overrides: Any) -> Path:
        places = {"dataset_dir": str(radiograph_cohort), "output_dir": str(tmp_path / "run")}
        files = [str(CONFIGS / name) for name in ("train.yaml", "screen.yaml")]
        workflow = ConfigWorkflow(
            files,
            workflow_type="train",
            run_id="training",
            logging_file=False,
            **{**SMALL, **places, **overrides},
        )
        workflow.initialize()
        workflow.run()
        return tmp_path / "run"

    return run


def test_an_arm_is_recorded_and_tested_on_further_confounders(screen: Callable[..., Path]) -> None:
    folder = screen(mitigation="paired")
    record = json.loads((folder / "metrics.json").read_text())
    assert record["settings"]["mitigation"] == "paired" and record["settings"]["p_neg"] == 0.2
    assert record["realised_p_neg_train"] == pytest.approx(0.2, abs=0.1)
    predictions, transfer = (pd.read_csv(folder / name) for name in ("predictions.csv", "transfer.csv"))
    own, other = (rows.reset_index(drop=True) for _, rows in transfer.groupby("tested", sort=False))
    scores = ["case_id", "score_clean", "score_confounded"]
    pd.testing.assert_frame_equal(own[scores], predictions[scores], rtol=1e-6)
    pd.testing.assert_frame_equal(other[scores[:2]], predictions[scores[:2]], rtol=1e-6)
    assert (other["score_confounded"] - own["score_confounded"]).abs().max() > 1e-3
    assert not (folder / "refits.csv").exists(), "its refits would be ERM's"


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        ({"mitigation": "pared"}, "mitigation: 'pared' is unknown: did you mean 'paired'"),
        ({"mitigation": "balanced", "p_neg": 0}, "expected p_neg between 0 and 1"),
        ({"tested": ["denoize"]}, "did you mean 'denoise'"),
        ({"tested": ["denoise", "denoise"]}, "tested: denoise is there twice"),
        ({"tested": {"denoise": 1}}, "tested: got {'denoise': 1}, expected a list of confounders"),
        ({"tested": ["low_dose_ct"]}, "needs HU of whole slices"),
        ({"confounder": "none", "confounder_args": {}}, "tested: the run puts no confounder into its images"),
    ],
)
def test_what_cannot_be_run_is_refused_in_one_line(
    screen: Callable[..., Path], overrides: dict[str, Any], told: str
) -> None:
    with pytest.raises(Exception) as caught:  # MONAI wraps what its expressions raise
        screen(**overrides)
    mistake = find_input_error(caught.value)
    assert isinstance(mistake, InputError) and told in str(mistake)
