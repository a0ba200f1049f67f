"""A run becomes a bundle: complete, without this package, without names, or not at all."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import zipfile
from pathlib import Path

import numpy as np
import onnxruntime
import pandas as pd
import pydicom
import pytest
import torch
from click.testing import CliRunner
from exported_runs import BUNDLES, train
from monai.bundle import verify_metadata, verify_net_in_out
from PIL import Image

import srcmatters
from srcmatters.cohorts.phantom_cohort import write_phantom_cohort
from srcmatters.errors import InputError
from srcmatters.evaluation.classification import decide
from srcmatters.export import model_files
from srcmatters.export.command import export as command
from srcmatters.export.declared_rules import ExportOptions
from srcmatters.export.model_card.failures import worst_errors
from srcmatters.export.run_export import export
from srcmatters.exported_bundle.bundle import ExportedBundle, open_bundle
from srcmatters.exported_bundle.monitors import logits_and_features
from srcmatters.images import load_radiograph
from srcmatters.preprocessing.resizing import resize
from srcmatters.runs.prediction_table import log_odds, read_predictions
from srcmatters.runs.trained_run import open_run

_STILL = {"rotation": 0, "shift": 0, "shear": 0, "zoom": 0}


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """36 phantom radiographs in DICOM, with names, identifiers and UIDs in their headers."""
    folder = tmp_path_factory.mktemp("planted") / "cohort-of-mrs-secret"
    write_phantom_cohort(folder, patients=36, file_format="dicom", image_size=64, difficulty=0.0)
    return folder


@pytest.fixture(scope="module")
def run(cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(
        "xray_classification",
        cohort,
        tmp_path_factory.mktemp("trained") / "run",
        confounder="tag",
        target="phantom",
        augmentation=_STILL,
    )


@pytest.fixture(scope="module")
def folder(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run exported as a folder."""
    out = tmp_path_factory.mktemp("exported") / "bundle"
    return export(open_run(str(run), ""), out, ExportOptions(finding="Mass", calibration="isotonic"))


@pytest.fixture(scope="module")
def bundle(folder: Path) -> ExportedBundle:
    return open_bundle(folder)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the state dict is written: for tests of what is around the network's files."""
    only = {name: model_files._WRITERS[name] for name in ("model.pt",)}
    monkeypatch.setattr(model_files, "_WRITERS", only)


def test_a_bundle_is_complete_and_what_monai_wants(folder: Path) -> None:
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    configs = {
        f"configs/{name}" for name in ("inference.yaml", "metadata.json", "clinical.json", "clinical.npz")
    }
    models = {f"models/model.{ending}" for ending in ("pt", "ts", "pt2", "onnx")}
    cards = {f"docs/{name}" for name in ("model_card.json", "model_card.html", "applied_model_card.xml")}
    others = {"docs/README.md", "docs/checklist.md", "LICENSE", "SHA256SUMS", "scripts/radiographs.py"}
    assert names == configs | models | cards | others
    metadata = str(folder / "configs" / "metadata.json")
    verify_metadata(meta_file=metadata, filepath=str(BUNDLES / "metadata_schema.json"))
    verify_net_in_out(
        net_id="network_def",
        meta_file=metadata,
        config_file=str(folder / "configs" / "inference.yaml"),
        device="cpu",
        bundle_root=str(folder),
    )


def test_the_four_files_compute_the_same_for_any_batch(
    folder: Path, bundle: ExportedBundle, cohort: Path
) -> None:
    paths = sorted(cohort.rglob("*.dcm"))[:5]
    images = torch.cat([resize(load_radiograph(path).as_tensor()[None], [32, 32]) for path in paths])
    models = folder / "models"
    session = onnxruntime.InferenceSession(str(models / "model.onnx"))
    with torch.inference_mode():
        own = bundle.network()(images)
    assert own.std() > 1e-3
    with torch.no_grad():
        others = {
            "ts": torch.jit.load(str(models / "model.ts"))(images),
            "pt2": torch.export.load(models / "model.pt2").module()(images),
            "onnx": torch.from_numpy(session.run(["logits"], {"image": images.numpy()})[0]),
        }
    for name, logits in others.items():
        assert (logits - own).abs().max() < 1e-4, name


