"""The contract gives a model its images as it wants them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose

from srcmatters.audit.contract import InputContract
from srcmatters.audit.declared_contract import ContractOptions, parse_size, settled_contract
from srcmatters.confounders import ClipDisplayd
from srcmatters.errors import InputError
from srcmatters.images import Windowd
from srcmatters.preprocessing import AntialiasedResized, ResamplePatchd


@pytest.fixture(scope="module")
def radiograph() -> torch.Tensor:
    """(1, 60, 40), values a little beyond [0, 1], as noise leaves them."""
    image = torch.rand(1, 60, 40, generator=torch.Generator().manual_seed(0)) * 1.1 - 0.05
    return MetaTensor(image)


def test_a_radiograph_is_bit_for_bit_what_the_bundle_makes_of_it(radiograph: torch.Tensor) -> None:
    bundle = Compose([AntialiasedResized("image", [32, 32]), ClipDisplayd("image")])
    made = InputContract(size=(32, 32)).model_input(radiograph)
    assert type(made) is torch.Tensor and torch.equal(made, bundle({"image": radiograph})["image"])


@pytest.mark.parametrize(("unit", "size"), [("HU", (16, 16)), ("HU", (8, 8, 8)), ("display", (16, 16))])
def test_a_ct_is_bit_for_bit_what_the_bundle_makes_of_it(unit: str, size: tuple[int, ...]) -> None:
    values = torch.rand(1, 40, 40, 12, generator=torch.Generator().manual_seed(0))
    scan = MetaTensor(
        values * 1500 - 1000 if unit == "HU" else values,
        affine=torch.diag(torch.tensor([0.7, 0.7, 2.0, 1.0], dtype=torch.float64)),
        meta={"unit": unit, "spacing_known": True},
    )
    place = {"x_mm": -12.0, "y_mm": -13.0, "z_mm": 10.0}
    steps: list[Any] = [Windowd("image", "lung")] if unit == "HU" else []
    steps += [ResamplePatchd("image", size, 14.0), ClipDisplayd("image")]
    expected = Compose(steps)({**place, "image": scan})["image"]
    contract = InputContract("ct", size, window="lung" if unit == "HU" else None, patch_mm=14.0)
    assert contract.unit == unit
    assert torch.equal(contract.model_input(scan, place), torch.as_tensor(expected))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"value_range": "0..255"}, [127.5]),
        ({"value_range": "-1..1"}, [0.0]),
        ({"value_range": "-1024..1024"}, [0.0]),
        ({"value_range": (0.0, 4.0)}, [2.0]),
        ({"value_range": "imagenet", "channels": "rgb"}, [0.0655, 0.1964, 0.4178]),
        ({"value_range": "imagenet", "channels": "bgr"}, [0.4178, 0.1964, 0.0655]),
        ({"inverted": True, "value_range": "0..255"}, [127.5]),
    ],
)
def test_ranges(changes: dict[str, Any], expected: list[float]) -> None:
    grey = torch.full((1, 8, 8), 0.5)
    made = InputContract(size=(8, 8), **changes).model_input(grey)
    np.testing.assert_allclose(made[:, 3, 3], expected, atol=1e-4)


def test_inversion_comes_before_the_range() -> None:
    made = InputContract(size=(8, 8), inverted=True, value_range="0..255").model_input(
        torch.full((1, 8, 8), 0.2)
    )
    np.testing.assert_allclose(made, 204)


def test_layout_and_transposition(radiograph: torch.Tensor) -> None:
    plain = InputContract(size=(30, 20)).model_input(radiograph)
    last = InputContract(size=(30, 20), layout="channels_last", channels="rgb")
    assert torch.equal(last.model_input(radiograph), plain[0, :, :, None].expand(30, 20, 3))
    turned = InputContract(size=(20, 30), transposed=True)
    assert torch.equal(turned.model_input(radiograph), plain.transpose(1, 2))
    assert last.input_shape == (30, 20, 3) and turned.input_shape == (1, 20, 30)


def test_padding_and_cropping_keep_the_aspect_ratio() -> None:
    image = torch.zeros(1, 60, 40)
    image[:, 20:40, 10:30] = 1  # a square
    for how, shape in (("pad", (10, 10)), ("crop", (15, 15)), ("stretch", (10, 15))):
        made = InputContract(size=(30, 30), resize=how).model_input(image)[0] > 0.5
        sides = np.array([made.any(1).sum(), made.any(0).sum()])
        assert np.abs(sides - shape).max() <= 1, how
    padded = InputContract(size=(30, 30), resize="pad").model_input(torch.ones(1, 60, 40))
    assert padded[:, :, :5].max() == 0 and padded[:, :, 5:25].min() == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"channels": "gray"}, "channels: 'gray' is unknown: did you mean 'grey'?"),
        ({"value_range": "0-255"}, "value range: got '0-255', expected a name or LOW..HIGH"),
        ({"value_range": (1.0, 1.0)}, "value range"),
        ({"value_range": "hu"}, "a radiograph has no HU"),
        ({"window": "lung"}, "window: got 'lung', expected none"),
        ({"size": (8, 8, 8)}, "expected (H, W)"),
        ({"size": (0, 8)}, "size: got (0, 8)"),
        ({"modality": "ct", "size": (8, 8), "resize": "pad"}, "resize: got 'pad', expected stretch"),
        ({"modality": "ct", "size": (8, 8), "window": "lungs"}, "window: 'lungs' is unknown"),
        ({"modality": "ct"}, "size: unknown"),
    ],
)
def test_what_a_contract_cannot_hold_is_refused_by_name(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as error:
        InputContract(**changes)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_what_the_user_declares_comes_before_what_the_file_tells() -> None:
    options = ContractOptions(size="224x192", inverted=True, value_range="0..255")
    contract = settled_contract(options, {"size": (96, 96), "channels": "rgb"}, "model.onnx")
    assert (contract.size, contract.channels, contract.inverted) == ((224, 192), "rgb", True)
    told = {name: contract.origin[name] for name in ("size", "channels", "value_range", "resize")}
    assert told == {"size": "declared", "channels": "read", "value_range": "declared", "resize": "assumed"}
    assert ("size", "224 x 192", "declared") in contract.rows()


def test_a_size_that_nobody_knows_is_asked_for() -> None:
    with pytest.raises(
        InputError, match=r"model\.ts: its file does not tell the size of its input, expected --size"
    ):
        settled_contract(ContractOptions(), {}, "model.ts")
    assert settled_contract(ContractOptions(size="native"), {}, "model.ts").size is None


@pytest.mark.parametrize(
    ("text", "size"), [("224", (224, 224)), ("224x192", (224, 192)), ("8x8x4", (8, 8, 4)), ("native", None)]
)
def test_sizes(text: str, size: tuple[int, ...] | None) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["999999", "64x99999", "", "0", "big", "3x", "1x2x3x4", "-3"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(InputError, match="size: got"):
        parse_size(text)
