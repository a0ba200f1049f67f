"""An exported model in the MLflow registry: signed, linked to its run, found again, without names."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import onnx
import pydicom
import pytest
import torch
from click.testing import CliRunner, Result
from exported_runs import BUNDLES, train

from srcmatters.cohorts.phantom_cohort import write_phantom_cohort
from srcmatters.errors import InputError
from srcmatters.export import model_files
from srcmatters.export.command import export
from srcmatters.export.declared_rules import ExportOptions
from srcmatters.exported_bundle.bundle import open_bundle
from srcmatters.runs.trained_run import TrainedRun, open_run

XRAY, VOLUME = "xray_classification", "ct_volume_classification"
NAME = {XRAY: "Mass on radiographs", VOLUME: "Mass on CT volumes"}


@dataclass(frozen=True)
class Registered:
    """Two tracked runs, each exported and registered by default."""

    base: Path

    @property
    def uri(self) -> str:
        return f"sqlite:///{self.base}/store/mlflow.db"

    @property
    def client(self) -> mlflow.MlflowClient:
        return mlflow.MlflowClient(self.uri)

    def version(self, kind: str) -> Any:
        return self.client.get_model_version_by_alias(NAME[kind], "audited")

    def run_id(self, kind: str) -> str:
        (run,) = self.client.search_runs([self.client.get_experiment_by_name(kind).experiment_id])
        return run.info.run_id


def _export(*arguments: object) -> Result:
    return CliRunner().invoke(export, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def quick_files() -> Any:
    """No TorchScript, the registry gets the ONNX model."""
    needed = {name: model_files._WRITERS[name] for name in ("model.pt", "model.pt2", "model.onnx")}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(BUNDLES.parent)
        patch.setattr(model_files, "_WRITERS", needed)
        yield


@pytest.fixture(scope="module")
def registered(quick_files: None, ct_cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> Registered:
    registry = Registered(tmp_path_factory.mktemp("registered"))
    cohort = registry.base / "cohort-of-mrs-secret"
    write_phantom_cohort(cohort, patients=24, file_format="dicom", image_size=64, difficulty=0.0)
    common = {"target": "phantom", "tracking_uri": registry.uri, "system_metrics": False}
    train(XRAY, cohort, registry.base / "runs" / XRAY, confounder="tag", **common)
    common |= {"confounder": "kernel", "force": True, "patch_mm": 20}
    train(VOLUME, ct_cohort, registry.base / "runs" / VOLUME, **common)
    for kind in (XRAY, VOLUME):
        place = registry.base / "runs" / kind
        done = _export(
            place, "--to", registry.base / f"b_{kind}", "--finding", "Mass", "--tracking_uri", registry.uri
        )
        assert done.exit_code == 0, done.output
        assert f"registered in MLflow as {NAME[kind]}/1, {NAME[kind]}@audited" in done.output
    return registry


@pytest.fixture
def exported_before(registered: Registered, monkeypatch: pytest.MonkeyPatch) -> None:
    """An export gives the radiographs' bundle as it was made once: what comes after it is under test."""

    def copy(run: TrainedRun, to: Path, options: ExportOptions) -> None:
        shutil.copytree(registered.base / f"b_{XRAY}", to)

    monkeypatch.setattr("srcmatters.export.run_export.export", copy)


@pytest.mark.parametrize(("kind", "dims"), [(XRAY, 2), (VOLUME, 3)])
def test_a_registered_model_is_signed_and_computes_what_the_bundle_does(
    registered: Registered, kind: str, dims: int
) -> None:
    mlflow.set_tracking_uri(registered.uri)
    model = mlflow.pyfunc.load_model(f"models:/{NAME[kind]}@audited")
    (expected_input,), (made,) = model.metadata.signature.inputs, model.metadata.signature.outputs
    assert (expected_input.name, expected_input.type, expected_input.shape) == (
        "image",
        np.dtype("float32"),
        (-1, 1, *[32] * dims),
    )
    assert (made.name, made.type, made.shape) == ("logits", np.dtype("float32"), (-1, 2))
    images = open_run(str(registered.base / "runs" / kind), "").images().as_trained("test")
    images = images.as_subclass(torch.Tensor)[:3]
    with torch.inference_mode():
        own = open_bundle(registered.base / f"b_{kind}").network()(images).numpy()
    assert own.std() > 1e-3
    logits = model.predict({"image": images.numpy()})["logits"]
    np.testing.assert_allclose(logits, own, atol=1e-4)
    with pytest.raises(mlflow.exceptions.MlflowException, match="shape"):
        model.predict({"image": images.numpy()[..., :16]})


