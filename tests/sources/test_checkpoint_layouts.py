"""Weights as training frameworks leave them become sources; the input that they expect is declared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

from srcmatters.cli import command
from srcmatters.errors import InputError
from srcmatters.sources import create_classifier, create_network
from srcmatters.sources.checkpoint_layouts import nested_state, network_of_run, unwrapped
from srcmatters.sources.declared_input import declared_input


@pytest.fixture(scope="module")
def plain() -> dict[str, torch.Tensor]:
    """A ResNet-10 in torchvision's names, which are ours."""
    return {
        name: tensor for name, tensor in create_network("resnet10").state_dict().items() if "num_" not in name
    }


def prefixed(weights: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {prefix + name: tensor for name, tensor in weights.items()}


def layouts(weights: dict[str, torch.Tensor]) -> dict[str, Any]:
    loss = {"loss.weight": torch.ones(2)}
    copies = {"module.encoder_k.conv1.weight": torch.ones(2), "module.queue": torch.ones(4)}
    return {
        "lightning": {"epoch": 3, "state_dict": {**prefixed(weights, "model."), **loss}},
        "dataparallel": prefixed(weights, "module."),
        "lightning-dataparallel": {"state_dict": prefixed(weights, "module.net.")},
        "moco": {"state_dict": {**prefixed(weights, "module.encoder_q."), **copies}},
        "moco-v3": {
            "state_dict": {**prefixed(weights, "base_encoder."), "predictor.0.weight": torch.ones(2)}
        },
        "radiologynet": {"model_state": prefixed(weights, "model."), "epoch": 9},
        "radiologynet-densenet": {"model_state": {**weights, **prefixed(weights, "model.")}},
        "ignite": {"model": weights, "optimizer": {"state": {}, "param_groups": []}},
    }


@pytest.mark.parametrize(
    "layout",
    [
        "lightning",
        "dataparallel",
        "lightning-dataparallel",
        "moco",
        "moco-v3",
        "radiologynet",
        "radiologynet-densenet",
        "ignite",
    ],
)
def test_every_layout_gives_the_network_alone(plain: dict[str, torch.Tensor], layout: str) -> None:
    state = unwrapped(nested_state(layouts(plain)[layout]))
    assert {name.removeprefix("module.") for name in state} == set(plain)


def test_a_second_network_beside_the_first_is_not_dropped(plain: dict[str, torch.Tensor]) -> None:
    both = {**prefixed(plain, "model."), **prefixed(plain, "teacher.")}
    assert unwrapped(both).keys() == both.keys()
    other = {name: tensor + 1 for name, tensor in plain.items()}
    both = {**other, **prefixed(plain, "model.")}
    assert unwrapped(both).keys() == both.keys()


def convert(file: Path, out: Path, *options: str) -> str:
    arguments = ["sources", "convert", str(file), "--to", "resnet10", "--out", str(out), *options]
    ran = CliRunner().invoke(command, arguments, catch_exceptions=False)
    assert ran.exit_code == 0, ran.output
    return ran.output


def test_files_of_any_training_need_a_declared_input(plain: dict[str, torch.Tensor], tmp_path: Path) -> None:
    torch.save(layouts(plain)["lightning"], tmp_path / "theirs.ckpt")
    with pytest.raises(InputError, match=r"scheme torchvision does not tell .* --input \(imagenet"):
        convert(tmp_path / "theirs.ckpt", tmp_path / "a.safetensors")
    assert not (tmp_path / "a.safetensors").exists()
    convert(tmp_path / "theirs.ckpt", tmp_path / "a.safetensors", "--input", "-1..1")
    image = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        layer = create_classifier("resnet10", tmp_path / "a.safetensors")[0]
    torch.testing.assert_close(layer(image), image / 0.5 - 1)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"preset": "0..255"}, lambda image: image * 255),
        ({"preset": "-1024..1024", "order": "grey"}, lambda image: image * 2048 - 1024),
        ({"mean": (127.5,), "std": (127.5,), "value_range": (0, 255)}, lambda image: image * 2 - 1),
        ({"mean": (0.0,), "std": (1.0,), "value_range": (-1, 1)}, lambda image: image * 2 - 1),
    ],
)
def test_a_declared_input_is_what_the_network_gets(options: dict[str, Any], expected: Any) -> None:
    from srcmatters.sources.normalisation import read_normalisation

    fields = declared_input(**options)
    image = torch.rand(2, 1 if options.get("order") == "grey" else 3, 4, 4)
    got = read_normalisation(fields or {}, "test").layer(2)(image)
    torch.testing.assert_close(got, expected(image), rtol=1e-5, atol=1e-3)


