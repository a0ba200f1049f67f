"""The X-ray bundle as a user meets it: what it writes, what it repeats, what it refuses."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from monai.bundle import ConfigWorkflow, ckpt_export, create_workflow, verify_metadata, verify_net_in_out
from PIL import Image

from srcmatters.errors import InputError, find_input_error
from srcmatters.evaluation import compute_metrics
from srcmatters.runs.prediction_table import read_predictions
from srcmatters.sources import create_classifier

REPOSITORY = Path(__file__).parents[2]
CONFIGS = REPOSITORY / "bundles" / "xray_classification" / "configs"
TRAIN = str(CONFIGS / "train.yaml")
SCREEN = [TRAIN, str(CONFIGS / "screen.yaml")]
QUICK: dict[str, Any] = {
    "source": "random",
    "network": "resnet18",
    "image_size": 32,
    "max_epochs": 1,
    "batch_size": 8,
    "num_folds": 3,
    "validation_folds": 3,
    "num_workers": 0,
    "tracking_uri": "",
    "device": "cpu",
}

Run = Callable[..., dict[str, float]]


def start(files: str | list[str], run_id: str = "training", **overrides: Any) -> ConfigWorkflow:
    settings = {**QUICK, **overrides}
    return create_workflow(config_file=files, run_id=run_id, logging_file=False, **settings)


@pytest.fixture
def run(radiograph_cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run the bundle in a folder of its own; returns the metrics."""
    monkeypatch.chdir(tmp_path)

    def train(files: str | list[str] = TRAIN, **overrides: Any) -> dict[str, float]:
        settings = {"dataset_dir": str(radiograph_cohort), "output_dir": str(tmp_path / "out"), **overrides}
        return start(files, **settings).run()[-1]

    return train


@pytest.fixture
def refused(run: Run) -> Callable[..., str]:
    """The one line that a user sees for these overrides."""

    def message(files: str | list[str] = TRAIN, **overrides: Any) -> str:
        with pytest.raises(Exception) as caught:
            run(files, **overrides)
        mistake = find_input_error(caught.value)
        assert mistake is not None, f"not said as a user's mistake: {caught.value!r}"
        assert "\n" not in str(mistake)
        return str(mistake)

    return message


def test_a_run_leaves_its_evidence(run: Run, tmp_path: Path) -> None:
    metrics = run(confounder="tag", p_art=1.0)
    out = tmp_path / "out"
    names = sorted(path.relative_to(out).as_posix() for path in out.rglob("*"))
    assert names == [
        "config.yaml",
        "figures",
        "figures/examples.png",
        "figures/training_curves.png",
        "metrics.json",
        "mlflow.json",
        "model.pt",
        "predictions.csv",
        "validation.csv",
    ]
    predictions = read_predictions(out / "predictions.csv")
    assert len(predictions) == 16 and {"sex", "age", "view"} <= set(predictions)
    assert (predictions["carries"] == (predictions["label"] == 1)).all()
    assert (predictions["score_clean"] != predictions["score_confounded"]).mean() > 0.5
    record = json.loads((out / "metrics.json").read_text())
    assert {name: record[name] for name in metrics} == metrics
    again = compute_metrics(predictions)
    assert again == pytest.approx({name: metrics[name] for name in again}, abs=1e-12)
    assert metrics["detectability_auc"] > 0.6 and metrics["unreadable_images"] == 0
    assert record["settings"]["p_art"] == 1.0 and record["settings"]["depth"] == "finetune"
    for figure in ("examples", "training_curves"):
        assert np.asarray(Image.open(out / "figures" / f"{figure}.png")).std() > 10


def test_the_saved_weights_give_the_saved_scores(run: Run, tmp_path: Path, radiograph_cohort: Path) -> None:
    run()
    network = create_classifier("resnet18")
    network.load_state_dict(torch.load(tmp_path / "out" / "model.pt", weights_only=True))
    workflow = start(TRAIN, dataset_dir=str(radiograph_cohort), output_dir=str(tmp_path / "again"))
    again = workflow.parser.get_parsed_content("test").predict(network)
    saved = read_predictions(tmp_path / "out" / "predictions.csv")
    np.testing.assert_allclose(again["score_confounded"], saved["score_confounded"], atol=1e-5)


