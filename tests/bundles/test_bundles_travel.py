"""A copy of a bundle runs wherever it lies, and is what Project-MONAI's model zoo asks for."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from click.testing import CliRunner
from monai.bundle import ConfigParser, ckpt_export, create_workflow, verify_metadata, verify_net_in_out

from srcmatters.cli import command
from srcmatters.packaged_bundles import bundle_names, bundles_folder, copy_bundle, study_names

REPOSITORY = Path(__file__).parents[2]
SMALL: dict[str, Any] = {
    "source": "random",
    "network": "resnet10",
    "image_size": 32,
    "max_epochs": 1,
    "batch_size": 8,
    "num_workers": 0,
    "tracking_uri": "",
    "device": "cpu",
}
FOLDS = {"num_folds": 3, "validation_folds": 3, "p_art": 1.0}


@pytest.fixture
def copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Path:
    """The bundle of the test's parameter, copied to a folder that is the working directory."""
    folder = copy_bundle(request.param, tmp_path / "somewhere" / "else")
    monkeypatch.chdir(folder)
    return folder


def _run(config: str, run_id: str, **overrides: Any) -> None:
    create_workflow(config_file=config, run_id=run_id, logging_file=False, **overrides).run()


@pytest.mark.parametrize(
    ("copied", "cohort"),
    [("ct_volume_classification", "ct_cohort"), ("source_pretraining", "radiograph_cohort")],
    indirect=["copied"],
)
def test_a_copy_trains_from_its_own_folder(copied: Path, cohort: str, request: pytest.FixtureRequest) -> None:
    folder = request.getfixturevalue(cohort)
    own = FOLDS if "classification" in cohort or cohort == "ct_cohort" else {"validation_folds": 3}
    _run("configs/train.yaml", "training", dataset_dir=str(folder), **SMALL, **own)
    assert list((copied / "mlruns").rglob("config.yaml")), "results lie where the command was given"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("copied", "cohort_name"),
    [("xray_classification", "radiograph_cohort"), ("ct_slice_classification", "ct_cohort")],
    indirect=["copied"],
)
def test_the_other_copies_train_from_their_own_folder(
    copied: Path, cohort_name: str, request: pytest.FixtureRequest
) -> None:
    cohort = request.getfixturevalue(cohort_name)
    _run("configs/train.yaml", "training", dataset_dir=str(cohort), force=True, **SMALL, **FOLDS)
    assert list((copied / "mlruns").rglob("predictions.csv"))


@pytest.mark.parametrize("copied", ["source_pretraining"], indirect=True)
def test_the_features_of_a_source_are_written_for_every_image(copied: Path, radiograph_cohort: Path) -> None:
    settings = {"source": "random", "network": "resnet10", "image_size": 32, "device": "cpu"}
    _run("configs/inference.yaml", "run", dataset_dir=str(radiograph_cohort), **settings)
    written = np.load(copied / "mlruns" / "outputs" / "features" / "features.npz")
    assert written["features"].shape == (48, 512) and written["features"].dtype == np.float32
    assert len(set(written["image"])) == 48
    assert np.ptp(written["features"], axis=0).max() > 0