def test_a_network_that_takes_bgr_computes_the_same_from_rgb(
    plain: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    torch.save(plain, tmp_path / "bgr.pth")
    means = ("--mean", "10,20,30", "--std", "50,60,70", "--range", "0", "255", "--order", "BGR")
    convert(tmp_path / "bgr.pth", tmp_path / "a.safetensors", *means)
    ours = create_classifier("resnet10", tmp_path / "a.safetensors").eval()
    theirs = create_network("resnet10").eval()
    theirs.load_state_dict(plain, strict=False)
    theirs.fc = ours[1].fc
    image = torch.rand(1, 3, 64, 64)
    backwards = (image.flip(1) * 255 - torch.tensor([10, 20, 30.0])[None, :, None, None]) / torch.tensor(
        [50, 60, 70.0]
    )[None, :, None, None]
    with torch.no_grad():
        torch.testing.assert_close(ours(image), theirs(backwards), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"preset": "imagenett"}, "input: 'imagenett' is unknown: did you mean 'imagenet'"),
        ({"preset": "imagenet", "mean": (1.0,)}, "expected the one or the others"),
        ({"mean": (1.0,)}, "std: missing"),
        ({"mean": (1.0, 2.0), "std": (1.0,)}, "mean: got 2 values, expected 3"),
        ({"mean": (1.0,), "std": (0.0,)}, "std: got 0.0, expected numbers above 0"),
        ({"preset": "0..1", "value_range": (1.0, 1.0)}, "range: got 1 1"),
        ({"order": "GBR"}, "order: 'GBR' is unknown"),
        ({"preset": "imagenet", "order": "grey"}, "imagenet has three channels"),
    ],
)
def test_a_wrong_declaration_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        declared_input(**options)


def test_the_model_of_a_run_is_a_source_with_its_own_input(tmp_path: Path) -> None:
    run = create_classifier("resnet10", "random", seed=3).eval()
    torch.nn.init.constant_(run[0].mean, 0.3)
    torch.save(run.state_dict(), tmp_path / "model.pt")
    again = create_classifier("resnet10", tmp_path / "model.pt", seed=4).eval()
    assert torch.equal(again[0].mean, run[0].mean)
    assert torch.equal(again[1].layer4[0].conv1.weight, run[1].layer4[0].conv1.weight)
    assert not torch.equal(again[1].fc.weight, run[1].fc.weight), "the head is new"
    convert(tmp_path / "model.pt", tmp_path / "mine.safetensors")
    copied = create_classifier("resnet10", tmp_path / "mine.safetensors")
    assert torch.equal(copied[0].mean, run[0].mean)


def test_what_is_no_classifier_of_ours_is_not_taken_for_one(plain: dict[str, torch.Tensor]) -> None:
    assert network_of_run(plain) is None
    assert network_of_run({"0.weight": torch.ones(1), "1.weight": torch.ones(1)}) is None


def test_a_file_of_any_training_given_as_a_source_says_what_is_taken_for_granted(
    plain: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    torch.save(plain, tmp_path / "theirs.pth")
    with pytest.warns(UserWarning, match=r"theirs.pth: taken to expect ImageNet's mean"):
        create_classifier("resnet10", tmp_path / "theirs.pth")