def test_the_same_command_gives_the_same_file_whatever_the_workers(run: Run, tmp_path: Path) -> None:
    contents = []
    for number, workers in enumerate((0, 2, 0)):
        # Fresh caches: the second run must not profit from what the first one decoded.
        out = tmp_path / f"out{number}"
        run(num_workers=workers, output_dir=str(out), cache_dir=str(tmp_path / f"cache{number % 2}"))
        contents.append((out / "predictions.csv").read_bytes())
    assert contents[0] == contents[1] == contents[2]


def test_epochs_without_validation_are_no_reason_to_stop(run: Run, tmp_path: Path) -> None:
    run(max_epochs=4, val_interval=2, early_stop_patience=1)
    assert (tmp_path / "out" / "figures" / "training_curves.png").exists()


def test_another_seed_gives_another_network(run: Run, tmp_path: Path) -> None:
    run(output_dir=str(tmp_path / "a"))
    run(output_dir=str(tmp_path / "b"), seed=1)
    scores = [read_predictions(tmp_path / name / "predictions.csv")["score_clean"] for name in "ab"]
    assert not np.allclose(scores[0], scores[1])


def test_the_written_configuration_repeats_the_run(run: Run, tmp_path: Path) -> None:
    run(p_art=1.0)
    config = yaml.safe_load((tmp_path / "out" / "config.yaml").read_text())
    assert config["p_art"] == 1.0 and config["network"] == "resnet18"
    workflow = create_workflow(
        config_file=str(tmp_path / "out" / "config.yaml"),
        run_id="training",
        logging_file=False,
        meta_file=str(CONFIGS / "metadata.json"),
        output_dir=str(tmp_path / "again"),
    )
    workflow.run()
    written = [(tmp_path / name / "predictions.csv").read_bytes() for name in ("out", "again")]
    assert written[0] == written[1]


