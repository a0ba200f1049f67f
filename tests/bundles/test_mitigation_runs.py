"""Arms and further confounders in the bundle: what ran is recorded, and who may be tested is checked."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
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

    def run(
        names: Sequence[str] = ("train.yaml", "screen.yaml"), folder: str = "run", **overrides: Any
    ) -> Path:
        places = {"dataset_dir": str(radiograph_cohort), "output_dir": str(tmp_path / folder)}
        files = [str(CONFIGS / name) for name in names]
        workflow = ConfigWorkflow(
            files,
            workflow_type="train",
            run_id="training",
            logging_file=False,
            **{**SMALL, **places, **overrides},
        )
        workflow.initialize()
        workflow.run()
        return tmp_path / folder

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


@pytest.mark.slow
def test_an_arm_of_all_weights_is_recorded_and_its_network_kept(screen: Callable[..., Path]) -> None:
    quick = {"max_epochs": 1, "batch_size": 16, "tested": ["denoise"], "image_size": 32, "log_images": False}
    arms = ("none", "balanced", "augment", "paired", "dfr")
    folders = {arm: screen(names=("train.yaml",), folder=arm, mitigation=arm, **quick) for arm in arms}
    weights = {arm: torch.load(folder / "model.pt", weights_only=True) for arm, folder in folders.items()}
    for arm, folder in folders.items():
        record = json.loads((folder / "metrics.json").read_text())
        assert record["settings"]["mitigation"] == arm
        assert set(pd.read_csv(folder / "transfer.csv")["tested"]) == {"denoise"}
        changed = {
            name for name, tensor in weights["none"].items() if not torch.equal(tensor, weights[arm][name])
        }
        if arm == "dfr":
            assert changed == {"1.fc.weight", "1.fc.bias"}
        else:
            assert (len(changed) > 10) == (arm != "none")


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        ({"mitigation": "pared"}, "mitigation: 'pared' is unknown: did you mean 'paired'"),
        ({"mitigation": "balanced", "p_neg": 0}, "expected p_neg between 0 and 1"),
        ({"mitigation": "groupdro", "names": ("train.yaml",)}, "is an arm of the screen depth"),
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
