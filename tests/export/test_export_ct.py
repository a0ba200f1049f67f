"""CT leaves as radiographs do: parts of MONAI alone cut the patch that the training has seen."""

from __future__ import annotations

import json
import traceback
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from exported_runs import BUNDLES, train
from monai.bundle import create_workflow

from srcmatters.cohorts import read_cases
from srcmatters.deployment.prediction.predictor import Predictor
from srcmatters.export import model_files
from srcmatters.export.command import export as command
from srcmatters.export.run_export import export
from srcmatters.exported_bundle.bundle import open_bundle
from srcmatters.images import load_ct, window
from srcmatters.preprocessing.patches import ResamplePatchd
from srcmatters.runs.prediction_table import log_odds
from srcmatters.runs.trained_run import open_run


@pytest.mark.parametrize(
    ("bundle", "patch_mm"), [("ct_slice_classification", 32), ("ct_volume_classification", 20)]
)
def test_candidates_get_the_scores_that_this_package_gives_them(
    bundle: str, patch_mm: int, ct_cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(BUNDLES.parent)  # the CT bundles share files with the one of radiographs
    needed = {name: model_files._WRITERS[name] for name in ("model.pt", "model.ts")}
    monkeypatch.setattr(model_files, "_WRITERS", needed)
    run = train(
        bundle,
        ct_cohort,
        tmp_path / "run",
        confounder="kernel",
        force=True,
        target="phantom",
        patch_mm=patch_mm,
    )
    exported = export(open_run(str(run), ""), tmp_path / "bundle")
    opened = open_bundle(exported)
    assert opened.rules["unit"] == "HU" and opened.rules["spatial_dims"] == (2 if "slice" in bundle else 3)
    assert opened.rules["patch_mm"] == patch_mm and opened.rules["input"]["spacing_mm"] is not None
    assert opened.rules["trained"]["balanced"] and abs(opened.rules["calibration"]["bias"]) > 1e-3
    common = {"dataset_dir": str(ct_cohort), "cases": "cases.csv", "device": "cpu"}
    _score(exported, bundle_root=str(exported), output_dir=str(tmp_path / "theirs"), **common)
    trained = {"image_size": 32, "network": "resnet10", "slab_mm": 0, "patch_mm": patch_mm}
    ours = tmp_path / "ours"
    _score(BUNDLES / bundle, ckpt=str(run / "model.pt"), output_dir=str(ours), **trained, **common)
    theirs = pd.read_csv(tmp_path / "theirs" / "scores.csv", names=["candidate", "probability", "decision"])
    cases = pd.read_csv(ct_cohort / "cases.csv", dtype=str)
    names = cases[["image", "x_mm", "y_mm", "z_mm"]].agg(" ".join, axis=1)
    expected = opened.calibrate(log_odds(pd.read_csv(ours / "scores.csv")["probability"]))
    scores = theirs.set_index("candidate").loc[names, "probability"].to_numpy()
    np.testing.assert_allclose(scores, expected, atol=1e-4)
    assert np.std(expected) > 1e-3


def test_a_network_of_grey_patches_does_not_score_hu(
    ct_cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(BUNDLES.parent)
    needed = {name: model_files._WRITERS[name] for name in ("model.pt", "model.ts")}
    monkeypatch.setattr(model_files, "_WRITERS", needed)
    cohort = _grey(ct_cohort, tmp_path / "grey")
    run = train(
        "ct_slice_classification",
        cohort,
        tmp_path / "run",
        unit="display",
        confounder="kernel",
        force=True,
        target="phantom",
    )
    exported = tmp_path / "bundle"
    done = CliRunner().invoke(command, [str(run), "--to", str(exported), "--no-register"])
    assert done.exit_code == 0 and "will refuse CT in HU" in done.stderr, done.output
    for name in ("README.md", "model_card.html"):
        assert "8-bit grey values" in (exported / "docs" / name).read_text()
    metadata = json.loads((exported / "configs" / "metadata.json").read_text())
    assert metadata["network_data_format"]["inputs"]["image"]["format"] == "magnitude"
    common = {"bundle_root": str(exported), "output_dir": str(tmp_path / "theirs"), "device": "cpu"}
    _score(exported, dataset_dir=str(cohort), **common)
    scores = pd.read_csv(tmp_path / "theirs" / "scores.csv", names=["image", "probability", "decision"])
    with Predictor(open_bundle(exported)) as predictor:
        expected = {str(answer.item.path): answer.probability for answer in predictor.predict([cohort])}
        assert len(expected) == len(scores) == len(read_cases(cohort))
        np.testing.assert_allclose(
            scores["probability"], [expected[str(p)] for p in scores["image"]], atol=1e-4
        )
        (refused,) = predictor.predict([next((ct_cohort / "images").glob("*.nii.gz"))])
    assert refused.status == "refused" and "expected 8-bit grey values; HU need" in refused.reasons[0]
    with pytest.raises(RuntimeError) as caught:
        _score(exported, dataset_dir=str(ct_cohort), **common)
    message = "".join(traceback.format_exception(caught.value))
    assert ".nii.gz: values from -1" in message and "expected 8-bit grey values, not HU" in message


def _grey(ct_cohort: Path, folder: Path) -> Path:
    """The phantoms as 8-bit patches without position."""
    folder.mkdir()
    cases = read_cases(ct_cohort)
    cut = ResamplePatchd("image", (48, 48, 6), (72, 72, 15))
    for row, case in enumerate(cases.to_dict("records")):
        patch = cut({**case, "image": window(load_ct(case["image"]), "lung")})["image"][0]
        grey = (patch.permute(1, 0, 2) * 255).round().numpy().astype(np.uint8)
        nibabel.save(nibabel.Nifti1Image(grey, np.diag([-1.5, -1.5, 2.5, 1])), folder / f"{row}.nii.gz")
    table = cases.drop(columns=["x_mm", "y_mm", "z_mm", "case_id"])
    table["image"] = [f"{row}.nii.gz" for row in range(len(table))]
    table.to_csv(folder / "cases.csv", index=False)
    return folder


def _score(folder: Path, **overrides: object) -> None:
    create_workflow(
        config_file=str(folder / "configs" / "inference.yaml"),
        meta_file=str(folder / "configs" / "metadata.json"),
        run_id="run",
        logging_file=False,
        **overrides,
    ).run()