def test_evaluating_tests_finished_weights_on_another_p_art(run: Run, tmp_path: Path) -> None:
    first = run(p_art=1.0)
    second = run(
        [TRAIN, str(CONFIGS / "evaluate.yaml")],
        run_id="evaluating",
        ckpt=str(tmp_path / "out" / "model.pt"),
        output_dir=str(tmp_path / "half"),
        **{"choice::p_art": 0.5},
    )
    assert json.loads((tmp_path / "half" / "metrics.json").read_text())["settings"]["p_art"] == 0.5
    assert second["clean_auc"] == first["clean_auc"] and second["ood_auc"] == first["ood_auc"]
    before, after = (read_predictions(tmp_path / name / "predictions.csv") for name in ("out", "half"))
    assert after["carries"].sum() == before["carries"].sum() / 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fold": 1}, "fold: got 1, expected 0"),
        ({"choice::fold": 1, "test::fold": 1}, "fold: got 1, expected 0"),
        ({"seed": 5}, "seed: got 5, expected 0"),
        ({"image_size": 40}, "image_size: got 40, expected 32"),
        ({"output_dir": "RUN"}, "is the run's own, expected another"),
    ],
)
def test_a_retest_on_training_cases_or_over_the_run_is_refused(
    run: Run, refused: Callable[..., str], tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    run()
    before = (tmp_path / "out" / "metrics.json").read_bytes()
    ckpt = str(tmp_path / "out" / "model.pt")
    settings = {"output_dir": str(tmp_path / "other"), **change}
    settings["output_dir"] = settings["output_dir"].replace("RUN", str(tmp_path / "out"))
    files = [TRAIN, str(CONFIGS / "evaluate.yaml")]
    assert message in refused(files=files, run_id="evaluating", ckpt=ckpt, **settings)
    assert (tmp_path / "out" / "metrics.json").read_bytes() == before


def test_runs_that_differ_in_any_setting_have_their_own_folder(
    radiograph_cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folders = set()
    for number, other in enumerate(
        ({}, {"image_size": 40}, {"confounder_args": {"text": "L"}}, {"p_art": 1})
    ):
        workflow = start(TRAIN, dataset_dir=str(radiograph_cohort), **other)
        folders.add(str(workflow.parser.get_parsed_content("output_dir")))
        assert len(folders) == number + 1


def test_inference_scores_a_folder_without_labels(run: Run, tmp_path: Path, radiograph_cohort: Path) -> None:
    run(confounder="none")
    workflow = create_workflow(
        config_file=str(CONFIGS / "inference.yaml"),
        workflow_type="infer",
        logging_file=False,
        dataset_dir=str(radiograph_cohort / "images"),
        ckpt=str(tmp_path / "out" / "model.pt"),
        network="resnet18",
        image_size=32,
        device="cpu",
        output_dir=str(tmp_path / "scores"),
    )
    workflow.run()
    scores = pd.read_csv(tmp_path / "scores" / "scores.csv").set_index("image")["probability"]
    assert len(scores) == 48
    predictions = read_predictions(tmp_path / "out" / "predictions.csv")
    table = pd.read_csv(radiograph_cohort / "cases.csv", dtype=str).set_index("case_id")
    names = [Path(table["image"][case]).name for case in predictions["case_id"]]
    np.testing.assert_allclose(scores[names], predictions["score_clean"], atol=1e-6)


@pytest.mark.parametrize("files", [TRAIN, SCREEN], ids=["finetune", "screen"])
def test_validation_cases_are_scored_in_both_states_for_thresholds(
    run: Run, tmp_path: Path, files: str | list[str]
) -> None:
    run(files, p_art=1.0)
    test, validation = (
        read_predictions(tmp_path / "out" / f"{name}.csv") for name in ("predictions", "validation")
    )
    assert not set(test["patient_id"]) & set(validation["patient_id"])
    assert list(test.columns) == list(validation.columns)
    assert (validation["carries"] == (validation["label"] == 1)).all() and validation["label"].nunique() == 2
    assert (validation["score_clean"] != validation["score_confounded"]).mean() > 0.5


def test_a_screen_scores_the_same_cases_without_training_a_network(run: Run, tmp_path: Path) -> None:
    tuned = run(p_art=1.0, output_dir=str(tmp_path / "tuned"))
    screened = run(SCREEN, p_art=1.0, image_size=32)
    out = tmp_path / "out"
    names = sorted(path.name for path in out.iterdir())
    assert names == [
        "config.yaml",
        "metrics.json",
        "mlflow.json",
        "predictions.csv",
        "refits.csv",
        "validation.csv",
    ]
    assert set(screened) == {*tuned, "inverse_regularisation"} - {"moved_share"}
    for name in ("predictions.csv", "validation.csv"):
        one, other = read_predictions(tmp_path / "tuned" / name), read_predictions(out / name)
        scores = ["score_clean", "score_confounded"]
        pd.testing.assert_frame_equal(one.drop(columns=scores), other.drop(columns=scores))
    settings = json.loads((out / "metrics.json").read_text())["settings"]
    assert settings["depth"] == "screen" and "max_epochs" not in settings


def test_a_screen_learns_the_tag_where_it_goes_with_the_label(run: Run, tmp_path: Path) -> None:
    args = {"text": "RRRR", "height": 0.3}
    effects = [
        run(SCREEN, p_art=p_art, image_size=64, confounder_args=args, output_dir=str(tmp_path / str(p_art)))
        for p_art in (0, 1)
    ]
    assert effects[1]["confounder_effect"] > effects[0]["confounder_effect"] + 0.5
    assert effects[1]["iid_minus_ood_auc"] > effects[0]["iid_minus_ood_auc"]


def test_a_saved_screen_is_a_network_that_gives_its_scores(
    run: Run, tmp_path: Path, radiograph_cohort: Path
) -> None:
    run(SCREEN, save_model="true", p_art=1.0, image_size=32)
    network = create_classifier("resnet18", seed=9)
    network.load_state_dict(torch.load(tmp_path / "out" / "model.pt", weights_only=True))
    workflow = start(
        SCREEN, dataset_dir=str(radiograph_cohort), output_dir=str(tmp_path / "again"), image_size=32
    )
    again = workflow.parser.get_parsed_content("test").predict(network)
    saved = read_predictions(tmp_path / "out" / "predictions.csv")
    for column in ("score_clean", "score_confounded"):
        np.testing.assert_allclose(again[column], saved[column], atol=1e-4)


def test_a_screen_repeats_itself_to_the_byte(run: Run, tmp_path: Path) -> None:
    run(SCREEN, image_size=32)
    config = yaml.safe_load((tmp_path / "out" / "config.yaml").read_text())
    assert config["fit_settings"] == {"depth": "screen", "mitigation": "@mitigation"}
    start(str(tmp_path / "out" / "config.yaml"), output_dir=str(tmp_path / "again"), image_size=32).run()
    for name in ("predictions.csv", "validation.csv"):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "out" / name).read_bytes()


def test_the_validation_set_of_a_sampled_confounder_is_iid(run: Run, tmp_path: Path) -> None:
    args = {"value": "F", "test_fraction": 0.4}
    run(SCREEN, confounder="sex", confounder_args=args, p_art=1.0, num_folds=2, image_size=32)
    validation = read_predictions(tmp_path / "out" / "validation.csv")
    assert set(validation["environment"]) == {"iid"}
    assert set(zip(validation["label"], validation["sex"], strict=True)) == {(1, "F"), (0, "M")}


def test_an_unreadable_image_can_be_skipped_and_is_counted(
    run: Run, radiograph_cohort: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "cohort"
    shutil.copytree(radiograph_cohort, folder)
    damaged = pd.read_csv(folder / "cases.csv", dtype=str).iloc[7]
    (folder / damaged["image"]).write_bytes(b"no image")
    scored: set[str] = set()
    for fold in range(3):
        settings = {"dataset_dir": str(folder), "fold": fold, "unreadable": "skip", "image_size": 32}
        settings["overwrite"] = "true"
        metrics = run(SCREEN, tracking_uri=f"sqlite:///{tmp_path}/mlruns/mlflow.db", **settings)
        assert metrics["unreadable_images"] == 1
        scored |= set(read_predictions(tmp_path / "out" / "predictions.csv")["case_id"])
    assert len(scored) == 47 and str(damaged["case_id"]) not in scored
    name = Path(damaged["image"]).name.encode()
    kept = [path for path in (tmp_path / "mlruns").rglob("*") if path.is_file()]
    assert len(kept) > 3 and not any(name in path.read_bytes() for path in kept)


@pytest.mark.slow  # the features of 880 images: two minutes of one core
def test_on_real_radiographs_a_screen_sees_the_tag_replace_the_disease(
    shared_data: Path, run: Run, tmp_path: Path
) -> None:
    settings: dict[str, Any] = {"dataset_dir": str(shared_data / "nih-cxr14"), "source": "imagenet"}
    settings |= {"network": "efficientnet_lite0", "image_size": 320, "num_folds": 5, "validation_folds": 8}
    settings["overwrite"] = True
    means = {
        p_art: pd.DataFrame([run(SCREEN, p_art=p_art, fold=fold, **settings) for fold in range(5)]).mean()
        for p_art in (0, 1)
    }
    assert means[0]["clean_auc"] > 0.8 and abs(means[0]["iid_minus_ood_auc"]) < 0.03
    assert means[1]["iid_auc"] > means[0]["iid_auc"] + 0.02
    assert means[1]["ood_auc"] < means[0]["ood_auc"] - 0.05
    assert means[1]["confounder_effect"] > means[0]["confounder_effect"] + 0.5


def test_without_a_confounder_all_environments_are_one(run: Run) -> None:
    metrics = run(confounder="none")
    assert metrics["clean_auc"] == metrics["iid_auc"] == metrics["ood_auc"]
    assert metrics["confounder_effect"] == 0


def test_a_sampled_confounder_compares_cohorts_of_disjoint_patients(run: Run, tmp_path: Path) -> None:
    args = {"value": "F", "test_fraction": 0.5}
    metrics = run(confounder="sex", confounder_args=args, p_art=1.0, num_folds=2)
    assert "confounder_effect" not in metrics and "detectability_auc" not in metrics
    predictions = read_predictions(tmp_path / "out" / "predictions.csv")
    iid = predictions[predictions["environment"].str.contains("iid")]
    ood = predictions[predictions["environment"].str.contains("ood")]
    assert set(zip(iid["label"], iid["sex"], strict=True)) == {(1, "F"), (0, "M")}
    assert set(zip(ood["label"], ood["sex"], strict=True)) == {(1, "M"), (0, "F")}
    assert (predictions["score_clean"] == predictions["score_confounded"]).all()


def test_the_papers_protocol_reports_its_auc_under_its_own_name(run: Run) -> None:
    metrics = run(protocol="paper")
    assert {"iid_auc", "iid_auc_flattened"} <= set(metrics)


def test_mlflow_keeps_the_comparison_and_nobodys_name(
    radiograph_cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = tmp_path / "Doe^Jane"
    (secret / "images").mkdir(parents=True)
    cases = pd.read_csv(radiograph_cohort / "cases.csv")
    cases["patient_id"] = [f"Jane-Doe-{number}" for number in range(len(cases))]
    cases["case_id"] = [f"accession-{number}" for number in range(len(cases))]
    for image in cases["image"]:
        (secret / image).write_bytes((radiograph_cohort / image).read_bytes())
    cases.to_csv(secret / "cases.csv", index=False)
    monkeypatch.chdir(tmp_path)
    store = "sqlite:///mlruns/mlflow.db"
    weights = secret / "weights.pth"
    torch.save(create_classifier("resnet18")[1].state_dict(), weights)
    settings = {"dataset_dir": str(secret), "cases": str(secret / "cases.csv"), "source": str(weights)}
    settings |= {"target": "hospital", "tracking_uri": store, "output_dir": "out", "log_images": "false"}
    start(TRAIN, **settings).run()
    mlflow.set_tracking_uri(store)
    recorded_run = mlflow.search_runs(experiment_names=["xray_classification"]).iloc[0]
    assert recorded_run["status"] == "FINISHED" and recorded_run["tags.target"] == "hospital"
    assert recorded_run["tags.source"].startswith("weights-")
    assert {"metrics.iid_auc", "metrics.ood_auc", "metrics.val_loss"} <= set(recorded_run.index)
    files = [path for path in (tmp_path / "mlruns").rglob("*") if path.is_file()]
    kept = {path.name for path in files}
    assert {"training_curves.png", "predictions.csv", "validation.csv"} <= kept
    assert {"config.yaml", "metrics.json"} <= kept
    assert "examples.png" not in kept  # as asked: the command line hands false over as a word
    for path in files:
        content = path.read_bytes()
        assert b"Doe" not in content and b"accession-" not in content, f"an identifier is in {path}"


def test_a_crash_ends_the_run_as_failed_and_leaves_no_files(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = f"sqlite:///{tmp_path}/mlruns/mlflow.db"
    monkeypatch.setattr("srcmatters.training.run_record.metrics_of", lambda *_: 1 / 0)
    with pytest.raises(RuntimeError):
        run(tracking_uri=store)
    mlflow.set_tracking_uri(store)
    assert mlflow.search_runs(experiment_names=["xray_classification"])["status"].tolist() == ["FAILED"]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"adaptation": "liner"}, "adaptation: 'liner' is unknown: did you mean 'linear'?"),
        ({"epoch": 1}, "--epoch: unknown setting: did you mean 'max_epochs'"),
        ({"confouder": "tag"}, "did you mean 'confounder"),
        ({"dataset_dir": "nowhere"}, "dataset_dir: nowhere is not a folder"),
        ({"cases": "other.csv"}, "other.csv does not exist"),
        ({"source": "imagnet"}, "did you mean 'imagenet'"),
        ({"network": "resnet51"}, "did you mean 'resnet50'"),
        ({"confounder": "tga"}, "did you mean 'tag'"),
        ({"confounder_args": {"hight": 1}}, "no parameter 'hight': did you mean 'height'"),
        ({"p_art": 1.5}, "p_art: got 1.5, expected a number between 0 and 1"),
        ({"p_art": "half"}, "p_art: got 'half'"),
        ({"fold": 3}, "fold: got 3 of num_folds 3"),
        ({"num_folds": 40}, "num_folds: got 40"),
        ({"output_dir": "/proc/out"}, "output_dir: /proc/out cannot be written"),
        ({"tracking_uri": "file:///x"}, "tracking_uri"),
        ({"confounder": "sex"}, "confounder_args: sex is sampled from the case table, expected a value"),
        ({"confounder": "sex", "confounder_args": {"value": "Q"}}, "Q"),
        ({"confounder": "sex", "confounder_args": {"valu": "F", "value": "F"}}, "confounder_args"),
        ({"confounder": "low_dose_ct"}, "LowDoseCT"),
        # 500 cycles per image lie beyond what 64 pixels hold: nothing is removed.
        (
            {"confounder": "denoise", "confounder_args": {"cutoff": 500}},
            "denoise: not detectable after the preprocessing",
        ),
        ({"protocol": "papr"}, "protocol: 'papr' is unknown: did you mean 'paper'"),
        ({"image_size": 0}, "image_size: got 0"),
        ({"max_epochs": 0}, "max_epochs: got 0"),
        ({"batch_size": 0}, "batch_size: got 0"),
        ({"learning_rate": -1}, "learning_rate: got -1"),
        ({"learning_rate": 1e20, "max_epochs": 2}, "learning_rate: the training loss is"),
        ({"device": "gpu"}, "device: 'gpu' is none"),
        ({"device": "cuda:64"}, "CUDA devices are available"),
        ({"augmentation": {"zom": 0}}, "augmentation: 'zom' is unknown: did you mean 'zoom'"),
        ({"augmentation": {"zoom": "x"}}, "augmentation: zoom is 'x'"),
        ({"val_interval": 2}, "val_interval: got 2, expected no more than max_epochs (1)"),
        ({"confounder_args": "text=L"}, "confounder_args: got 'text=L', expected a mapping"),
        ({"confounder_args": {"height": "0.05"}}, "confounder_args"),
        ({"confounder": "patient_id", "confounder_args": {"value": "P"}}, "'patient_id' is unknown"),
        ({"force": "maybe"}, "force: got 'maybe', expected true or false"),
        ({"log_images": 3}, "log_images: got 3"),
        ({"validation_folds": 40}, "validation_folds: got 40"),
        ({"num_workers": -1}, "num_workers: got -1"),
        ({"unreadable": "skipp"}, "unreadable: 'skipp' is unknown: did you mean 'skip'"),
        ({"files": SCREEN, "save_model": "maybe"}, "save_model: got 'maybe', expected true or false"),
        ({"files": SCREEN, "epoch": 1}, "--epoch: unknown setting: did you mean 'max_epochs'"),
        ({"files": SCREEN, "num_folds": 40}, "num_folds: got 40"),
    ],
)
def test_a_mistake_is_answered_in_one_line(
    refused: Callable[..., str], overrides: dict, message: str
) -> None:
    assert message in refused(**overrides)