def test_no_image_is_in_any_file(folder: Path, run: Path) -> None:
    (examples,), _ = torch.export.load(folder / "models" / "model.pt2").example_inputs
    images = open_run(str(run), "").images()
    states = [
        images.cache.state(state).as_subclass(torch.Tensor).float() for state in ("clean", "confounded")
    ]
    planted = []
    for image in torch.cat(states)[:, 0]:
        middle = image[image.shape[0] // 2]
        assert middle.std() > 0, "a row that only this image has"
        planted.append(middle.numpy().tobytes())
        assert not any(torch.allclose(kept[0], image, atol=0.05) for kept in examples)
    for path in (path for path in folder.rglob("*") if path.is_file()):
        for name, content in _contents(path):
            assert not any(row in content for row in planted), name


def test_no_place_of_the_exporting_machine_is_in_any_file(folder: Path) -> None:
    places = {str(Path(str(module.__file__)).parents[1]).encode() for module in (srcmatters, torch)}
    for path in (path for path in folder.rglob("*") if path.is_file()):
        for name, content in _contents(path):
            assert not any(place in content for place in places), name


def test_a_file_that_computes_something_else_is_refused(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write_another(network: torch.nn.Module, images: torch.Tensor, path: Path) -> None:
        state = network.state_dict()
        torch.save({**state, "1.fc.bias": state["1.fc.bias"] + 0.001}, path)

    monkeypatch.setattr(model_files, "_WRITERS", {"model.pt": write_another})
    with pytest.raises(InputError, match=r"model\.pt: a logit is off by 1\.0e-03"):
        export(open_run(str(run), ""), tmp_path / "out", ExportOptions(data=False))
    assert not list(tmp_path.iterdir()), "nothing half-written stays"


@pytest.mark.parametrize(
    ("scale", "off", "accepted"), [(1, 2e-4, False), (1e3, 2e-4, True), (1e3, 2e-3, False)]
)
def test_what_a_file_may_be_off_by_is_what_rounding_does_to_the_network(
    scale: float, off: float, accepted: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = torch.rand(4, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    linear = torch.nn.Linear(256, 2)
    with torch.no_grad():  # terms that cancel: each is `scale` times as large as what is left
        linear.weight[:] = scale * (torch.arange(256) % 2 * 2 - 1)
        linear.bias[:] = -scale * (images.flatten(1)[0] * (torch.arange(256) % 2 * 2 - 1)).sum()
    network = torch.nn.Sequential(torch.nn.Flatten(), linear).eval()

    def read(path: Path, name: str) -> model_files.Run:
        return lambda batch: network(batch) + off * network(batch).abs().clamp(min=1)

    monkeypatch.setattr(model_files, "_WRITERS", {"model.pt": lambda network, images, path: None})
    monkeypatch.setattr(model_files, "_READERS", {"model.pt": read})
    if accepted:
        deviations = model_files.write_model_files(network, "linear", images, tmp_path)
        assert deviations["model.pt"] == pytest.approx(off, rel=0.1)
    else:
        with pytest.raises(InputError, match=f"a logit is off by {off:.1e}"):
            model_files.write_model_files(network, "linear", images, tmp_path)


def test_threshold_and_calibration_are_those_of_the_validation_cases(
    bundle: ExportedBundle, run: Path, tmp_path: Path, quick: None
) -> None:
    table = read_predictions(run / "validation.csv")
    scores = pd.Series(np.where(table["carries"], table["score_confounded"], table["score_clean"]))
    calibrated, labels = bundle.calibrate(log_odds(scores)), table["label"].to_numpy()
    best = decide(labels, calibrated, bundle.rules["threshold"]["value"])
    youden = best.sensitivity + best.specificity
    for other in np.unique(calibrated):
        metrics = decide(labels, calibrated, float(other))
        assert metrics.sensitivity + metrics.specificity <= youden + 1e-12
    assert bundle.rules["threshold"]["cases"] == len(table)
    options = ExportOptions(sensitivity=1.0, data=False)
    all_found = open_bundle(export(open_run(str(run), ""), tmp_path / "all", options))
    probabilities = all_found.calibrate(log_odds(scores))
    assert decide(labels, probabilities, all_found.rules["threshold"]["value"]).sensitivity == 1.0
    assert all_found.rules["threshold"]["rule"] == "sensitivity 1"


def test_no_identifier_is_in_any_file(folder: Path, cohort: Path, run: Path) -> None:
    planted = {
        b"PHANTOM^",
        b"cohort-of-mrs-secret",
        str(run).encode(),
        str(cohort).encode(),
        b"validation.csv",
    }
    for path in cohort.rglob("*.dcm"):
        header = pydicom.dcmread(path, stop_before_pixels=True)
        named = (header.PatientID, header.StudyInstanceUID, header.SeriesInstanceUID, header.SOPInstanceUID)
        planted |= {str(value).encode() for value in named} | {path.stem.encode()}
    planted -= {b"validation.csv"}
    assert len(planted) > 100
    for path in folder.rglob("*"):
        for name, content in _contents(path) if path.is_file() else ():
            for word in planted:
                assert word not in content, f"{word!r} in {name}"


def _contents(path: Path) -> list[tuple[str, bytes]]:
    """A file, and the members of one that is a zip."""
    content = path.read_bytes()
    members = [(path.name, content)]
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members += [(f"{path.name}/{name}", archive.read(name)) for name in archive.namelist()]
    return members


def test_a_run_without_a_confounder_needs_an_audit_or_the_word(
    run: Path, cohort: Path, tmp_path: Path, quick: None
) -> None:
    bare = {"confounder": "none", "p_art": 0.0, "target": "phantom", "augmentation": _STILL}
    plain = train("xray_classification", cohort, tmp_path / "plain", **bare)
    with pytest.raises(InputError, match=r"no audit: it was trained under no confounder.*--unaudited"):
        export(open_run(str(plain), ""), tmp_path / "refused", ExportOptions(data=False))
    assert not (tmp_path / "refused").exists()
    options = ExportOptions(unaudited=True, data=False, actions={"size": "refuse"})
    out = export(open_run(str(plain), ""), tmp_path / "marked", options)
    actions = open_bundle(out).rules["actions"]
    metadata = json.loads((out / "configs" / "metadata.json").read_text())
    assert "MISSING: whether this model leans" in metadata["description"]
    assert (actions["size"], actions["spacing"], actions["burnt_in_text"]) == ("refuse", "refuse", "flag")
    assert "above the largest | refuse |" in (out / "docs" / "README.md").read_text()
    for name in ("README.md", "model_card.html"):
        assert "NOT AUDITED" in (out / "docs" / name).read_text()
    assert "MISSING: whether this model leans" in (out / "docs" / "checklist.md").read_text()
    inference = (out / "configs" / "inference.yaml").read_text()
    assert "NOT AUDITED" in inference and "scores_unaudited.csv" in inference
    assert open_bundle(out).rules["audited"] is False
    assert open_bundle(out).rules["model_version"] == "1.0.0"
    assert metadata["eval_metrics"] and all(name.startswith("clean") for name in metadata["eval_metrics"])
    study = tmp_path / "study"
    shutil.copytree(run, study / "cell")
    audited = export(open_run(str(plain), ""), tmp_path / "audited.zip", ExportOptions(study=study))
    rules = open_bundle(audited).rules
    assert rules["audited"] and rules["audit"]["of"] == "networks trained alike"
    with open_bundle(audited) as opened:
        texts = {
            name: (opened.folder / name).read_text()
            for name in ("docs/model_card.json", "docs/README.md", "configs/metadata.json")
        }
    verdict = json.loads(texts["docs/model_card.json"])["verdict"]
    outcome, mark = rules["audit"]["outcome"], rules["audit"]["marks"][0]
    assert mark.startswith(f"{outcome}: A letter in the corner") and verdict == f"{mark}."
    assert f"**{outcome}.**\n\n- {verdict}\n" in texts["docs/README.md"]
    assert json.loads(texts["configs/metadata.json"])["description"].startswith(verdict)
    assert [row["confounder"] for row in rules["audit"]["tested"]] == ["tag"]
    assert [monitor["confounder"] for monitor in rules["monitors"]] == ["tag"]


def test_siblings_from_another_source_audit_nothing(run: Path, tmp_path: Path, quick: None) -> None:
    other = tmp_path / "study" / "cell"
    shutil.copytree(run, other)
    record = json.loads((other / "metrics.json").read_text())
    record["settings"]["source"] = "imagenet"
    (other / "metrics.json").write_text(json.dumps(record))
    with pytest.raises(InputError, match="nearest one has source: imagenet, expected random"):
        export(open_run(str(run), ""), tmp_path / "out", ExportOptions(study=tmp_path / "study"))


@pytest.mark.slow
def test_worst_errors_are_shown_as_images_if_asked_for(
    folder: Path, run: Path, tmp_path: Path, quick: None
) -> None:
    plain = (folder / "docs" / "model_card.html").read_text()
    assert "data:image" not in plain and "--failure-images" in plain
    options = ExportOptions(finding="Mass", failure_images=True)
    docs = export(open_run(str(run), ""), tmp_path / "shown", options) / "docs"
    opened = open_bundle(tmp_path / "shown")
    threshold = opened.rules["threshold"]["value"]
    errors = worst_errors(open_run(str(run), "").predictions, opened.calibration, threshold)
    rows = json.loads((docs / "model_card.json").read_text())["failures"]
    assert [row["probability"] for row in rows] == errors["probability"].round(3).tolist() and rows
    assert (docs / "model_card.html").read_text().count("data:image/jpeg;base64,") == len(rows)
    images = open_run(str(run), "").images()
    for row, case in zip(rows, errors["case_id"], strict=True):
        shown = np.asarray(Image.open(docs / row["image"]).convert("L"), float)
        clean = images.cache.state("clean")[images.cache.cases["case_id"].tolist().index(case), 0]
        left = Image.fromarray((np.asarray(clean) * 255).astype(np.uint8)).resize((512, 512))
        assert np.corrcoef(shown[:, :512].ravel(), np.asarray(left, float).ravel())[0, 1] > 0.99
    with pytest.raises(InputError, match="--failure-images: needs the images"):
        export(open_run(str(run), ""), tmp_path / "not", ExportOptions(data=False, failure_images=True))


@pytest.mark.parametrize("name", ["validation.csv", "model.pt", "config.yaml"])
def test_a_run_that_lacks_a_file_is_refused(run: Path, tmp_path: Path, name: str) -> None:
    shutil.copytree(run, tmp_path / "run")
    (tmp_path / "run" / name).unlink()
    with pytest.raises(InputError, match=f"no {name}, expected"):
        open_run(str(tmp_path / "run"), "")


def test_nothing_is_replaced(run: Path, tmp_path: Path) -> None:
    (tmp_path / "kept.txt").write_text("kept")
    with pytest.raises(InputError, match="exists, expected a new folder or zip"):
        export(open_run(str(run), ""), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["kept.txt"]


def test_an_empty_folder_is_filled_even_by_its_own_name(
    run: Path, tmp_path: Path, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    export(open_run(str(run), ""), ".", ExportOptions(data=False))
    assert open_bundle(".").rules["audited"], "the folder is the one that we are in"
    assert sorted(path.name for path in Path.cwd().iterdir()) == [
        "LICENSE",
        "SHA256SUMS",
        "configs",
        "docs",
        "models",
        "scripts",
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("to", ["bundle", "bundle.zip", "empty"])
def test_a_signal_in_the_middle_leaves_nothing_behind(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals, to: str
) -> None:
    def write(run: object, folder: Path, *others: object) -> None:
        (folder / "half").write_text("written")
        os.kill(os.getpid(), number)

    def unheard(*_: object) -> None:
        """Whoever starts the export has a handler of his own, which gets the signals afterwards again."""

    monkeypatch.setattr("srcmatters.export.run_export._write", write)
    (tmp_path / "empty").mkdir()
    before = signal.signal(number, unheard)
    try:
        with pytest.raises(SystemExit) as caught:
            export(open_run(str(run), ""), tmp_path / to, ExportOptions(data=False))
        assert caught.value.code == 128 + number and signal.getsignal(number) is unheard
    finally:
        signal.signal(number, before)
    assert [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")] == ["empty"]


def test_images_that_are_gone_are_said_in_one_line(run: Path, tmp_path: Path, quick: None) -> None:
    moved = tmp_path / "run"
    shutil.copytree(run, moved)
    config = (moved / "config.yaml").read_text()
    place = next(line for line in config.splitlines() if line.startswith("dataset_dir:"))
    (moved / "config.yaml").write_text(config.replace(place, "dataset_dir: nowhere"))
    with pytest.raises(InputError, match=r"images cannot be opened.*--no-data") as caught:
        export(open_run(str(moved), ""), tmp_path / "out")
    assert "\n" not in str(caught.value) and not (tmp_path / "out").exists()


def test_the_monitors_see_what_they_were_made_for(bundle: ExportedBundle, run: Path) -> None:
    images = open_run(str(run), "").images()
    rows = torch.from_numpy(np.asarray(images.chosen.split.test))
    clean, confounded = (images.cache.state(state)[rows] for state in ("clean", "confounded"))
    (probe,) = bundle.monitors
    assert probe.confounder == "tag" and probe.auc > 0.8
    scores = [[probe.score(image) for image in state] for state in (clean, confounded)]
    assert np.mean(np.array(scores[1]) > np.array(scores[0])) > 0.9
    assert np.mean([probe.flags(image) for image in clean]) <= 0.2
    assert bundle.rules["input"]["size"] == [64, 64] and bundle.rules["input"]["views"] == ["AP", "PA"]
    low, high = bundle.rules["input"]["spacing_mm"]
    assert 0 < low <= high


def test_images_unlike_the_training_are_told_from_its_own(bundle: ExportedBundle, run: Path) -> None:
    images = open_run(str(run), "").images()
    own = images.as_trained("test").as_subclass(torch.Tensor)
    noise = torch.rand(own.shape, generator=torch.Generator().manual_seed(0))
    strangers = {"noise": noise, "black": own * 0, "inverted": 1 - own, "upside down": own.flip(2)}
    assert bundle.ood is not None
    flagged = {
        name: bundle.ood.flags(logits_and_features(bundle.network(), "resnet10", images)[1]).mean()
        for name, images in {"own": own, **strangers}.items()
    }
    assert flagged.pop("own") == bundle.ood.false_alarms <= 0.25, "few images fix the threshold"
    assert all(share >= 0.9 for share in flagged.values()), flagged


def test_the_command_hands_everything_on(run: Path, tmp_path: Path, quick: None) -> None:
    about = tmp_path / "about.yaml"
    about.write_text("developer: Somebody's laboratory\nversion: 2.1.0\nlicence: CC BY-NC 4.0\n")
    common = [str(run), "--finding", "Mass", "--finding-code", "4147007", "SCT", "Mass", "--no-register"]
    full = [
        *common,
        "--sensitivity",
        "0.9",
        "--calibration",
        "none",
        "--about",
        str(about),
        "--failure-images",
    ]
    done = CliRunner().invoke(command, [*full, "--to", str(tmp_path / "full")])
    assert done.exit_code == 0, done.output
    card = json.loads((tmp_path / "full" / "docs" / "model_card.json").read_text())
    assert card["developer"] == "Somebody's laboratory"
    assert all((tmp_path / "full" / "docs" / row["image"]).is_file() for row in card["failures"])
    rules = open_bundle(tmp_path / "full").rules
    metadata = json.loads((tmp_path / "full" / "configs" / "metadata.json").read_text())
    for name in ("docs/README.md", "configs/inference.yaml"):
        text = (tmp_path / "full" / name).read_text()
        assert "probability" in text and "calibrated probability" not in text, name
    assert (
        "monitors (models, configs/clinical.npz):\n    CC BY-NC 4.0"
        in (tmp_path / "full" / "LICENSE").read_text()
    )
    assert {rules["model_version"], card["version"], metadata["version"]} == {"2.1.0"}
    assert rules["finding"]["code"] == ["4147007", "SCT", "Mass"] and rules["finding"]["positive"] == "Mass"
    assert rules["threshold"]["rule"] == "sensitivity 0.9" and rules["calibration"]["method"] == "none"
    about.write_text("develper: me\n")
    refused = CliRunner().invoke(command, [*full, "--to", str(tmp_path / "refused")])
    assert isinstance(refused.exception, InputError) and "'develper' is unknown" in str(refused.exception)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["about.yaml", "full"]
