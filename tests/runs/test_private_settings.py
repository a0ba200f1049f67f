"""What says where things are never leaves, whichever bundle it is a setting of."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from srcmatters.runs.private_settings import LEFT_OUT, PLACES, places_left_out

CONFIGS = sorted((Path(__file__).parents[2] / "bundles").glob("*/configs/*.yaml"))
# A path, an address, or an expression that makes one; and what is called by its place even where it is empty.
PLACE = re.compile(
    r"://|\.csv$|^\$Path\((?!.*\.name$)|Path\('mlruns'\)|_output_dir\(|^mlruns/|^bundles/\w+$|\.pt'?$"
)
NAMED = re.compile(r".*_(dir|root|uri)$|^ckpt$|^cases$")


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: f"{path.parts[-3]}-{path.stem}")
def test_every_setting_that_names_a_place_is_left_out(config: Path) -> None:
    settings = yaml.safe_load(config.read_text())
    named = {
        name
        for name, value in settings.items()
        if NAMED.match(name)
        or (isinstance(value, str) and not value.startswith(("@", "%")) and PLACE.search(value))
    }
    assert named <= PLACES
    assert {name for name, value in places_left_out(settings).items() if value == LEFT_OUT} == named


def _is_a_place(value: object) -> bool:
    return isinstance(value, str) and not value.startswith(("@", "%")) and bool(PLACE.search(value))


def test_the_bundles_have_such_settings() -> None:
    assert {"dataset_dir", "output_dir", "tracking_uri", "bundle_root"} <= set().union(
        *(yaml.safe_load(path.read_text()) for path in CONFIGS)
    )
