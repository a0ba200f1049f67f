"""Which confounders are asked about."""

from pathlib import Path

import pytest
from PIL import Image

from srcmatters.audit.contract import InputContract
from srcmatters.audit.questions import fitting, parse_questions
from srcmatters.errors import InputError

RADIOGRAPH = InputContract(size=(64, 64))
CT = InputContract(modality="ct", size=(32, 32, 32), window="lung")
SLICE = InputContract(modality="ct", size=(64, 64), window="lung")


def names(contract: InputContract) -> set[str]:
    return {one.title for one in fitting(contract)}


def test_what_fits_modality_unit_and_dimensions() -> None:
    assert {"tag", "noise", "denoise", "pacemaker", "exposure"} <= names(RADIOGRAPH)
    assert not {"low_dose_ct", "kernel", "slice_thickness", "picture", "compose"} & names(RADIOGRAPH)
    assert {"low_dose_ct", "kernel", "slice_thickness", "tag"} <= names(CT)
    assert not {"pacemaker", "grid_lines", "calipers"} & names(CT)
    assert "calipers" in names(SLICE)
    display = InputContract(modality="ct", size=(32, 32, 32))
    assert "low_dose_ct" not in names(display) and "tag" in names(display)


def test_filters_of_radiographs_are_for_ct_in_display_values_where_they_are_named() -> None:
    display = InputContract(modality="ct", size=(32, 32, 32))
    assert display.unit == "display" and CT.unit == "HU"
    assert [one.name for one in parse_questions(["noise", "denoise"], display)] == ["noise", "denoise"]
    assert "noise" not in names(display)
    with pytest.raises(InputError, match="noise is of radiograph, and the images are CT"):
        parse_questions(["noise"], CT)
    with pytest.raises(InputError, match="low_dose_ct needs HU"):
        parse_questions(["low_dose_ct"], display)


def test_names_with_arguments() -> None:
    tag, noise = parse_questions(["tag", "noise dose_factor=0.1"], RADIOGRAPH)
    assert tag.args == {} and noise.args == {"dose_factor": 0.1} and noise.title == "noise dose_factor=0.1"


def test_ones_own_picture(tmp_path: Path) -> None:
    marker = tmp_path / "my marker.png"
    Image.new("RGBA", (8, 8), (255, 255, 255, 255)).save(marker)
    (one,) = parse_questions([f"'{marker}' width_mm=20 position=[0.1,0.2]"], RADIOGRAPH)
    assert one.name == "picture" and one.title == "picture my marker.png"
    assert one.args == {"path": str(marker), "width_mm": 20, "position": [0.1, 0.2]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("noize", "did you mean 'noise'"),
        ("kernel", "kernel is of CT, and the images are radiograph"),
        ("noise dose=1", "no parameter 'dose'"),
        ("noise dose_factor", "expected NAME=VALUE"),
        ("absent.png", "does not exist"),
        ("noise 'a", "cannot be read"),
        ("tag+noise", "is a pair, expected one confounder"),
    ],
)
def test_mistakes_are_named(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_questions([text], RADIOGRAPH)


def test_the_same_twice_is_refused() -> None:
    with pytest.raises(InputError, match="named twice"):
        parse_questions(["tag", "tag"], RADIOGRAPH)
