"""A bundle answers to the images of its own test as the run that it was exported from did."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from exported_runs import train

from srcmatters.cohorts import read_cases
from srcmatters.cohorts.phantom_cohort import write_phantom_cohort
from srcmatters.deployment.prediction.predictor import Predictor
from srcmatters.export import model_files
from srcmatters.export.declared_rules import ExportOptions
from srcmatters.export.run_export import export
from srcmatters.exported_bundle.bundle import open_bundle
from srcmatters.runs.prediction_table import log_odds
from srcmatters.runs.trained_run import open_run

XRAY, SLICE, VOLUME = "xray_classification", "ct_slice_classification", "ct_volume_classification"
_CT = {"confounder": "kernel", "force": True}
_SETTINGS = {XRAY: {"confounder": "tag"}, SLICE: _CT | {"patch_mm": 32}, VOLUME: _CT | {"patch_mm": 20}}
_NETWORKS = {
    XRAY: ("resnet10", "resnet18", "densenet121", "efficientnet_lite0"),
    SLICE: ("resnet10", "densenet121", "efficientnet_lite0"),
    VOLUME: ("resnet10", "densenet121"),
}
_PLAIN = ExportOptions(data=False, calibration="none")  # a fitted temperature may hide all differences
_QUICK = [(XRAY, "resnet10"), (SLICE, "resnet10")]
_CASES = [
    pytest.param(*case, marks=() if case in _QUICK else pytest.mark.slow)
    for case in ((bundle, network) for bundle, networks in _NETWORKS.items() for network in networks)
]


@pytest.fixture(scope="module")
def cohorts(ct_cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Radiographs, and CT without positions: training, too, looks at the middle of each scan."""
    base = tmp_path_factory.mktemp("cohorts")
    write_phantom_cohort(base / "films", patients=12, file_format="dicom", image_size=64, difficulty=0.0)
    shutil.copytree(ct_cohort, base / "ct")
    table = pd.read_csv(base / "ct" / "cases.csv", dtype=str)
    table.drop(columns=["x_mm", "y_mm", "z_mm"]).to_csv(base / "ct" / "cases.csv", index=False)
    return {XRAY: base / "films", SLICE: base / "ct", VOLUME: base / "ct"}


@pytest.mark.parametrize(("bundle", "network"), _CASES)
def test_prediction_repeats_the_test_of_the_run(
    bundle: str, network: str, cohorts: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_files, "_WRITERS", {"model.pt": model_files._WRITERS["model.pt"]})
    cohort = cohorts[bundle]
    # From random weights an epoch leaves its running statistics so far behind that it tells no images apart.
    source = "imagenet" if network == "efficientnet_lite0" else "random"
    settings = _SETTINGS[bundle] | {"network": network, "source": source, "target": "phantom"}
    run = train(bundle, cohort, tmp_path / "run", **settings)
    folder = export(open_run(str(run), ""), tmp_path / "bundle", _PLAIN)
    tested = open_run(str(run), "").predictions
    cases = read_cases(cohort).set_index("case_id")
    paths = [Path(str(path)) for path in cases.loc[tested["case_id"], "image"]]
    with Predictor(open_bundle(folder)) as predictor:
        expected = predictor.bundle.calibrate(log_odds(tested["score_clean"]))
        answers = list(predictor.predict(paths))
    assert [answer.item.path for answer in answers] == paths
    assert {answer.status for answer in answers} <= {"predicted", "flagged"}
    spread = np.std(expected)  # small where an epoch has taught a network little
    assert len(paths) > 3 and spread > 1e-5
    probabilities = [answer.probability for answer in answers]
    np.testing.assert_allclose(probabilities, expected, rtol=0, atol=min(1e-4, 1e-6 + 0.02 * spread))
