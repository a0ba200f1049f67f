"""Every bundle is a folder of its own: what they share is generated, and the check says so if it differs."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

import pytest
import yaml
from monai.bundle import ConfigParser

from srcmatters.studies.bundle_files import read_config_files

REPOSITORY = Path(__file__).parents[2]
SPEC = importlib.util.spec_from_file_location("generator", REPOSITORY / "scripts" / "generate_bundles.py")
assert SPEC is not None and SPEC.loader is not None
generator = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(generator)
CONFIGS = sorted((REPOSITORY / "bundles").glob("*/configs/*.yaml"))


def test_generated_files_are_what_their_sources_say() -> None:
    assert generator.differing() == []


def test_a_change_of_the_shared_part_reaches_every_bundle(tmp_path: Path) -> None:
    shutil.copytree(REPOSITORY / "bundles" / "xray_classification", tmp_path / "xray_classification")
    shared = tmp_path / "xray_classification" / "configs" / "train.yaml"
    shared.write_text(
        shared.read_text().replace("_target_: torch.optim.AdamW", "_target_: torch.optim.RAdam")
    )
    generator.generate(tmp_path)
    for name in generator.GENERATED:
        config = yaml.safe_load((tmp_path / name / "configs" / "train.yaml").read_text())
        assert config["optimizer"]["_target_"] == "torch.optim.RAdam"


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: f"{path.parts[-3]}-{path.stem}")
def test_no_configuration_refers_to_a_file_outside_of_its_bundle(config: Path) -> None:
    content = yaml.safe_dump(yaml.safe_load(config.read_text()))
    assert ".yaml" not in content and "bundles/" not in content


def test_overlays_are_merged_as_monai_merges_them(tmp_path: Path) -> None:
    first, second = tmp_path / "a.yaml", tmp_path / "b.yaml"
    first.write_text(
        "imports: [a]\ntrain: {handlers: [{lr: 1}, {lr: 2}], size: 3}\nplain: 1\nsettings: {x: 1}\n"
    )
    second.write_text(
        "+imports: [b]\ntrain::handlers::0::lr: 7\nplain: {deep: 2}\n+settings: {y: 2}\ntrain::new: 4\n"
    )
    parser = ConfigParser()
    parser.read_config([str(first), str(second)])
    merged = {name: value for name, value in parser.config.items() if name != "_meta_"}
    assert read_config_files([first, second]) == merged
