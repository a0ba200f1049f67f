"""A run and its exported bundle score images as the run itself did."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from exported_runs import train

from srcmatters.audit.declared_contract import ContractOptions
from srcmatters.audit.doors import Model, open_model
from srcmatters.errors import InputError
from srcmatters.export.declared_rules import ExportOptions
from srcmatters.export.run_export import export
from srcmatters.images import LoadCTd, LoadRadiographd
from srcmatters.runs.file_names import CONFIG
from srcmatters.runs.prediction_table import log_odds, read_predictions
from srcmatters.runs.trained_run import open_run


@pytest.fixture(scope="module")
def run(radiograph_cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train("xray_classification", radiograph_cohort, tmp_path_factory.mktemp("trained") / "run")


@pytest.fixture(scope="module")
def ct_run(ct_cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("trained") / "ct"
    return train("ct_slice_classification", ct_cohort, out, confounder="kernel", patch_mm=30, force=True)


def _scores(model: Model, cohort: Path, cases: pd.Series) -> np.ndarray:
    """(cases,) log-odds of clean images by the door's own contract."""
    table = pd.read_csv(cohort / "cases.csv")
    contract = model.contract
    load = (
        LoadCTd(unit=contract.unit, slab_mm=contract.slab_mm)
        if contract.modality == "ct"
        else LoadRadiographd()
    )
    table.index = pd.Index([Path(name).stem.partition(".")[0] for name in table["image"]])
    if "case_id" in table:
        table = table.set_index("case_id", drop=False)
    inputs = []
    for case in cases:
        row = table.loc[case].to_dict()
        item = load({**row, "image": str(cohort / row["image"])})
        inputs.append(contract.model_input(item["image"], item))
    return model.log_odds(torch.stack(inputs))[:, 0]


def test_a_run_scores_as_its_own_table_says(run: Path, radiograph_cohort: Path) -> None:
    model = open_model(str(run))
    table = read_predictions(run / "predictions.csv")
    expected = log_odds(table["score_clean"].to_numpy())
    np.testing.assert_allclose(_scores(model, radiograph_cohort, table["case_id"]), expected, atol=1e-5)
    assert model.kind == "run" and model.outputs == ("positive",) and len(str(model.sha256)) == 64
    assert model.trained_on is not None and set(model.trained_on.test_cases) == set(table["case_id"])
    assert model.contract.origin["size"] == model.contract.origin["output"] == "read"


def test_a_ct_run_scores_as_its_own_table_says(ct_run: Path, ct_cohort: Path) -> None:
    model = open_model(str(ct_run))
    table = read_predictions(ct_run / "predictions.csv")
    expected = log_odds(table["score_clean"].to_numpy())
    np.testing.assert_allclose(_scores(model, ct_cohort, table["case_id"]), expected, atol=1e-5)
    assert model.contract.unit == "HU" and model.contract.patch_mm == 30


def test_the_exported_bundle_is_the_run(run: Path, tmp_path: Path) -> None:
    export(
        open_run(str(run), ""), tmp_path / "bundle", ExportOptions(unaudited=True, data=False, finding="Mass")
    )
    images = torch.rand(4, 1, 32, 32)
    exported, own = open_model(str(tmp_path / "bundle")), open_model(str(run))
    np.testing.assert_array_equal(exported.log_odds(images), own.log_odds(images))
    assert exported.contract == own.contract and exported.outputs == ("Mass",)
    script = open_model(str(tmp_path / "bundle" / "models" / "model.ts"))
    np.testing.assert_allclose(script.log_odds(images), own.log_odds(images), atol=1e-5)
    assert script.contract.size == (32, 32) and script.outputs == ("Mass",)


def test_features_and_head_are_the_log_odds(run: Path) -> None:
    model = open_model(str(run))
    images = torch.rand(5, 1, 32, 32)
    features, head = model.features(images), model.head()
    assert features is not None and head is not None
    weight, bias = head
    assert features.shape == (5, weight.shape[1])
    np.testing.assert_allclose(features @ weight.T + bias, model.log_odds(images), atol=1e-4)


def test_the_configuration_of_a_run_is_never_evaluated(run: Path, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    copy.mkdir()
    for file in run.iterdir():
        if file.is_file():
            (copy / file.name).write_bytes(file.read_bytes())
    config = yaml.safe_load((copy / CONFIG).read_text())
    marker = tmp_path / "ran"
    config["imports"] = [f"$open({str(marker)!r}, 'w')"]
    (copy / CONFIG).write_text(yaml.safe_dump(config))
    open_model(str(copy))
    assert not marker.exists()
    config["preprocessing"]["transforms"][0]["_target_"] = "somebody.elses.Loader"
    (copy / CONFIG).write_text(yaml.safe_dump(config))
    with pytest.raises(InputError, match=r"preprocessing holds somebody\.elses\.Loader"):
        open_model(str(copy))


def test_a_declared_field_comes_first(run: Path) -> None:
    model = open_model(str(run), ContractOptions(inverted=True, size="48"))
    assert model.contract.inverted and model.contract.size == (48, 48)
    assert model.contract.origin["inverted"] == "declared"
