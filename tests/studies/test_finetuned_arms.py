"""Arms, lp_ft and weight decay of networks that are trained as a whole, as rows of one report."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import yaml
from click.testing import CliRunner
from conftest import InlineExecutor

from srcmatters.cli import command
from srcmatters.reports.mitigation_section import mitigation_section
from srcmatters.reports.study_folder import open_study
from srcmatters.runs.finished_runs import read_results
from srcmatters.studies import commands

BUNDLE = Path(__file__).parents[2] / "bundles" / "xray_classification"
STUDY = {
    "name": "arms",
    "bundle": str(BUNDLE),
    "tracking_uri": "",
    "axes": {
        "source": ["random"],
        "network": ["resnet18"],
        "confounder": [{"name": "tag", "args": {"height": 0.5, "position": [0.1, 0.1]}}],
        "p_art": [0.9],
        "p_neg": [0.1],
        "mitigation": [
            "none",
            "paired",
            {"name": "none", "overrides": {"adaptation": "lp_ft"}},
            {"name": "none", "overrides": {"weight_decay": 0.3}},
        ],
        "fold": [0, 1],
    },
    "analysis": {"p_art": 0.9, "replicates": 200},
    "overrides": {"image_size": 32, "num_workers": 0, "device": "cpu", "num_folds": 3, "validation_folds": 3,
                  "force": True, "max_epochs": 1, "log_images": False},
}  # fmt: skip


@pytest.mark.slow
def test_lp_ft_and_weight_decay_stand_beside_the_arms(
    tmp_path: Path, radiograph_cohort: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(commands, "_executor", lambda *_: InlineExecutor())
    (tmp_path / "arms.yaml").write_text(yaml.safe_dump({**STUDY, "dataset_dir": str(radiograph_cohort)}))
    done = CliRunner().invoke(command, ["study", "run", "arms.yaml"])
    assert done.exit_code == 0 and "8 cells finished" in done.output, done.output
    out = tmp_path / "mlruns" / "studies" / "arms"
    cells = pd.read_csv(out / "tables" / "cells.csv")
    assert sorted(cells["adaptation"]) == ["full"] * 6 + ["lp_ft"] * 2
    assert sorted(cells["weight_decay"]) == [0.01] * 6 + [0.3] * 2
    section = mitigation_section(read_results(out / "cells"), open_study(out).plan)
    assert section is not None
    rows = [row[0] for table in section.recovered for row in table.rows]
    assert rows == ["none", "paired", "lp_ft", "weight_decay 0.3"]
    page = (out / "report.html").read_text()
    assert "weight_decay 0.3" in page and "What to do about it" in page