@pytest.mark.parametrize("kind", [XRAY, VOLUME])
def test_a_version_says_what_it_is_and_where_it_comes_from(registered: Registered, kind: str) -> None:
    version, run_id = registered.version(kind), registered.run_id(kind)
    folder = registered.base / f"b_{kind}"
    rules, card = (
        json.loads((folder / name).read_text()) for name in ("configs/clinical.json", "docs/model_card.json")
    )
    assert version.run_id == run_id == card["mlflow_run"] == rules["mlflow_run"]
    assert version.tags["srcmatters.threshold"] == f"{rules['threshold']['value']:.4f}"
    assert version.tags["srcmatters.audited"] == "True"
    assert version.tags["srcmatters.calibration"] == "temperature"
    for statement in (
        card["summary"],
        "**Audited** on this network",
        rules["audit"]["tested"][0]["confounder"],
    ):
        assert statement in version.description
    assert card["name"] in registered.client.get_registered_model(NAME[kind]).description
    run = registered.client.get_run(run_id)
    assert run.info.status == "FINISHED" and [one.model_id for one in run.outputs.model_outputs]
    mlflow.set_tracking_uri(registered.uri)
    docs = Path(mlflow.artifacts.download_artifacts(f"models:/{NAME[kind]}/1")) / "docs"
    names = {path.name for path in docs.iterdir()}
    assert names >= {"model_card.html", "model_card.json", "README.md", "checklist.md"}
    assert json.loads((docs / "model_card.json").read_text())["summary"] == card["summary"]


def test_another_export_of_a_run_is_a_new_version_that_takes_the_alias(
    registered: Registered, exported_before: None, tmp_path: Path
) -> None:
    place, run_id = registered.base / "runs" / XRAY, registered.run_id(XRAY)
    for number in (1, 2):
        words = ("--to", tmp_path / f"{number}", "--register", "again", "--tracking_uri", registered.uri)
        done = _export(place, *words)
        assert done.exit_code == 0, done.output
        assert str(registered.client.get_model_version_by_alias("again", "audited").version) == str(number)
    versions = registered.client.search_model_versions("name='again'")
    assert {str(version.version): version.run_id for version in versions} == {"1": run_id, "2": run_id}


def test_a_model_is_exported_by_its_name(registered: Registered) -> None:
    place = registered.base / "runs" / VOLUME
    for name in (f"{NAME[VOLUME]}/1", f"{NAME[VOLUME]}@audited", f"models:/{NAME[VOLUME]}/1"):
        opened_run = open_run(name, registered.uri, registered.base / "runs")
        assert opened_run.folder == place and opened_run.mlflow_run == registered.run_id(VOLUME)
    with pytest.raises(InputError, match="is not in MLflow"):
        open_run(f"{NAME[VOLUME]}/7", registered.uri, registered.base / "runs")


def test_an_untracked_run_is_registered_on_wish_only_and_found_by_its_name(
    registered: Registered, exported_before: None, tmp_path: Path
) -> None:
    place = tmp_path / "runs" / "plain"
    shutil.copytree(registered.base / "runs" / XRAY, place)
    (place / "mlflow.json").write_text('{"run_id": null}\n')
    assert open_run(str(place), "").mlflow_run is None
    common = ("--tracking_uri", registered.uri)
    done = _export(place, "--to", tmp_path / "left", *common)
    assert done.exit_code == 0 and "not registered in MLflow: the run was not tracked" in done.output
    done = _export(place, "--to", tmp_path / "named", "--register", "plain", *common)
    assert done.exit_code == 0 and "plain/1, plain@audited" in done.output, done.output
    version = registered.client.get_model_version("plain", "1")
    recorded = registered.client.get_run(version.run_id)
    assert recorded.data.tags["confounder"] == "tag" and recorded.data.metrics["iid_auc"] >= 0
    assert registered.client.get_experiment(recorded.info.experiment_id).name == "exports"
    assert open_run("plain@audited", registered.uri, tmp_path / "runs").folder == place


