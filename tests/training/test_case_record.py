"""What a record says of cases and images is read off the objects."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pandas as pd
import pytest
from monai.transforms import Compose

from srcmatters.cohorts.case_table import FOLDER_NAME
from srcmatters.images import LoadCTd
from srcmatters.preprocessing.state_cache import StateCache
from srcmatters.training.case_record import scan_settings, target_name


def _cache(folder: str | None, slab_mm: float | None = None) -> StateCache:
    cases = pd.DataFrame({"label": [0, 1]})
    if folder is not None:
        cases.attrs[FOLDER_NAME] = folder
    steps = Compose([LoadCTd(keys="image", unit="HU", slab_mm=slab_mm)])
    return cast(StateCache, SimpleNamespace(cases=cases, preprocessing=steps))


@pytest.mark.parametrize(("read", "recorded"), [(60.0, 60.0), (None, 0)])
def test_the_slab_is_the_one_that_the_loader_reads(read: float | None, recorded: float) -> None:
    settings: dict[str, Any] = {"slab_mm": 24, "unit": "display"}
    ran = scan_settings(settings, _cache("scans", read))
    assert ran == {"slab_mm": recorded, "unit": "HU"}


@pytest.mark.parametrize(
    ("target", "folder", "expected"),
    [
        ("nih", "nih", "nih"),
        ("nih", "clinic", "clinic"),
        ("our hospital", "clinic", "our hospital"),
        ("nih", None, "nih"),
    ],
)
def test_the_target_is_the_folder_that_was_read_unless_the_user_names_it(
    target: str, folder: str | None, expected: str
) -> None:
    assert target_name(target, {"dataset_dir": "/data/nih"}, _cache(folder)) == expected
