"""A third, once and three times a confounder, in its own unit."""

import pytest
import torch

from srcmatters.audit.doses import DOSES, available_doses, dosed
from srcmatters.confounders import known_confounders
from srcmatters.errors import InputError


@pytest.mark.parametrize("name", sorted(set(known_confounders()) - {"kernel", "compose"}))
def test_every_confounder_has_a_third_of_its_dose(name: str) -> None:
    present, missing = available_doses(name)
    doses = [one.dose for one in present]
    assert doses[:2] == list(DOSES[:2])
    assert 3.0 in doses or "expected" in missing[3.0]


@pytest.mark.parametrize("name", ["kernel", "compose"])
def test_what_is_there_or_not_has_one_dose(name: str) -> None:
    present, missing = available_doses(name)
    assert [one.dose for one in present] == [1.0]
    assert all("no strength" in reason for reason in missing.values())


@pytest.mark.parametrize("name", ["noise", "denoise", "exposure", "tag", "motion", "jpeg", "pixelation"])
def test_more_of_it_changes_the_image_more(name: str) -> None:
    image = torch.rand((1, 320, 320), generator=torch.Generator().manual_seed(0)) * 0.6 + 0.2
    image = torch.nn.functional.avg_pool2d(image[None], 9, 1, 4)[0]
    changes = [(dosed(name, dose).confounder(image, "a") - image).square().mean().item() for dose in DOSES]
    assert 0 < changes[0] < changes[1] < changes[2]


def test_added_noise_is_in_proportion_to_the_dose() -> None:
    image = torch.full((1, 256, 256), 0.5)
    third, once, thrice = (
        (dosed("noise", dose).confounder(image, "a") - image).std().item() for dose in DOSES
    )
    assert third / once == pytest.approx(1 / 3, rel=0.03)
    assert thrice / once == pytest.approx(3, rel=0.1)  # few quanta: the scale is not quite linear


def test_arguments_are_the_strength_that_is_multiplied() -> None:
    assert dosed("tag", 3.0, {"height_mm": 10.0}).parameters == {"height_mm": 30.0}
    assert dosed("tag", 3.0, {"height": 0.1}).parameters == {"height": pytest.approx(0.3)}
    assert dosed("tag", 1.0).description == "" and dosed("tag", 3.0).description == "height_mm 80.6"
    with pytest.raises(InputError, match="expected a factor above 0"):
        dosed("tag", 0.0)
    with pytest.raises(InputError, match="linear function only"):
        dosed("exposure", 3.0, {"function": "sigmoid"})