def test_a_store_that_does_not_know_the_run_is_named(
    registered: Registered, exported_before: None, tmp_path: Path
) -> None:
    place, uri = registered.base / "runs" / XRAY, f"sqlite:///{tmp_path}/none/mlflow.db"
    done = _export(place, "--to", tmp_path / "one", "--tracking_uri", uri)
    assert done.exit_code == 0 and f"not registered in MLflow: there is no store {uri}" in done.output
    assert not (tmp_path / "none").exists(), "no store is made unasked"
    stranger = tmp_path / "stranger"
    shutil.copytree(place, stranger)
    (stranger / "mlflow.json").write_text(json.dumps({"run_id": "0" * 32}))
    done = _export(stranger, "--to", tmp_path / "two", "--tracking_uri", registered.uri)
    assert done.exit_code == 0 and f"has no run {'0' * 32}" in done.output
    (stranger / "mlflow.json").write_text('{"run_id": "somewhere"}')
    with pytest.raises(InputError, match=r"mlflow\.json: run_id: got 'somewhere', expected 32 hexadecimal"):
        open_run(str(stranger), "")


@pytest.mark.parametrize(("options", "code"), [((), 0), (("--register", "broken"), 1)])
def test_a_registry_that_fails_leaves_the_export(
    registered: Registered,
    exported_before: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: tuple[str, ...],
    code: int,
) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    place = registered.base / "runs" / XRAY
    common = ("--tracking_uri", registered.uri)
    done = _export(place, "--to", tmp_path / "out", *common, *options)
    assert done.exit_code == code
    assert open_bundle(tmp_path / "out").rules["audited"]
    message = str(done.exception) if code else done.output.splitlines()[-1]
    assert "no onnx, expected pip install" in message and "\n" not in message
    assert not registered.client.search_registered_models("name='broken'")


def test_names_are_checked_before_the_export_and_no_register_is_obeyed(
    registered: Registered, exported_before: None, tmp_path: Path
) -> None:
    place = registered.base / "runs" / XRAY
    for words in (("--register", "a/b"), ("--register", " "), ("--register", "a", "--no-register")):
        done = _export(place, "--to", tmp_path / "out", *words)
        assert isinstance(done.exception, InputError) and "--register" in str(done.exception)
        assert not (tmp_path / "out").exists()
    before = len(registered.client.search_model_versions())
    done = _export(place, "--to", tmp_path / "out", "--no-register", "--tracking_uri", registered.uri)
    assert done.exit_code == 0 and "MLflow" not in done.output
    assert len(registered.client.search_model_versions()) == before


def test_no_identifier_and_no_place_reaches_the_registry(registered: Registered) -> None:
    planted = {b"PHANTOM^", b"cohort-of-mrs-secret", str(registered.base / "runs").encode(), b"/b_xray"}
    for path in registered.base.glob("cohort-of-mrs-secret/**/*.dcm"):
        header = pydicom.dcmread(path, stop_before_pixels=True)
        planted |= {str(header.PatientID).encode(), str(header.SOPInstanceUID).encode()}
    assert len(planted) > 40
    files = [path for path in (registered.base / "store").rglob("*") if path.is_file()]
    assert any(path.name == "model.onnx" for path in files), "the models are beside the store"
    for path in files:
        content = path.read_bytes()
        for word in planted:
            assert word not in content, f"{word!r} in {path}"
    model = registered.client.get_logged_model(registered.version(XRAY).source.removeprefix("models:/"))
    assert not {"mlflow.user", "mlflow.source.name"} & set(model.tags)
    onnx.checker.check_model(str(next(path for path in files if path.name == "model.onnx")))
