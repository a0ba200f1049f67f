"""An exported bundle is opened with care: whatever a zip or its rules claim."""

from __future__ import annotations

import copy
import json
import stat
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sealed_bundles import seal

from srcmatters.errors import InputError
from srcmatters.exported_bundle.bundle import open_bundle, sums
from srcmatters.exported_bundle.input_rules import declared_actions
from srcmatters.exported_bundle.rules_schema import RULES_VERSION
from srcmatters.sources import create_classifier

RULES: dict[str, Any] = {
    "version": RULES_VERSION,
    "name": "Mass on radiographs",
    "model_version": "1.0.0",
    "modality": "radiograph",
    "body_part": "CHEST",
    "network": "resnet10",
    "image_size": 32,
    "unit": "display",
    "window": None,
    "patch_mm": None,
    "slab_mm": None,
    "spatial_dims": 2,
    "finding": {"positive": "Mass", "negative": "no Mass", "code": None},
    "threshold": {"value": 0.5, "rule": "youden", "fixed_on": "validation", "cases": 10},
    "calibration": {"method": "temperature", "temperature": 2.0, "bias": 0.0, "cases": 10},
    "actions": declared_actions({}),
    "input": {"spacing_mm": None, "size": [32, 64], "depth_mm": None, "views": ["PA"], "positions": False},
    "ood": None,
    "monitors": [],
    "audited": False,
    "audit": None,
    "mlflow_run": None,
    "trained": {},
}


def write(folder: Path, rules: Any = RULES) -> Path:
    """A bundle with the network's weights and nothing else."""
    for name in ("configs", "models"):
        (folder / name).mkdir(parents=True)
    (folder / "configs" / "clinical.json").write_text(json.dumps(rules))
    torch.manual_seed(0)
    network = create_classifier("resnet10", source="random")
    torch.save(network.state_dict(), folder / "models" / "model.pt")
    return seal(folder)


def packed(folder: Path, file: Path, top: str = "bundle/") -> Path:
    """The folder as a zip."""
    with zipfile.ZipFile(file, "w") as archive:
        for path in folder.rglob("*"):
            if path.is_file():
                archive.write(path, top + path.relative_to(folder).as_posix())
    return file


def test_a_zip_is_what_its_folder_is(tmp_path: Path) -> None:
    folder = write(tmp_path / "bundle")
    images = torch.rand(2, 1, 32, 32)
    with torch.inference_mode():
        expected = open_bundle(folder).network()(images)
        for top in ("", "bundle/"):
            opened = open_bundle(packed(folder, tmp_path / "bundle.zip", top))
            torch.testing.assert_close(opened.network()(images), expected)
    assert opened.calibrate(2.0) == pytest.approx(1 / (1 + np.exp(-1)))


def test_what_was_unpacked_lasts_until_it_is_closed(tmp_path: Path) -> None:
    folder = write(tmp_path / "bundle")
    with open_bundle(packed(folder, tmp_path / "bundle.zip")) as opened:
        assert (opened.folder / "models" / "model.pt").is_file()
    assert not opened.folder.exists() and opened.calibrate(2.0) > 0.5
    opened.close()
    with open_bundle(folder):
        pass
    assert (folder / "models" / "model.pt").is_file(), "a folder is its owner's"


@pytest.mark.parametrize(
    "name", ["../outside", "/tmp/outside", "bundle/../../outside", "..\\outside", "c:/outside"]
)
def test_a_member_that_leads_outside_is_refused(tmp_path: Path, name: str) -> None:
    file = packed(write(tmp_path / "bundle"), tmp_path / "bundle.zip")
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr(name, "x")
    with pytest.raises(InputError, match="leads outside of the archive"):
        open_bundle(file)
    assert not (tmp_path / "outside").exists()


