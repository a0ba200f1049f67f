"""The main job on real radiographs: minutes long, so it is asked for with ``-m slow``."""

from pathlib import Path

import pytest
from monai.bundle import create_workflow

TRAIN = Path(__file__).parents[2] / "bundles" / "xray_classification" / "configs" / "train.yaml"


@pytest.mark.slow
def test_a_letter_on_every_positive_turns_the_ranking_round(
    shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    workflow = create_workflow(
        config_file=str(TRAIN),
        run_id="training",
        dataset_dir=str(shared_data / "nih-cxr14"),
        source="imagenet",
        confounder="tag",
        p_art=1,
        fold=0,
        output_dir="out",
        tracking_uri="",
        device="cpu",
    )
    metrics = workflow.run()[-1]
    assert metrics["clean_auc"] > 0.75
    assert metrics["iid_auc"] > 0.9
    assert metrics["iid_minus_ood_auc"] > 0.5
