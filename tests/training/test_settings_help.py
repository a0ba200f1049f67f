"""`--help` after `training`: every setting above the imports, with its default and its comment."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from srcmatters.packaged_bundles import bundle_names, bundles_folder
from srcmatters.training.settings_help import settings_help


@pytest.mark.parametrize("bundle", bundle_names())
def test_every_setting_is_listed_with_its_comment_and_nothing_else_is(bundle: str) -> None:
    config = bundles_folder() / bundle / "configs" / "train.yaml"
    text = settings_help(config)
    offered = list(yaml.safe_load(config.read_text().split("\nimports:")[0]))
    listed = [line.split()[0].removeprefix("--") for line in text.splitlines() if line.startswith("  --")]
    assert listed == offered
    assert "where things go" in text and "pixels a side" in text


def test_a_default_with_a_hash_sign_is_no_comment(tmp_path: Path) -> None:
    config = tmp_path / "train.yaml"
    config.write_text("# about\nname: a#b  # what it is\nimports:\n- $import torch\nhidden: 1\n")
    assert settings_help(config).splitlines()[1:] == [f"{'  --name a#b':34}  what it is"]


def test_help_after_training_prints_them_and_trains_nothing(tmp_path: Path) -> None:
    config = bundles_folder() / "xray_classification" / "configs" / "train.yaml"
    words = [
        "-m",
        "monai.bundle",
        "run",
        "training",
        "--config_file",
        str(config),
        "--image-size",
        "99",
        "--help",
    ]
    done = subprocess.run([sys.executable, *words], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "  --p_art 0.5 " in done.stdout
    assert not (tmp_path / "mlruns").exists()
