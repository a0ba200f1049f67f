"""The bundle that makes sources: what it writes, how it goes on after an interruption, what it refuses."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ignite.engine import Events
from monai.bundle import ConfigWorkflow, create_workflow, verify_metadata
from PIL import Image
from safetensors.torch import load_file

from srcmatters.errors import find_input_error
from srcmatters.sources import create_classifier
from srcmatters.sources.source_file import read_source_entry

REPOSITORY = Path(__file__).parents[2]
CONFIGS = REPOSITORY / "bundles" / "source_pretraining" / "configs"
TRAIN = str(CONFIGS / "train.yaml")
SIMCLR = [TRAIN, str(CONFIGS / "simclr.yaml")]
XRAY = str(REPOSITORY / "bundles" / "xray_classification" / "configs" / "train.yaml")
QUICK: dict[str, Any] = {
    "name": "stripes",
    "network": "resnet18",
    "image_size": 32,
    "max_epochs": 3,
    "batch_size": 16,
    "validation_folds": 4,
    "num_workers": 0,
    "tracking_uri": "",
    "device": "cpu",
}

Start = Callable[..., ConfigWorkflow]


@pytest.fixture(scope="module")
def stripes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three folders of 20 grey images: stripes down, stripes across, and noise."""
    folder = tmp_path_factory.mktemp("stripes")
    stream = np.random.default_rng(0)
    wave = np.sin(np.arange(32) * 1.2)
    for name, pattern in (("down", wave[:, None]), ("across", wave[None]), ("noise", np.zeros((1, 1)))):
        (folder / name).mkdir()
        for number in range(20):
            grey = 128 + 60 * pattern + stream.normal(0, 30, (32, 32))
            Image.fromarray(grey.clip(0, 255).astype(np.uint8)).save(folder / name / f"{number:02}.png")
    return folder