def test_a_refused_run_leaves_no_folder(refused: Callable[..., str], tmp_path: Path) -> None:
    refused(tracking_uri="file:///x")
    assert not (tmp_path / "out").exists()


def test_weights_of_another_network_are_refused(refused: Callable[..., str], tmp_path: Path) -> None:
    weights = create_classifier("resnet50")[1].state_dict()
    torch.save(weights, tmp_path / "resnet50.pth")
    message = refused(source=str(tmp_path / "resnet50.pth"))
    assert "resnet50.pth" in message and "another network" in message


@pytest.mark.parametrize("damage", ["unreadable", "one_class", "column"])
def test_a_damaged_cohort_is_answered_in_one_line(
    refused: Callable[..., str], radiograph_cohort: Path, tmp_path: Path, damage: str
) -> None:
    cases = pd.read_csv(radiograph_cohort / "cases.csv")
    folder = tmp_path / "cohort"
    (folder / "images").mkdir(parents=True)
    for image in cases["image"]:
        (folder / image).write_bytes((radiograph_cohort / image).read_bytes())
    if damage == "unreadable":
        (folder / cases["image"][7]).write_bytes(b"no image")
    if damage == "one_class":
        cases["label"] = 0
    if damage == "column":
        cases = cases.rename(columns={"label": "lable"})
    cases.to_csv(folder / "cases.csv", index=False)
    expected = {
        "unreadable": Path(cases["image"][7]).name,
        "one_class": "every label is 0",
        "column": "no column 'label': did you mean 'lable'",
    }
    assert expected[damage] in refused(dataset_dir=str(folder))


