"""Pairs of confounders in the bundles: one table of four states at both depths, and what refuses a pair."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from monai.bundle import ConfigWorkflow

from srcmatters.errors import InputError, find_input_error
from srcmatters.evaluation.four_states import ENVIRONMENTS
from srcmatters.runs.prediction_table import read_predictions

BUNDLES = Path(__file__).parents[2] / "bundles"
LARGE = {"height": 0.5, "position": [0.1, 0.1]}
PAIR = {"tag": LARGE, "carriers": "independent", "p_art_second": 0.5}
SMALL: dict[str, Any] = {
    "source": "random",
    "network": "resnet18",
    "image_size": 64,
    "confounder": "tag+noise",
    "confounder_args": PAIR,
    "p_art": 0.8,
    "num_folds": 3,
    "validation_folds": 3,
    "num_workers": 0,
    "device": "cpu",
    "tracking_uri": "",
    "force": True,
}
Run = Callable[..., Path]
SCREEN, FINETUNE = ("train.yaml", "screen.yaml"), ("train.yaml",)


@pytest.fixture
def run(tmp_path: Path, radiograph_cohort: Path) -> Run:
    """Run a bundle; the folder of the run."""

    def ran(
        folder: str = "run",
        names: tuple[str, ...] = SCREEN,
        bundle: str = "xray_classification",
        **overrides: Any,
    ) -> Path:
        places = {"dataset_dir": str(radiograph_cohort), "output_dir": str(tmp_path / folder)}
        files = [str(BUNDLES / bundle / "configs" / name) for name in names]
        settings = {**SMALL, **places, **overrides}
        workflow = ConfigWorkflow(
            files, workflow_type="train", run_id="training", logging_file=False, **settings
        )
        workflow.initialize()
        workflow.run()
        return tmp_path / folder

    return ran


def test_a_screened_pair_agrees_with_the_single_confounders(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    record = json.loads((run() / "metrics.json").read_text())
    shown = " ".join(capsys.readouterr().out.split())
    assert "tag on 80%, noise on 50% of the positives, independent" in shown
    assert "noise reversed, AUC" in shown and "both correlations reversed" in shown
    assert {f"{name}_auc" for name in ENVIRONMENTS} <= set(record)
    assert record["realised_p_art_second_train"] == pytest.approx(0.5, abs=0.07)
    table = pd.read_csv(run(folder="again", overwrite=True) / "predictions.csv")
    # Nobody carries the noise: what is learnt is the single confounder's, and so is the table.
    alone = run(folder="alone", confounder="tag", confounder_args=LARGE) / "predictions.csv"
    marginal = run(folder="marginal", confounder_args={**PAIR, "p_art_second": 0}) / "predictions.csv"
    single, pair = pd.read_csv(alone), pd.read_csv(marginal)
    assert np.array_equal(single["score_clean"], pair["score_clean"])
    assert np.array_equal(single["score_confounded"], pair["score_first"])
    assert np.array_equal(single["carries"], pair["carries_first"]) and not pair["carries_second"].any()
    assert np.array_equal(table["carries_first"], single["carries"])
    assert np.abs(table["score_both"] - table["score_first"]).max() > 1e-4
    with pytest.raises(InputError, match="the four states of a pair of confounders"):
        read_predictions(marginal)


def test_an_arm_treats_the_first_and_untreated_confounders_are_tested(run: Run) -> None:
    settings = {"p_neg": 0.2, "tested": [{"name": "tag", "args": LARGE}, "denoise"]}
    folder = run(mitigation="paired", **settings)
    none = pd.read_csv(run(folder="none", **settings) / "predictions.csv")
    paired, transfer = (pd.read_csv(folder / name) for name in ("predictions.csv", "transfer.csv"))
    own = transfer[transfer["tested"] != "denoise"].reset_index(drop=True)
    assert np.array_equal(own["score_confounded"], paired["score_first"])

    def effect(table: pd.DataFrame) -> float:
        return float((table["score_first"] - table["score_clean"]).abs().mean())

    assert effect(paired) < effect(none) / 2


@pytest.mark.parametrize(
    "arm", ["paired", *(pytest.param(arm, marks=pytest.mark.slow) for arm in ("none", "dfr"))]
)
def test_a_fine_tuned_pair_has_the_same_table(run: Run, arm: str) -> None:
    quick = {"max_epochs": 1, "batch_size": 16, "image_size": 32, "log_images": False, "p_neg": 0.2}
    folder = run(names=FINETUNE, mitigation=arm, adaptation="lp_ft", **quick)
    table = pd.read_csv(folder / "predictions.csv")
    scores = table[[f"score_{state}" for state in ("clean", "first", "second", "both")]]
    assert scores.nunique(axis=1).eq(4).mean() > 0.9
    assert (folder / "model.pt").is_file()


def test_volumes_take_a_pair(run: Run, ct_cohort: Path) -> None:
    folder = run(
        bundle="ct_volume_classification",
        network="resnet10",
        dataset_dir=str(ct_cohort),
        confounder="exposure+denoise",
        confounder_args={},
        image_size=32,
    )
    table = pd.read_csv(folder / "predictions.csv")
    assert np.array_equal(table["carries_first"], table["carries_second"]) and len(table)


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        ({"confounder": "tag+nois"}, "did you mean 'noise'"),
        ({"confounder_args": {"carriers": "complementary"}}, "expected shares that add up to 1 at most"),
        ({"confounder_args": {"height": 0.5}}, "tag+noise takes no 'height'"),
        ({"protocol": "paper"}, "the publication has no pairs"),
        ({"tested": ["tag+noise"]}, "is a pair, which only training runs and studies take"),
    ],
)
def test_what_cannot_be_run_is_refused_in_one_line(run: Run, overrides: dict[str, Any], told: str) -> None:
    with pytest.raises(Exception) as caught:  # MONAI wraps what its expressions raise
        run(**overrides)
    mistake = find_input_error(caught.value)
    assert isinstance(mistake, InputError) and told in str(mistake) and "\n" not in str(mistake)