def test_a_link_and_a_bomb_are_refused(tmp_path: Path) -> None:
    folder = write(tmp_path / "bundle")
    linked = packed(folder, tmp_path / "linked.zip")
    with zipfile.ZipFile(linked, "a") as archive:
        link = zipfile.ZipInfo("bundle/docs")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc")
    with pytest.raises(InputError, match="leads outside"):
        open_bundle(linked)
    bomb = tmp_path / "bomb.zip"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bundle/configs/clinical.json", b"\0" * 100_000_000)
    with pytest.raises(InputError, match="claims 100000000 bytes out of"):
        open_bundle(bomb)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("version", 2, "version: 2, of another version of srcmatters, expected 4; export the run again"),
        ("actions", declared_actions({}) | {"spacing": "ignore"}, "actions.spacing: 'ignore' is not one of"),
        ("actions", declared_actions({}) | {"colour": "flag"}, "actions: Additional properties"),
        ("actions", {}, "actions: 'body_part' is a required property"),
        ("network", None, "network: None is not of type 'string'"),
        ("threshold", {"value": 7}, "threshold"),
        ("calibration", {"method": "magic"}, "calibration"),
        ("audited", True, "audit: None is not of type 'object'"),
        ("audit", {"tested": []}, "audit: "),
        ("modality", "photograph", "modality: 'photograph' is not one of"),
    ],
)
def test_a_wrong_rule_is_named(tmp_path: Path, field: str, value: Any, message: str) -> None:
    folder = write(tmp_path / "bundle", {**copy.deepcopy(RULES), field: value})
    with pytest.raises(InputError) as caught:
        open_bundle(folder)
    assert message in str(caught.value) and "clinical.json" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_array_and_a_missing_rule_are_named(tmp_path: Path) -> None:
    probe = {"confounder": "tag", "kind": "detectability probe", "bias": 0, "threshold": 0, "auc": 1}
    probe |= {"sensitivity": 1, "false_alarms": 0, "arrays": {"mean": "a", "scale": "b", "weight": "c"}}
    with pytest.raises(InputError, match="no array 'a'"):
        open_bundle(write(tmp_path / "one", {**RULES, "monitors": [probe]}))
    rules = {name: value for name, value in RULES.items() if name != "audited"}
    with pytest.raises(InputError, match="'audited' is a required property"):
        open_bundle(write(tmp_path / "two", rules))


def test_what_is_no_bundle_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.zip").write_text("no zip")
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("a", "b")
    for path in (tmp_path, tmp_path / "absent", tmp_path / "text.zip", tmp_path / "other.zip"):
        with pytest.raises(InputError, match="srcmatters export"):
            open_bundle(path)


def test_weights_with_code_in_them_are_not_run(tmp_path: Path) -> None:
    folder = write(tmp_path / "bundle")

    class Harmful:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "ran",))

    torch.save({"weights": Harmful()}, folder / "models" / "model.pt")
    with pytest.raises(InputError):
        open_bundle(folder).network()
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("file", ["models/model.pt", "configs/clinical.json"])
def test_a_bundle_whose_weights_or_rules_were_changed_is_refused(tmp_path: Path, file: str) -> None:
    folder = write(tmp_path / "bundle")
    open_bundle(folder)
    if file.endswith(".json"):  # an edited mark
        edited = {**json.loads((folder / file).read_text()), "audited": True, "audit": {"leans_on": []}}
        (folder / file).write_text(json.dumps(edited))
    else:
        torch.save(create_classifier("resnet10", source="random", seed=1).state_dict(), folder / file)
    with pytest.raises(InputError, match=f"{file}: changed after the export"):
        open_bundle(folder)
    if file.endswith(".pt"):  # with hashes written anew the rules still name the weights they are about
        (folder / "SHA256SUMS").write_text(sums(folder))
        with pytest.raises(InputError, match="not the weights that configs/clinical"):
            open_bundle(folder)
    (folder / "SHA256SUMS").unlink()
    with pytest.raises(InputError, match="no SHA256SUMS"):
        open_bundle(folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"threshold": {**RULES["threshold"], "value": float("nan")}}, "NaN is no number"),
        ({"name": "Mass\nand a forged line"}, "name: "),
        ({"name": "x" * 201}, "name: "),
        ({"name": "x" * 2_000_000}, "expected 1,048,576 at most"),
        ({"calibration": {"method": "isotonic", "x": [0, 1], "y": [0, 1.2], "cases": 9}}, "calibration"),
        ({"calibration": {"method": "isotonic", "x": [0, 1], "y": [0.5, 0.2], "cases": 9}}, "calibration"),
        ({"calibration": {"method": "isotonic", "x": [0, 1], "y": [0.5], "cases": 9}}, "calibration"),
    ],
)
def test_rules_that_no_export_writes_are_refused(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError) as caught:
        open_bundle(write(tmp_path / "bundle", {**RULES, **changes}))
    assert message in str(caught.value) and len(str(caught.value)) < 500 and "\n" not in str(caught.value)