def test_on_the_command_line_a_mistake_is_one_line_and_no_traceback(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "monai.bundle",
        "run",
        "training",
        "--config_file",
        TRAIN,
        "--epoch",
        "1",
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert done.stderr.strip().splitlines()[-1].startswith("error: --epoch: unknown setting")


def test_metadata_is_valid() -> None:
    schema = REPOSITORY / "bundles" / "metadata_schema.json"
    verify_metadata(meta_file=str(CONFIGS / "metadata.json"), filepath=str(schema))


def test_the_network_takes_and_gives_what_the_metadata_says() -> None:
    verify_net_in_out(
        net_id="network_def",
        meta_file=str(CONFIGS / "metadata.json"),
        config_file=TRAIN,
        device="cpu",
        source="random",
    )


def test_the_required_ids_of_the_model_zoo_are_there(radiograph_cohort: Path, tmp_path: Path) -> None:
    overrides = {"dataset_dir": str(radiograph_cohort), "output_dir": str(tmp_path / "out")}
    assert not start(TRAIN, workflow_type="train", **overrides).check_properties()


@pytest.mark.slow
def test_a_finished_run_exports_to_torchscript_and_onnx(run: Run, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    import onnxruntime
    from monai.bundle import onnx_export

    name = "efficientnet_lite0"
    run(network=name)
    common = {
        "net_id": "network_def",
        "ckpt_file": str(tmp_path / "out" / "model.pt"),
        "meta_file": str(CONFIGS / "metadata.json"),
        "config_file": TRAIN,
        "network": name,
        "source": "random",
    }
    ckpt_export(filepath=str(tmp_path / "model.ts"), **common)
    onnx_export(filepath=str(tmp_path / "model.onnx"), use_trace=True, input_shape=[2, 1, 160, 160], **common)
    network = create_classifier(name)
    network.load_state_dict(torch.load(tmp_path / "out" / "model.pt", weights_only=True))
    images = torch.rand(2, 1, 160, 160)
    with torch.inference_mode():
        expected = network.eval()(images)
        scripted = torch.jit.load(tmp_path / "model.ts").eval()(images)
    torch.testing.assert_close(scripted, expected, atol=1e-4, rtol=1e-4)
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    onnx = session.run(None, {session.get_inputs()[0].name: images.numpy()})[0]
    np.testing.assert_allclose(onnx, expected.numpy(), atol=1e-4)


@pytest.mark.slow  # two programs that start torch and MLflow: a minute of two cores
def test_two_processes_train_one_network(radiograph_cohort: Path, tmp_path: Path) -> None:
    files = f"['{TRAIN}','{CONFIGS / 'multi_gpu_train.yaml'}']"
    overrides = {key: str(value) for key, value in QUICK.items() if key not in ("device", "tracking_uri")}
    overrides |= {"dataset_dir": str(radiograph_cohort), "output_dir": "out", "max_epochs": "2"}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    command += ["-m", "monai.bundle", "run", "training", "--config_file", files]
    command += [word for key, value in overrides.items() for word in (f"--{key}", value)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, env=environment, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert len(read_predictions(tmp_path / "out" / "predictions.csv")) == 16
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/mlruns/mlflow.db")
    assert mlflow.search_runs(experiment_names=["xray_classification"])["status"].tolist() == ["FINISHED"]


def test_errors_of_the_program_are_not_hidden(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("srcmatters.training.run_record.metrics_of", lambda *_: 1 / 0)
    with pytest.raises(RuntimeError) as caught:
        run()
    assert find_input_error(caught.value) is None
    assert not isinstance(caught.value, InputError)