@pytest.mark.parametrize("name", bundle_names())
def test_a_bundle_passes_the_checks_of_the_model_zoo(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = copy_bundle(name, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    meta = folder / "configs" / "metadata.json"
    metadata = json.loads(meta.read_text())
    assert (folder / "LICENSE").is_file() and (folder / "docs" / "README.md").is_file()
    assert metadata["version"] in metadata["changelog"]
    assert metadata["required_packages_version"]["srcmatters"]
    assert yaml.safe_load((folder / "large_files.yml").read_text()) == {"large_files": []}
    verify_metadata(meta_file=str(meta), filepath=str(bundles_folder() / "metadata_schema.json"))
    common = {
        "net_id": "network_def",
        "meta_file": str(meta),
        "config_file": str(folder / "configs" / "inference.yaml"),
        "bundle_root": str(folder),
    }
    verify_net_in_out(**common, device="cpu")
    parser = ConfigParser()
    parser.read_config(common["config_file"])
    parser["bundle_root"] = str(folder)
    (folder / "models").mkdir()
    weights = parser.get_parsed_content("network_def").state_dict()
    torch.save(weights, folder / "models" / "model.pt")
    script = folder / "models" / "model.ts"
    ckpt_export(filepath=str(script), ckpt_file=str(folder / "models" / "model.pt"), **common)
    torch.jit.load(script)


def test_bundles_and_their_studies_are_listed_and_copied(tmp_path: Path) -> None:
    listed = CliRunner().invoke(command, ["bundles", "list"])
    assert listed.exit_code == 0
    assert set(bundle_names()) <= {line.partition(":")[0] for line in listed.output.splitlines()}
    assert {f"srcmatters study run {name} --dataset_dir DIR" for name in study_names()} <= {
        line.strip() for line in listed.output.splitlines()
    }
    copied = CliRunner().invoke(command, ["bundles", "copy", "xray_classification", str(tmp_path / "b")])
    assert copied.exit_code == 0 and (tmp_path / "b" / "configs" / "train.yaml").is_file()
    again = CliRunner().invoke(command, ["bundles", "copy", "xray_classification", str(tmp_path / "b")])
    assert "exists already" in str(again.exception)
    other = CliRunner().invoke(command, ["bundles", "copy", "xray_clasification", str(tmp_path / "c")])
    assert "did you mean 'xray_classification'" in str(other.exception)


def test_a_study_of_a_bundle_is_planned_by_its_name_from_anywhere(
    radiograph_cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    line = ["study", "plan", "xray_classification/quick", "--dataset_dir", str(radiograph_cohort)]
    planned = CliRunner().invoke(command, line)
    assert planned.exit_code == 0, planned.exception
    wrong = CliRunner().invoke(command, ["study", "plan", "xray_classification/quik"])
    assert "did you mean 'xray_classification/quick'" in str(wrong.exception)


@pytest.mark.slow
def test_a_wheel_trains_in_an_empty_environment(tmp_path: Path, radiograph_cohort: Path) -> None:
    """What a user without a checkout has: the wheel, and the pinned packages."""
    shutil.copytree(
        REPOSITORY,
        tmp_path / "source",
        ignore=shutil.ignore_patterns(".git", ".venv", "mlruns", "__pycache__", ".*_cache"),
    )
    environment = tmp_path / "environment"
    subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)
    python, tool = environment / "bin" / "python", environment / "bin" / "srcmatters"
    pip = [str(python), "-m", "pip", "--quiet", "--disable-pip-version-check"]
    wheels = tmp_path / "wheels"
    subprocess.run([*pip, "wheel", "--no-deps", "-w", str(wheels), str(tmp_path / "source")], check=True)
    wheel = next(wheels.glob("srcmatters-*.whl"))
    subprocess.run([*pip, "install", "-c", str(REPOSITORY / "constraints.txt"), str(wheel)], check=True)
    work = tmp_path / "work"
    work.mkdir()
    subprocess.run([str(tool), "bundles", "copy", "xray_classification", "mine"], cwd=work, check=True)
    settings = {**SMALL, **FOLDS, "dataset_dir": str(radiograph_cohort)}
    words = [word for name, value in settings.items() for word in (f"--{name}", str(value))]
    train = [str(python), "-m", "monai.bundle", "run", "training", "--config_file", "configs/train.yaml"]
    done = subprocess.run([*train, *words], cwd=work / "mine", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert list((work / "mine" / "mlruns").rglob("predictions.csv"))
    line = [str(tool), "study", "run", "xray_classification/quick", "--depth", "screen", "--tracking_uri", ""]
    line += ["--dataset_dir", str(radiograph_cohort), "--source", "random", "--network", "resnet10"]
    line += ["--image_size", "32", "--confounder", "tag", "--p_art", "0,1", "--fold", "0"]
    done = subprocess.run(line, cwd=work, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert (work / "mlruns" / "studies" / "quick" / "report.html").is_file()
