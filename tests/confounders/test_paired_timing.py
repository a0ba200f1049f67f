"""The helper that every benchmark times with."""

from __future__ import annotations

import importlib.util
import time
from pathlib import Path

import pytest
import torch

PATH = Path(__file__).parents[2] / "scripts" / "benchmarks" / "paired.py"
SPEC = importlib.util.spec_from_file_location("paired", PATH)
assert SPEC is not None and SPEC.loader is not None
paired = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(paired)


def test_ratio_is_how_much_longer_the_other_one_takes() -> None:
    threads = torch.get_num_threads()
    waits = {"ours": lambda: time.sleep(0.004), "published": lambda: time.sleep(0.012)}
    times = paired.paired_medians(waits, repeats=3)
    assert times["published/ours"] == pytest.approx(3, rel=0.25)
    assert times["ours"] == pytest.approx(4, rel=0.4)
    assert torch.get_num_threads() == threads


def test_rounds_alternate_their_order_so_that_drift_hits_both() -> None:
    calls: list[str] = []
    functions = {name: lambda name=name: (calls.append(name), time.sleep(0.06))[0] for name in ("a", "b")}
    paired.paired_medians(functions, repeats=4, warm_up=1)
    assert calls[2:] == ["a", "b", "b", "a", "a", "b", "b", "a"]


def test_nothing_to_time_is_refused() -> None:
    with pytest.raises(ValueError, match="expected at least one"):
        paired.paired_medians({}, repeats=3)
