"""An audit from Python: a network, a table, and what comes out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import srcmatters.audit
from srcmatters.cohorts import read_cases
from srcmatters.errors import InputError


def bright_corner(batch: np.ndarray) -> np.ndarray:
    """Reads the letter in the corner and nothing else."""
    return batch[:, 0, :8, :24].max(axis=(1, 2)) * 4 - 2


@pytest.fixture(scope="module")
def audit(radiograph_cohort: Path) -> srcmatters.audit.Audit:
    return srcmatters.audit.run(
        bright_corner,
        read_cases(radiograph_cohort),
        ["tag", "denoise"],
        controls=False,
        size="48",
        channels="grey",
        value_range="0..1",
    )


def test_the_table_has_a_row_per_verdict(audit: srcmatters.audit.Audit) -> None:
    table = audit.table()
    assert set(table["confounder"]) == {"tag", "denoise"}
    assert {"outcome", "value", "low", "high", "text"} <= set(table)
    assert len(audit.outputs[0].scores.table()) == 48


def test_a_module_and_a_folder_do_as_well(radiograph_cohort: Path, tmp_path: Path) -> None:
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16 * 16, 1))
    audit = srcmatters.audit.run(
        network, radiograph_cohort, ["tag"], controls=False, out=tmp_path / "audit",
        size="16", channels="grey", value_range="0..1",
    )  # fmt: skip
    assert not network.training
    assert audit.table()["confounder"].tolist() == ["tag"]
    assert (tmp_path / "audit" / "audit.html").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"model": 3}, "model: got a int, expected a path, a function or a module"),
        ({"sise": "48"}, "sise: unknown argument: did you mean 'size'"),
    ],
)
def test_mistakes_are_one_line(arguments: dict, message: str) -> None:
    cases = pd.DataFrame({"image": ["a.png"], "patient_id": ["1"], "label": [1]})
    call_arguments = {"model": bright_corner, **arguments}
    with pytest.raises(InputError, match=message):
        srcmatters.audit.run(call_arguments.pop("model"), cases, **call_arguments)
