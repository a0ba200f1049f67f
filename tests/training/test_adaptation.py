"""What moves of a network, and what stays."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from exported_runs import BUNDLES, QUICK
from monai.bundle import create_workflow
from torch import nn

from srcmatters.cohorts import CaseChoice, choose_cases
from srcmatters.errors import InputError
from srcmatters.sources import create_classifier
from srcmatters.training.adaptation import OWN, adaptation_of, moved_share, trained_parameters

NETWORKS = ("efficientnet_lite0", "resnet10", "densenet121")


def moved_names(network: nn.Module, adaptation: str) -> list[str]:
    moved = {id(weight) for weight in trained_parameters(network, adaptation)}
    return [name for name, weight in network.named_parameters() if id(weight) in moved]


@pytest.mark.parametrize("name", NETWORKS)
def test_fewer_weights_move_the_more_stages_are_frozen(name: str) -> None:
    counts = []
    for adaptation in ("full", "freeze_1", "freeze_3", "freeze_4", "linear"):
        network = create_classifier(name)
        moved = trained_parameters(network, adaptation)
        counts.append(moved_share(network, moved))
        assert adaptation_of(network, moved, adaptation) == adaptation
        assert adaptation_of(network, moved[1:], adaptation) == OWN
    assert counts == sorted(counts, reverse=True) and len(set(counts)) == 5
    assert counts[0] == 1 and counts[-1] < 0.01


def test_a_stage_is_frozen_with_all_before_it() -> None:
    network = create_classifier("resnet10")
    left = {name.split(".")[1] for name in moved_names(network, "freeze_layer2")}
    assert left == {"layer3", "layer4", "fc"}
    assert moved_names(network, "freeze_3") == moved_names(network, "freeze_layer2")
    assert moved_names(create_classifier("efficientnet_lite0"), "freeze_stem")[0].startswith("1._blocks.0")


@pytest.mark.parametrize(
    ("adaptation", "message"),
    [
        ("lineer", "'lineer' is unknown: did you mean 'linear'"),
        ("freeze_9", "no stage '9', expected 1 to 5 or a stage's name"),
        ("freeze_layer22", "no stage 'layer22'.*did you mean 'layer2'"),
    ],
)
def test_an_adaptation_that_does_not_exist_is_refused(adaptation: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        trained_parameters(create_classifier("resnet10"), adaptation)


def test_what_is_frozen_stays_as_it_is_when_the_trainer_trains() -> None:
    network = create_classifier("resnet10")
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    optimizer = torch.optim.AdamW(trained_parameters(network, "freeze_layer3"), lr=0.1)
    network.train()
    network(torch.rand(4, 1, 32, 32)).square().sum().backward()
    optimizer.step()
    changed = {
        name.split(".")[1]
        for name, tensor in network.state_dict().items()
        if not torch.equal(tensor, before[name])
    }
    assert changed == {"layer4", "fc"}


@pytest.fixture
def run(radiograph_cohort: Path, tmp_path: Path) -> Callable[..., Path]:
    def start(name: str, files: tuple[str, ...] = ("train.yaml",), **overrides: Any) -> Path:
        paths = [str(BUNDLES / "xray_classification" / "configs" / file) for file in files]
        out = tmp_path / name
        settings = {**QUICK, "confounder": "none", "p_art": 0.0, "dataset_dir": str(radiograph_cohort)}
        settings |= {"output_dir": str(out), "log_images": False, **overrides}
        create_workflow(config_file=paths, run_id="training", logging_file=False, **settings).run()
        return out

    return start


def settings_of(folder: Path) -> dict[str, Any]:
    return yaml.safe_load((folder / "metrics.json").read_text())["settings"]


def test_the_linear_adaptation_is_the_screen(run: Callable[..., Path]) -> None:
    linear = run("linear", adaptation="linear", train_size=16)
    screen = run("screen", ("train.yaml", "screen.yaml"), image_size=32, train_size=16)
    tables = [pd.read_csv(folder / "predictions.csv") for folder in (linear, screen)]
    assert np.abs(tables[0]["score_clean"] - tables[1]["score_clean"]).max() < 0.001
    assert settings_of(linear)["adaptation"] == "linear"
    assert [settings_of(folder)["train_size"] for folder in (linear, screen)] == [16, 16]
    share = yaml.safe_load((linear / "metrics.json").read_text())["moved_share"]
    assert 0 < share < 0.01


@pytest.mark.slow
def test_the_head_comes_first_and_then_every_weight_moves(run: Callable[..., Path]) -> None:
    head = torch.load(run("linear", adaptation="linear") / "model.pt", weights_only=True)
    # At a rate of next to nothing the network stays at the fitted head.
    still = run("still", adaptation="lp_ft", learning_rate=1e-9)
    kept = torch.load(still / "model.pt", weights_only=True)
    assert torch.allclose(kept["1.fc.weight"], head["1.fc.weight"], atol=1e-5)
    moved = torch.load(run("moved", adaptation="lp_ft") / "model.pt", weights_only=True)
    assert not torch.allclose(moved["1.conv1.weight"], head["1.conv1.weight"])
    full = run("full")
    frozen = torch.load(run("frozen", adaptation="freeze_layer3") / "model.pt", weights_only=True)
    assert settings_of(full)["adaptation"] == "full"
    assert torch.equal(frozen["1.layer3.0.conv1.weight"], head["1.layer3.0.conv1.weight"])


def test_smaller_training_sets_are_part_of_larger_ones_in_the_labels_proportion() -> None:
    cases = pd.DataFrame(
        {"label": [1, 0, 0] * 40, "patient_id": [f"p{number // 2}" for number in range(120)]}
    )
    cases["case_id"] = [f"c{number}" for number in range(120)]
    cases["patient_id"] += cases["label"].astype(str)
    chosen = {size: choose_cases(cases, CaseChoice(p_art=0.5, train_size=size)) for size in (0, 12, 30, 60)}
    sets = {size: set(one.split.train) for size, one in chosen.items()}
    assert sets[12] < sets[30] < sets[60] < sets[0]
    for size in (12, 30, 60):
        split = chosen[size].split
        assert len(split.train) == size
        assert cases["label"].iloc[split.train].sum() == round(size / 3)
        assert chosen[size].realised_p_art["train"] == pytest.approx(0.5, abs=0.1)
        assert np.array_equal(split.test, chosen[0].split.test)
        # Who carries the confounder in the test set does not depend on how many train.
        assert np.array_equal(chosen[size].carries[split.test], chosen[0].carries[split.test])
    for size in (1, 120):
        with pytest.raises(InputError, match=f"train_size: got {size}, expected 0 or up to"):
            choose_cases(cases, CaseChoice(train_size=size))