@pytest.fixture
def start(stripes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Start:
    """A workflow of the bundle in a folder of its own."""
    monkeypatch.chdir(tmp_path)

    def workflow(files: str | list[str] = TRAIN, **overrides: Any) -> ConfigWorkflow:
        settings = {**QUICK, "dataset_dir": str(stripes), **overrides}
        return create_workflow(config_file=files, run_id="training", logging_file=False, **settings)

    return workflow


@pytest.fixture
def refused(start: Start) -> Callable[..., str]:
    """The one line that a user sees for these overrides."""

    def message(files: str | list[str] = TRAIN, **overrides: Any) -> str:
        with pytest.raises(Exception) as caught:
            start(files, **overrides).run()
        mistake = find_input_error(caught.value)
        assert mistake is not None, f"not said as a user's mistake: {caught.value!r}"
        assert "\n" not in str(mistake)
        return str(mistake)

    return message


def interrupt(workflow: ConfigWorkflow, epoch: int) -> None:
    """Stop a training in the middle of an epoch, as Ctrl-C does."""
    trainer = workflow.parser.get_parsed_content("train::trainer")

    def stop() -> None:
        raise KeyboardInterrupt

    trainer.add_event_handler(Events.ITERATION_COMPLETED(once=(epoch - 1) * 3 + 2), stop)
    with pytest.raises(KeyboardInterrupt):
        workflow.run()


def test_the_source_is_taken_by_its_path_and_by_its_name(start: Start, tmp_path: Path) -> None:
    workflow = start()
    metrics = workflow.run()[-1]
    folder = tmp_path / "mlruns" / "sources" / "stripes"
    names = sorted(path.name for path in folder.iterdir())
    assert names == ["config.yaml", "figures", "pretraining.json", "stripes.safetensors"]
    trained = workflow.parser.get_parsed_content("network_def")
    for source in ("stripes", str(folder / "stripes.safetensors")):
        loaded = create_classifier("resnet18", source)
        expected, actual = trained[1].state_dict(), loaded[1].state_dict()
        for name in expected:
            assert name.startswith("fc.") or torch.equal(expected[name], actual[name]), name
        assert torch.equal(trained[0].mean, loaded[0].mean)
    entry = read_source_entry(folder / "stripes.safetensors")
    assert entry is not None and entry.training is not None
    assert entry.training["classes"] == ["across", "down", "noise"]
    assert entry.training["settings"]["max_epochs"] == 3
    assert entry.training["metrics"]["val_accuracy"] == metrics["val_accuracy"]
    assert not any(name.startswith("fc.") for name in load_file(folder / "stripes.safetensors"))


@pytest.mark.slow
def test_stripes_are_learnt(start: Start) -> None:
    metrics = start(max_epochs=8, learning_rate=0.003, tracking_uri="").run()[-1]
    assert metrics["val_accuracy"] > 0.8 and metrics["training_cases"] == 45


def test_an_interrupted_training_ends_as_an_undisturbed_one(start: Start, tmp_path: Path) -> None:
    start(output_dir="undisturbed").run()
    interrupt(start(output_dir="interrupted"), epoch=3)
    assert not (tmp_path / "interrupted" / "stripes.safetensors").exists()
    again = start(output_dir="interrupted")
    again.run()
    history = again.parser.get_parsed_content("epoch_log").history
    assert [row["epoch"] for row in history] == [1, 2, 3]
    assert not (tmp_path / "interrupted" / "checkpoint").exists()
    weights = [load_file(tmp_path / name / "stripes.safetensors") for name in ("undisturbed", "interrupted")]
    assert weights[0].keys() == weights[1].keys()
    for name, tensor in weights[0].items():
        assert torch.equal(tensor, weights[1][name]), name


@pytest.mark.slow
def test_a_source_starts_from_another_one(start: Start) -> None:
    start().run()
    settings = {"name": "second", "source": "stripes", "max_epochs": 1, "learning_rate": 1e-9}
    workflow = start(**settings)
    workflow.run()
    first, second = (load_file(f"mlruns/sources/{name}/{name}.safetensors") for name in ("stripes", "second"))
    assert torch.allclose(first["conv1.weight"], second["conv1.weight"], atol=1e-6)


@pytest.mark.slow
def test_without_labels_views_of_an_image_come_together(start: Start, tmp_path: Path) -> None:
    flat = tmp_path / "flat"
    flat.mkdir()
    stream = np.random.default_rng(0)
    for number in range(64):  # coarse patterns, each its own
        grey = Image.fromarray(stream.integers(0, 255, (4, 4), dtype=np.uint8))
        grey.resize((32, 32), Image.Resampling.BICUBIC).save(flat / f"{number}.png")
    mild = {
        "augmentation": {"rotation": 5, "shift": 0.03, "zoom": 0.05},
        "intensity": {"brightness": 0.05, "contrast": 0.1, "gamma": 0.1, "flip": False},
    }
    workflow = start(SIMCLR, dataset_dir=str(flat), max_epochs=4, batch_size=16, **mild)
    metrics = workflow.run()[-1]
    losses = [row["train_loss"] for row in workflow.parser.get_parsed_content("epoch_log").history]
    assert losses[-1] < losses[0] - 0.5
    assert "probe_accuracy" not in metrics
    create_classifier("resnet18", "stripes")


def test_a_pretraining_records_what_ran(start: Start, stripes: Path, tmp_path: Path) -> None:
    shutil.copytree(stripes, tmp_path / "waves")
    nested = {
        "train::trainer::max_epochs": 1,
        "lr_scheduler::max_lr": 0.004,
        "optimizer::weight_decay": 0.3,
        "train::dataloader::batch_size": 9,
        "network_def::dropout": 0.4,
        "images::dataset_dir": str(tmp_path / "waves"),
    }
    workflow = start(**nested)
    workflow.run()
    (record,) = tmp_path.rglob("pretraining.json")
    recorded = json.loads(record.read_text())["settings"]
    expected = {
        "max_epochs": 1,
        "learning_rate": 0.004,
        "weight_decay": 0.3,
        "batch_size": 9,
        "dropout": 0.4,
        "target": "waves",
    }
    assert {name: recorded[name] for name in expected} == expected


@pytest.mark.slow
def test_self_supervised_features_are_probed_where_there_are_labels(start: Start) -> None:
    metrics = start(SIMCLR, batch_size=15).run()[-1]
    assert metrics["probe_accuracy"] > 0.6 and "val_accuracy" not in metrics


def test_a_fine_tuning_takes_it(start: Start, radiograph_cohort: Path, tmp_path: Path) -> None:
    start(max_epochs=1).run()
    quick = {name: QUICK[name] for name in ("network", "image_size", "num_workers", "tracking_uri", "device")}
    create_workflow(
        config_file=XRAY,
        run_id="training",
        logging_file=False,
        **quick,
        source="stripes",
        max_epochs=1,
        batch_size=8,
        num_folds=3,
        validation_folds=3,
        dataset_dir=str(radiograph_cohort),
        output_dir=str(tmp_path / "out"),
    ).run()
    record = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert record["settings"]["source"].startswith("stripes")


def test_what_is_wrong_is_one_line(start: Start, refused: Callable[..., str], tmp_path: Path) -> None:
    interrupt(start(), epoch=2)
    assert refused(learning_rate=0.1).startswith("learning_rate: got 0.1, but the unfinished training in")
    for checkpoint in (tmp_path / "mlruns" / "sources" / "stripes" / "checkpoint").glob("*.pt"):
        checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    assert "not a readable checkpoint" in refused()
    start(name="done", max_epochs=1).run()
    assert "done.safetensors exists already" in refused(name="done", max_epochs=1)
    one = tmp_path / "one" / "class"
    one.mkdir(parents=True)
    Image.new("L", (32, 32)).save(one / "a.png")
    assert "every image is of class 'class'" in refused(dataset_dir=str(one.parent))
    assert "validation_folds: got 40" in refused(validation_folds=40)
    assert "--epochs: unknown setting" in refused(epochs=3, name="other")
    assert "temperature: got -1" in refused(SIMCLR, temperature=-1, name="other")
    assert "name: got 'a/b'" in refused(name="a/b")


def test_metadata_is_complete() -> None:
    schema = REPOSITORY / "bundles" / "metadata_schema.json"
    verify_metadata(meta_file=str(CONFIGS / "metadata.json"), filepath=str(schema))
