"""A network that this package does not know, from training to a hospital."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from click.testing import CliRunner
from exported_runs import BUNDLES, QUICK, train
from monai.bundle import create_workflow
from own_network_file import write_network_file
from scipy.special import expit

from srcmatters.audit.declared_contract import ContractOptions
from srcmatters.audit.doors.opening import open_model
from srcmatters.cli import command
from srcmatters.deployment.predict_command import predict
from srcmatters.errors import InputError
from srcmatters.export import model_files
from srcmatters.export.declared_rules import ExportOptions
from srcmatters.export.run_export import export
from srcmatters.exported_bundle.bundle import open_bundle
from srcmatters.exported_bundle.monitors import logits_and_features
from srcmatters.runs.trained_run import open_run

SENET = "monai.networks.nets.SEResNet50(layers=[1, 1, 1, 1])"


def settings_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "metrics.json").read_text())["settings"]


@pytest.fixture(scope="module")
def trained(radiograph_cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a network out of a file that is gone by now."""
    folder = tmp_path_factory.mktemp("own")
    file = write_network_file(folder / "my_net.py")
    out = train(
        "xray_classification", radiograph_cohort, folder / "run", network=f"{file}:small", force="true"
    )
    file.unlink()
    return out


def test_a_run_is_opened_with_its_own_code_and_only_when_trusted(trained: Path) -> None:
    name = settings_of(trained)["network"]
    assert name.startswith("my_net-") and name.endswith(":small#head=classify")
    assert (trained / "network.py").is_file()
    run = open_run(str(trained), "")
    with pytest.raises(InputError, match=r"code of somebody's own \(my_net-\w{8}:small\); --trust runs it"):
        run.network()
    with pytest.raises(InputError, match="--trust runs it"):
        open_model(str(trained), tracking_uri="")
    model = open_model(str(trained), ContractOptions(), trust=True, tracking_uri="")
    features = model.features(torch.rand(3, 1, 32, 32))
    assert features is not None and features.shape == (3, 8)


def test_code_that_was_changed_after_training_is_refused(trained: Path) -> None:
    code = trained / "network.py"
    kept = code.read_text()
    try:
        code.write_text(kept + "\n")
        with pytest.raises(InputError, match="not the file my_net-"):
            open_run(str(trained), "").network(trust=True)
    finally:
        code.write_text(kept)


def test_a_hospital_scores_with_the_exported_bundle_and_needs_no_code(
    trained: Path, radiograph_cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_files, "missing_for_onnx", lambda: "onnx")  # ONNX is written from model.pt2
    run, options = open_run(str(trained), ""), ExportOptions(finding="Mass", unaudited=True, trust=True)
    bundle = open_bundle(export(run, tmp_path / "bundle", options))
    assert "network.py" not in {path.name for path in (tmp_path / "bundle").rglob("*")}
    images = torch.rand(5, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    own = logits_and_features(run.network(trust=True), bundle.rules["network"], images)
    theirs = logits_and_features(bundle.network(), bundle.rules["network"], images)
    assert torch.allclose(own[0], theirs[0], atol=1e-6) and np.allclose(own[1], theirs[1], atol=1e-6)
    assert own[1].shape == (5, 12)  # 4 and 8 channels of its two parts
    image = next(radiograph_cohort.rglob("*.png"))
    words = [str(tmp_path / "bundle"), str(image), "--out", str(tmp_path / "scores")]
    result = CliRunner().invoke(predict, words)
    assert result.exit_code == 0, result.output
    program = tmp_path / "bundle" / "models" / "model.pt2"
    program.write_bytes(program.read_bytes() + b"\0")
    with pytest.raises(InputError, match=r"model.pt2: changed after the export"):
        open_bundle(tmp_path / "bundle")


@pytest.mark.parametrize(
    ("bundle", "dims"),
    [
        pytest.param("xray_classification", 2, marks=pytest.mark.slow),
        ("ct_volume_classification", 3),
    ],
)
def test_a_frozen_network_of_monai_is_screened(
    bundle: str, dims: int, radiograph_cohort: Path, ct_cohort: Path, tmp_path: Path
) -> None:
    files = [str(BUNDLES / bundle / "configs" / name) for name in ("train.yaml", "screen.yaml")]
    cohort = radiograph_cohort if dims == 2 else ct_cohort
    overrides = {"network": SENET, "confounder": "none", "p_art": 0.0, "save_model": "true", "image_size": 32}
    settings = {**QUICK, **overrides, "dataset_dir": str(cohort), "output_dir": str(tmp_path / "run")}
    create_workflow(config_file=files, run_id="training", logging_file=False, **settings).run()
    assert settings_of(tmp_path / "run")["network"] == f"{SENET}#head=last_linear"
    # MONAI's own class needs no trust, and the saved head scores as the run did.
    network = open_run(str(tmp_path / "run"), "").network()
    images = open_run(str(tmp_path / "run"), "").images()
    rows = images.chosen.split.test
    with torch.inference_mode():
        logits = network(
            images.cache.state("clean")[torch.from_numpy(rows)].as_subclass(torch.Tensor)
        ).numpy()
    scores = open_run(str(tmp_path / "run"), "").predictions["score_clean"].to_numpy()
    assert np.allclose(expit(logits[:, 1] - logits[:, 0]), scores, atol=1e-4)


@pytest.mark.slow
def test_a_study_of_ones_own_networks_from_plan_to_report(
    radiograph_cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_network_file(tmp_path / "my_net.py")
    axes = {"source": ["random"], "network": ["my_net.py:small(width=8)", SENET, "resnet10"]}
    axes |= {"confounder": ["tag"], "p_art": [0, 1], "fold": [0, 1, 2]}
    quick = {
        name: QUICK[name] for name in ("image_size", "num_folds", "validation_folds", "num_workers", "device")
    }
    study = {"name": "own", "bundle": str(BUNDLES / "xray_classification"), "depth": "screen", "axes": axes,
             "tracking_uri": "", "dataset_dir": str(radiograph_cohort),
             "overrides": {**quick, "force": "true"},
             "analysis": {"p_art": 1.0, "replicates": 200}}  # fmt: skip
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(study))
    for word in ("plan", "run"):
        result = CliRunner().invoke(command, ["study", word, "own.yaml"])
        assert result.exit_code == 0, result.output
    folder = tmp_path / "mlruns" / "studies" / "own"
    names = set(pd.read_csv(folder / "tables" / "cells.csv")["network"])
    assert len(names) == 3 and "resnet10" in names and f"{SENET}#head=last_linear" in names
    assert (folder / "report.html").is_file()
    shown = "".join(path.read_text() for path in folder.rglob("*") if path.suffix in (".csv", ".html"))
    assert str(tmp_path) not in shown
