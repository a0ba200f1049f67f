"""A comparison of sources says what is the same, what differs, and what was wrong with the question."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from srcmatters.cohorts import read_cases
from srcmatters.errors import InputError
from srcmatters.source_comparison.cka import cka
from srcmatters.source_comparison.comparison import draw_cases, represent
from srcmatters.source_comparison.run import ComparisonRun
from srcmatters.sources import create_classifier

SMALL = {"network": "resnet10", "image_size": 32, "num_workers": 0, "tracking_uri": "", "device": "cpu"}


def reordered(classifier: nn.Sequential) -> nn.Sequential:
    """The same ResNet-10 with the channels of its last stage in another order."""
    order = torch.randperm(512, generator=torch.Generator().manual_seed(0))
    weights = {
        # The second half of the last block and its shortcut are what puts these channels out.
        name: tensor[order]
        if "layer4.0." in name and ("2." in name or "downsample" in name) and tensor.ndim
        else tensor
        for name, tensor in classifier.state_dict().items()
    }
    turned = create_classifier("resnet10")
    turned.load_state_dict(weights)
    return turned


def row(table: pd.DataFrame, stage: str) -> pd.Series:
    return table.set_index("stage").loc[stage]


def test_networks_that_differ_by_the_order_of_channels_are_alike_and_others_are_not() -> None:
    images = torch.rand(40, 1, 48, 48, generator=torch.Generator().manual_seed(0))
    one, other = create_classifier("resnet10", seed=0), create_classifier("resnet10", seed=1)
    representations = [
        represent(each, "resnet10", images, batch_size=16) for each in (one, reordered(one), other)
    ]
    kernels = [[part.kernel for part in by_stage.values()] for by_stage in representations]
    assert np.diag(cka(kernels[0], kernels[1])) == pytest.approx(1, abs=1e-5)
    assert not np.allclose(representations[0]["features"].pooled, representations[1]["features"].pooled)
    assert np.diag(cka(kernels[0], kernels[2]))[-1] < 0.97


def test_what_is_represented_does_not_depend_on_the_batch() -> None:
    images = torch.rand(9, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    one, other = (
        represent(create_classifier("resnet10"), "resnet10", images, batch_size=size) for size in (9, 4)
    )
    for stage, part in one.items():
        np.testing.assert_allclose(part.pooled, other[stage].pooled, rtol=1e-4, atol=1e-5)


def _check_files(out: Path, sources: tuple[str, ...]) -> None:
    names = sorted(path.name for path in out.iterdir())
    assert names == [
        "comparison.json",
        "comparison.png",
        "comparison.svg",
        "probes.csv",
        "similarity.csv",
        "stages.csv",
    ]
    record = json.loads((out / "comparison.json").read_text())
    assert record["cases"] == 48 and record["settings"]["network"] == "efficientnet_lite0"
    assert len(record["dataset_sha256"]) == 64
    probes = pd.read_csv(out / "probes.csv")
    assert list(probes["source"].unique()) == list(sources)
    assert probes[["low", "auc", "high"]].apply(lambda bounds: bounds.is_monotonic_increasing, axis=1).all()
    stages = pd.read_csv(out / "stages.csv")
    assert len(record["stages"]) == len(stages) == 9


@pytest.mark.slow
def test_imagenet_and_random_see_alike_at_first_and_differ_later(
    radiograph_cohort: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = {**SMALL, "network": "efficientnet_lite0", "image_size": 64}
    store = f"sqlite:///{tmp_path / 'store' / 'mlflow.db'}"
    settings["tracking_uri"] = store
    run = ComparisonRun(("imagenet", "random"), str(radiograph_cohort), out=tmp_path / "out", **settings)
    comparison = run.run()
    table = comparison.same_stage()
    _check_files(tmp_path / "out", comparison.sources)
    assert (comparison.similarity["stage_a"] == "stem").sum() == 9
    assert row(table, "stem")["cka"] > 0.8 > row(table, "features")["cka"] + 0.2
    assert (table["standard_error"] > 0).all() and (table["standard_error"] < 0.3).all()
    printed = capsys.readouterr().out
    assert "imagenet – random" in printed and f"{row(table, 'stem')['cka']:.2f} ±" in printed
    _check_tracked(store, row(table, "features")["cka"])


def _check_tracked(store: str, last: float) -> None:
    import mlflow

    client = mlflow.MlflowClient(store)
    experiment = client.get_experiment_by_name("source_comparison")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED" and run.data.params["source"] == "imagenet, random"
    history = client.get_metric_history(run.info.run_id, "cka imagenet - random")
    assert [point.step for point in history] == list(range(9))
    assert history[-1].value == pytest.approx(last)
    assert "comparison.png" in [file.path for file in client.list_artifacts(run.info.run_id)]


def test_a_draw_keeps_the_share_of_positives_and_its_seed(radiograph_cohort: Path) -> None:
    cases = read_cases(radiograph_cohort)
    drawn = draw_cases(cases, 24, seed=3)
    assert len(drawn) == 24 and list(drawn.index) == list(range(24))
    assert drawn["label"].mean() == pytest.approx(cases["label"].mean(), abs=0.05)
    assert list(drawn["case_id"]) == list(draw_cases(cases, 24, seed=3)["case_id"])
    assert list(drawn["case_id"]) != list(draw_cases(cases, 24, seed=4)["case_id"])
    assert len(draw_cases(cases, 1000)) == len(cases)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sources": ("random",)}, "sources: got random, expected two or more"),
        ({"sources": ("random", "random")}, "sources: got random, random, expected two or more"),
        ({"sources": ("random", "imagnet")}, "imagnet"),
        ({"network": "resnet51"}, "did you mean 'resnet50'"),
        ({"max_cases": 5}, "max_cases: got 5"),
        ({"image_size": 8}, "image_size: got 8"),
        ({"device": "gpu"}, "device: 'gpu'"),
        ({"dataset_dir": "nowhere"}, "nowhere is not a folder"),
        ({"cases": "other.csv"}, "other.csv does not exist"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(
    change: dict[str, object], message: str, radiograph_cohort: Path, tmp_path: Path
) -> None:
    arguments: dict[str, object] = {"sources": ("random", "imagenet"), "dataset_dir": str(radiograph_cohort)}
    run = ComparisonRun(**{**SMALL, **arguments, "out": tmp_path / "out", **change})  # type: ignore[arg-type]
    with pytest.raises(InputError) as caught:
        run.run()
    assert message in str(caught.value) and "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_one_label_alone_cannot_be_probed(make_cohort: Callable[[int], Path], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="every label is 1, expected both 0 and 1"):
        ComparisonRun(("random", "imagenet"), str(make_cohort(1)), out=tmp_path / "out", **SMALL).run()


@pytest.fixture
def make_cohort(radiograph_cohort: Path, tmp_path: Path) -> Callable[[int], Path]:
    """A cohort whose labels are all the same."""

    def make(label: int) -> Path:
        cases = read_cases(radiograph_cohort).assign(label=label)
        cases.to_csv(tmp_path / "cases.csv", index=False)
        return tmp_path

    return make
