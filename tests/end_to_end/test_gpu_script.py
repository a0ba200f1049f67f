"""The script for a machine with a GPU runs to its end, on the CPU and tiny, and writes what it measured."""

import json
from pathlib import Path

import gpu
import pytest


def test_a_dry_run_writes_every_table(radiograph_cohort: Path, tmp_path: Path) -> None:
    words = [str(tmp_path / "out"), "--dry-run", "--dataset_dir", str(radiograph_cohort)]
    gpu.run(gpu.parse(words))
    record = json.loads((tmp_path / "out" / "gpu.json").read_text())
    assert not [name for name in record if name.startswith("failed")]
    assert record["ratios"][0]["bundle_over_bare_loop"] > 0 and record["cells"][0]["seconds"] > 0
    assert record["confounders"]["tag_share_of_step"] > 0
    page = (tmp_path / "out" / "gpu.md").read_text()
    assert all(f"## {name}" in page for name in ("ratios", "confounders", "cells"))


def test_a_step_that_fails_leaves_the_others(
    radiograph_cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("no memory")

    for name in ("ratios", "device_figures", "train_cell"):
        monkeypatch.setattr(gpu, name, broken)
    record = gpu.run(gpu.parse([str(tmp_path / "out"), "--dry-run"]))
    assert record["failed ratios"] == {"error": "RuntimeError: no memory"}
    assert "failed cells" in json.loads((tmp_path / "out" / "gpu.json").read_text())
