"""At p_art 0 one training run serves every confounder that is put into images, and changes no prediction."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from conftest import InlineExecutor
from monai.engines import SupervisedTrainer

from srcmatters.cohorts.folds import Split
from srcmatters.cohorts.study_cases import StudyCases
from srcmatters.errors import InputError
from srcmatters.studies.cell_run import run_cell
from srcmatters.studies.cells import bundle_config, count_trainings, expand, task_of
from srcmatters.studies.plan_view import print_plan
from srcmatters.studies.runner import StudyRun
from srcmatters.studies.study_file import Study
from srcmatters.training.shared_training import SharedTraining, training_key

BUNDLE = Path(__file__).parents[2] / "bundles" / "xray_classification"
QUICK = {"image_size": 32, "max_epochs": 1, "batch_size": 8, "num_folds": 3, "validation_folds": 3,
         "num_workers": 0, "device": "cpu", "force": "true", "log_images": False}  # fmt: skip
Make = Callable[..., Study]


@pytest.fixture
def grid(tiny_study: Make, radiograph_cohort: Path) -> Make:
    """A study of phantoms that fine-tunes; arguments replace its axes."""

    def make(**axes: Any) -> Study:
        both = {"source": ["random"], "network": ["resnet10"], "confounder": ["tag", "denoise"], "p_art": [0]}
        fields = {"bundle": str(BUNDLE), "dataset_dir": str(radiograph_cohort), "overrides": QUICK}
        return tiny_study(**fields, axes={**both, **axes})

    return make


@pytest.fixture
def trainings(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows with every training run."""
    runs: list[int] = []
    run = SupervisedTrainer.run

    def counted(self: SupervisedTrainer) -> None:
        runs.append(1)
        run(self)

    monkeypatch.setattr(SupervisedTrainer, "run", counted)
    return runs


def test_a_shared_training_predicts_what_one_of_its_own_predicts(
    grid: Make, trainings: list[int], tmp_path: Path
) -> None:
    study, executor = grid(), InlineExecutor()
    end = StudyRun(study, tmp_path / "study", lambda: executor).run()
    assert end.finished == 2 and len(trainings) == 1
    first, second = (tmp_path / "study" / "cells" / cell for cell in executor.order)
    records = [json.loads((folder / "training.json").read_text()) for folder in (first, second)]
    assert [record["trained_by"] for record in records] == [first.name, first.name]

    cell = expand(study)[1]
    task = task_of(cell, study, tmp_path / "apart", bundle_config(study), None)
    apart = replace(task, overrides={**task.overrides, "trainings_dir": None})
    assert run_cell(apart).status == "finished" and len(trainings) == 2
    own = tmp_path / "apart" / "cells" / second.name
    for name in ("predictions.csv", "validation.csv", "metrics.json"):
        assert (own / name).read_bytes() == (second / name).read_bytes()
    weights = [torch.load(folder / "model.pt", weights_only=True) for folder in (own, second)]
    assert all(torch.equal(weights[0][name], tensor) for name, tensor in weights[1].items())
    assert (first / "predictions.csv").read_bytes() != (second / "predictions.csv").read_bytes()
    # The run's own configuration trains again, wherever the study's folder is by then.
    assert yaml.safe_load((second / "config.yaml").read_text())["trainings_dir"] is None
    assert (own / "config.yaml").is_file() and not (own / "training.json").exists()
    assert (second / "figures" / "training_curves.png").is_file()


def test_the_plan_counts_a_shared_training_once(
    grid: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sex = {"name": "sex", "args": {"value": "F"}}
    study = grid(confounder=["tag", "denoise", sex], p_art=[0, 1], fold=[0, 1], source=["random", "imagenet"])
    cells = expand(study)
    # Two sources and folds: p_art 1 of three, p_art 0 of the sampled one, and p_art 0 of both others at once.
    assert len(cells) == 24 and count_trainings(cells) == 20
    named = {(cell.axes["confounder"], cell.axes["p_art"]) for cell in cells if cell.training}
    assert named == {("tag", 0), ("denoise", 0)}
    done = [cell for cell in cells if cell.axes["confounder"] == "tag" and cell.training]
    assert count_trainings([cell for cell in cells if cell not in done], done) == 16
    print_plan(study, cells, tmp_path / "study", workers=1)
    assert "20: at p_art 0 one serves every confounder" in capsys.readouterr().out
    assert not any(cell.training for cell in expand(replace(study, depth="screen")))


def test_a_failed_training_leaves_nothing_and_the_next_run_trains(tmp_path: Path) -> None:
    shared = SharedTraining(tmp_path / "trainings")
    working = [tmp_path / f"run{number}" / "working" for number in range(4)]
    for folder in working:
        folder.mkdir(parents=True)

    def train(folder: Path, text: str = "") -> list[dict[str, float]]:
        (folder / "model.pt").write_text(text)
        if not text:
            raise RuntimeError("killed")
        return [{"epoch": 1, "train_loss": 0.5}]

    with pytest.raises(RuntimeError):
        shared.run("key", working[0], lambda: train(working[0]))
    assert shared.run("key", working[1], lambda: train(working[1], "trained")).trained_by == "run1"
    taken = shared.run("key", working[2], lambda: train(working[2], "trained twice"))
    assert taken.trained_by == "run1" and taken.history == [{"epoch": 1, "train_loss": 0.5}]
    assert (working[2] / "model.pt").read_text() == "trained"
    assert shared.run("other", working[3], lambda: train(working[3], "other")).trained_by == "run3"
    (tmp_path / "trainings" / "key" / "training.json").write_text("{")
    with pytest.raises(InputError, match=r"training.json: not readable .* remove .*key to train again"):
        shared.run("key", working[3], lambda: train(working[3], "again"))


def test_the_key_of_a_training_is_what_it_depends_on() -> None:
    cases = pd.DataFrame({"label": [0, 1, 0, 1, 0, 1]})
    cache: Any = SimpleNamespace(cases=cases, states=2, pixel_digest=lambda state: f"pixels {state}")
    split = Split(np.array([0, 1]), np.array([2, 3]), np.array([4, 5]))
    chosen = StudyCases(split, np.zeros(6, dtype=bool))
    ran: dict[str, Any] = {"seed": 0, "confounder_args": {}, "p_art": 0.0}
    config: dict[str, Any] = {"confounder": "tag", "output_dir": "a", "loss": {"_target_": "A"}}
    key = training_key(ran, config, cache, chosen, "weights")
    assert key is not None
    same = {"confounder": "denoise", "output_dir": "b", "loss": {"_target_": "A"}}
    assert training_key(ran, same, cache, chosen, "weights") == key
    carrying = [np.arange(6) == row for row in range(6)]
    keys = [training_key(ran, config, cache, replace(chosen, carries=one), "weights") for one in carrying]
    assert keys == [None, None, None, None, key, key]  # of the test cases every state is predicted
    others = [
        training_key({**ran, "seed": 1}, config, cache, chosen, "weights"),
        training_key(ran, {**config, "loss": {"_target_": "B"}}, cache, chosen, "weights"),
        training_key(ran, config, cache, chosen, "other weights"),
        training_key(
            ran, config, cache, replace(chosen, split=replace(split, train=np.array([1, 0]))), "weights"
        ),
        training_key(ran, config, SimpleNamespace(**{**vars(cache), "pixel_digest": str}), chosen, "weights"),
    ]
    assert len({key, *others}) == 6 and None not in others
    assert training_key(ran, {**config, "mitigation": "augment"}, cache, chosen, "weights") is None
