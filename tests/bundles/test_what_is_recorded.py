"""What a run records is what ran, whichever way a setting reached the objects that compute."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from monai.bundle import ConfigWorkflow, create_workflow
from monai.fl.client import MonaiAlgo
from monai.fl.utils.constants import ExtraItems, ModelType
from monai.fl.utils.exchange_object import ExchangeObject

from srcmatters.errors import find_input_error
from srcmatters.training import overrides

CONFIGS = Path(__file__).parents[2] / "bundles" / "xray_classification" / "configs"
TRAIN = str(CONFIGS / "train.yaml")
SCREEN = [TRAIN, str(CONFIGS / "screen.yaml")]
QUICK: dict[str, Any] = {
    "source": "random",
    "network": "resnet10",
    "image_size": 32,
    "max_epochs": 2,
    "batch_size": 8,
    "num_folds": 3,
    "validation_folds": 3,
    "num_workers": 0,
    "tracking_uri": "",
    "device": "cpu",
    "force": "true",
}

Start = Callable[..., ConfigWorkflow]


@pytest.fixture
def start(radiograph_cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Start:
    """A workflow that is initialised in a folder of its own."""
    monkeypatch.chdir(tmp_path)

    def workflow(files: str | list[str] = TRAIN, **changes: Any) -> ConfigWorkflow:
        settings = {**QUICK, "dataset_dir": str(radiograph_cohort), "output_dir": "out", **changes}
        return create_workflow(config_file=files, run_id="training", logging_file=False, **settings)

    return workflow


def message_of(action: Callable[[], object]) -> str:
    with pytest.raises(Exception) as caught:
        action()
    mistake = find_input_error(caught.value)
    assert mistake is not None, f"not said as a user's mistake: {caught.value!r}"
    assert "\n" not in str(mistake)
    return str(mistake)


def overlay(tmp_path: Path, **content: Any) -> list[str]:
    path = tmp_path / "overlay.yaml"
    path.write_text(yaml.safe_dump(content))
    return [TRAIN, str(path)]


def settings_of(folder: str | Path) -> dict[str, Any]:
    return json.loads((Path(folder) / "metrics.json").read_text())["settings"]


def test_nested_overrides_are_recorded_as_they_ran(start: Start) -> None:
    nested = {
        "train#trainer#max_epochs": 1,
        "optimizer::lr": 1e-4,
        "optimizer::weight_decay": 0.2,
        "train::dataloader::batch_size": 4,
        "network_def::network": "resnet18",
        "network_def::dropout": 0.1,
        "choice::p_art": 1.0,
        "train::handlers::3::patience": 2,
        "train::prepare_batch::augmentation": "$None",
    }
    start(**nested).run()
    recorded = settings_of("out")
    expected = {
        "max_epochs": 1,
        "learning_rate": 1e-4,
        "weight_decay": 0.2,
        "batch_size": 4,
        "network": "resnet18",
        "source": "random",
        "dropout": 0.1,
        "p_art": 1.0,
        "early_stop_patience": 2,
        "augmentation": {},
    }
    assert {name: recorded[name] for name in expected} == expected
    weights = torch.load("out/model.pt", weights_only=True)
    assert "1.layer2.1.conv1.weight" in weights  # of a ResNet18, a ResNet10 has one block here


def test_the_default_folder_is_named_after_what_ran(start: Start) -> None:
    start(
        output_dir="$runs.default_output_dir('xray_classification', @settings)", **{"choice::p_art": 1.0}
    ).run()
    (folder,) = Path("mlruns/outputs/xray_classification").iterdir()
    assert "-p1.0-" in folder.name and settings_of(folder)["p_art"] == 1.0


def test_a_target_keeps_the_name_that_a_user_gives_it(start: Start) -> None:
    start(SCREEN, target="our hospital").run()
    assert settings_of("out")["target"] == "our hospital"


def test_properties_of_the_workflow_are_recorded(start: Start) -> None:
    workflow = start()
    workflow.max_epochs = 1
    workflow.initialize()
    workflow.run()
    assert settings_of("out")["max_epochs"] == 1


REPLACED = {
    "_target_": "monai.networks.nets.DenseNet121",
    "spatial_dims": 2,
    "in_channels": 1,
    "out_channels": 2,
}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"network_def": REPLACED}, "network_def: got a DenseNet121, of which nothing tells the source"),
        ({"network_on_device": REPLACED}, "train::trainer: it trains another network"),
        (
            {"optimizer": {"_target_": "torch.optim.SGD", "params": "$[torch.nn.Parameter(torch.zeros(1))]"}},
            "optimizer: it has weights that are not network_def's",
        ),
        (
            {"confounder_def": {"_target_": "srcmatters.confounders.JpegCompression"}},
            "confounder: JpegCompression",
        ),
        ({"validate::handlers": []}, "validate::handlers: no CheckpointSaver"),
        ({"train::dataset::carries": "$None"}, "train::dataset: not the cases"),
        ({"test::fold": 1}, "fold: the test has 1, the cases 0"),
    ],
)
def test_what_cannot_be_recorded_is_refused_before_training(
    start: Start, changes: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("monai.engines.SupervisedTrainer.run", lambda *_: pytest.fail("it trained"))
    if "network_on_device" in changes:  # the optimizer is checked as well, and would be named first
        changes = {**changes, "optimizer::params": "$@network_def.parameters()"}
    assert message in message_of(start(**changes).run)
    assert not Path("out").exists()


def test_weights_that_were_changed_after_loading_are_no_source(start: Start) -> None:
    workflow = start()
    with torch.no_grad():
        next(workflow.network_def.parameters()).add_(1)
    assert "its weights are not those of source random" in message_of(workflow.run)


def test_a_screen_records_the_cases_and_the_network_that_made_the_features(
    start: Start, radiograph_cohort: Path, tmp_path: Path
) -> None:
    shutil.copytree(radiograph_cohort, tmp_path / "clinic")
    nested = {"network_def::dropout": 0.5, "choice::p_art": 1.0}
    nested["case_table"] = f"$cohorts.open_cohort('{tmp_path / 'clinic'}')"
    start(SCREEN, image_size=32, **nested).run()
    recorded = settings_of("out")
    assert recorded["target"] == "clinic"
    assert recorded["p_art"] == 1.0 and recorded["depth"] == "screen" and recorded["image_size"] == 32
    message = message_of(
        start(SCREEN, image_size=32, output_dir="other", **{"network_def::network": "resnet18"}).run
    )
    assert "features: read as of resnet10, but the network is resnet18" in message


def test_a_finished_run_is_replaced_by_its_like_only(start: Start, radiograph_cohort: Path) -> None:
    start(SCREEN, image_size=32).run()
    first = Path("out/metrics.json").read_bytes()
    start(SCREEN, image_size=32).run()
    assert Path("out/metrics.json").read_bytes() == first
    message = message_of(start(SCREEN, image_size=32, seed=1).run)
    assert "a finished run with seed 0 is in out, this one has 1" in message and "--overwrite true" in message
    assert Path("out/metrics.json").read_bytes() == first
    start(SCREEN, image_size=32, seed=1, overwrite="true").run()
    assert settings_of("out")["seed"] == 1


def test_a_workflow_runs_once(start: Start) -> None:
    workflow = start(max_epochs=1)
    workflow.run()
    assert "has run already" in message_of(workflow.run)


def test_monais_own_tracking_is_refused_before_training(start: Start) -> None:
    assert "--tracking: this bundle records its runs in MLflow by itself" in message_of(
        lambda: start(tracking="mlflow")
    )
    assert not Path("out").exists()


def test_ids_of_the_bundle_are_known_when_nothing_refers_to_them(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = overlay(tmp_path, network_def=REPLACED)
    start(files)  # nothing refers to spatial_dims any more
    assert "--weigth_decay: unknown setting: did you mean 'weight_decay'" in message_of(
        lambda: start(weigth_decay=0.1)
    )
    monkeypatch.setattr(overrides, "_bundle_ids", frozenset)
    assert "--spatial_dims: unknown setting" in message_of(lambda: start(files))


def test_a_trainer_that_nobody_ran_to_its_end_leaves_no_rest(start: Start) -> None:
    workflow = start()
    assert workflow.trainer is not None
    assert list(Path("out").iterdir())
    results = workflow.parser.get_parsed_content("results")
    del workflow
    results._rest()  # what the interpreter calls when the process ends
    assert not Path("out").exists()


def test_monais_federated_client_trains_two_rounds_and_finds_its_best_model(
    radiograph_cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(CONFIGS.parent, tmp_path / "app")
    settings = {**QUICK, "dataset_dir": str(radiograph_cohort)}
    client = MonaiAlgo(
        bundle_root="app",
        config_train_filename="configs/train.yaml",
        config_evaluate_filename=["configs/train.yaml", "configs/evaluate.yaml"],
        train_kwargs={**settings, "output_dir": "trained"},
        eval_kwargs={**settings, "output_dir": "evaluated"},
    )
    client.initialize({ExtraItems.CLIENT_NAME: "hospital", ExtraItems.APP_ROOT: str(tmp_path)})
    assert client.trainer is not None
    weights = {name: tensor.clone() for name, tensor in client.trainer.network.state_dict().items()}
    for _ in range(2):
        client.train(ExchangeObject(weights=weights))
        change = client.get_weights().weights
        weights = {name: tensor + change[name] for name, tensor in weights.items()}
        metrics = client.evaluate(ExchangeObject(weights=weights)).metrics
        assert 0 < metrics["val_loss"] < 5
    assert client.trainer.state.epoch == 2
    best = client.get_weights({ExtraItems.MODEL_TYPE: ModelType.BEST_MODEL}).weights
    assert set(best) == set(weights)
    client.finalize()
