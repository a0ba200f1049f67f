"""The catalogue: whole, consistent with the code that uses it, and found by what a study writes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import save_file

from srcmatters.errors import InputError
from srcmatters.sources.catalogue import find_entry, known_sources, named_entry, own_sources, read_catalogue
from srcmatters.sources.entry import Entry, entry_content
from srcmatters.sources.network_facts import HEADS
from srcmatters.sources.normalisation import read_normalisation
from srcmatters.sources.schemes import find_scheme
from srcmatters.sources.source_file import write_source

PACKAGED = read_catalogue()
WITH_FILE = [entry for entry in PACKAGED if entry.location is not None]


# What comes with the package


@pytest.mark.parametrize("entry", WITH_FILE, ids=lambda entry: entry.name)
def test_every_entry_can_be_converted_and_normalised(entry: Entry) -> None:
    rules = find_scheme(entry.scheme, entry.network)
    normalisation = read_normalisation(entry.normalisation, entry.name)
    assert normalisation.channel_order in rules.orders
    assert normalisation.channels == entry.channels
    assert rules.spatial_dims in (None, entry.spatial_dims)
    assert entry.network in HEADS
    assert entry.network in entry.name


@pytest.mark.parametrize(
    ("source", "networks"),
    [
        (
            "imagenet",
            {"resnet18", "resnet34", "resnet50", "densenet121"}
            | {f"efficientnet_lite{variant}" for variant in range(3)},
        ),
        ("imagenet-v2", {"resnet50"}),
        ("radimagenet", {"resnet50", "densenet121"}),
        ("radimagenet-keras", {"resnet50", "densenet121"}),
        ("torchxrayvision", {"densenet121"}),
        ("medicalnet", {"resnet10", "resnet18", "resnet34", "resnet50"}),
        ("astra", {"i3resnet152"}),
        ("dinov2", {"vit_b14"}),
        ("rad-dino", {"vit_b14"}),
    ],
)
def test_the_sources_of_the_field_are_there(source: str, networks: set[str]) -> None:
    assert {entry.network for entry in PACKAGED if entry.source == source} == networks


def test_what_a_file_of_torchvision_is_called_begins_its_hash() -> None:
    urls = {e.location["url"]: e.sha256 for e in WITH_FILE if e.scheme == "torchvision" and e.location}
    assert len(urls) == 5
    for url, sha256 in urls.items():
        assert sha256 is not None
        assert sha256.startswith(url.rpartition("-")[2].removesuffix(".pth"))


@pytest.mark.parametrize(
    ("source", "network", "pixel", "expected"),
    [
        # (x - 127.5) * 2 / 255 of BGR; (BGR - means of Caffe) / 255; [-1024, 1024].
        ("radimagenet", "resnet50", (10, 20, 30), [(v - 127.5) * 2 / 255 for v in (10, 20, 30)]),
        (
            "radimagenet-keras",
            "densenet121",
            (10, 20, 30),
            [(10 - 123.68) / 255, (20 - 116.779) / 255, (30 - 103.939) / 255],
        ),
        ("torchxrayvision", "densenet121", (51,), [2 * 1024 * 51 / 255 - 1024]),
    ],
)
def test_a_pixel_is_normalised_as_the_authors_do(
    source: str, network: str, pixel: tuple[int, ...], expected: list[float]
) -> None:
    """In RGB: the conversion turns the first kernel of those that expect BGR around."""
    entry = find_entry(source, network)
    assert entry is not None
    layer = read_normalisation(entry.normalisation, entry.name).layer(2)
    image = torch.tensor(pixel).reshape(1, -1, 1, 1) / 255
    torch.testing.assert_close(layer(image).flatten(), torch.tensor(expected), rtol=1e-5, atol=1e-5)


# Another catalogue


def entry_of(**changes: Any) -> dict[str, Any]:
    content = entry_content(next(entry for entry in PACKAGED if entry.name == "imagenet-resnet18"))
    return {**content, **changes}


@pytest.fixture
def written(tmp_path: Path) -> Callable[[Any], Path]:
    def write(content: Any) -> Path:
        path = tmp_path / "catalogue.yaml"
        path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
        return path

    return write


def test_a_catalogue_says_the_same_after_it_was_written(written: Callable[[Any], Path]) -> None:
    path = written({"entries": [entry_content(entry) for entry in PACKAGED]})
    assert read_catalogue(path) == PACKAGED


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"spatial_dims": 4}, "spatial_dims: got 4, expected 2 or 3"),
        ({"network": "alexnet"}, "network: got 'alexnet', expected one of: any, resnet10"),
        ({"scheme": "torch"}, "scheme: got 'torch', expected one of: torchvision"),
        ({"sha256": "xyz"}, "sha256: got 'xyz'"),
        ({"sha256": 57934424}, "sha256: got 57934424"),
        ({"licence": ""}, "licence: "),
        ({"name": "a/b"}, "name: got 'a/b'"),
        ({"location": {"url": "ftp://host/file"}}, "location.url: got 'ftp://host/file'"),
        (
            {"location": {"huggingface": "a/b", "file": "../c", "revision": "main"}},
            "location: got {",
        ),
        ({"normalisation": {"kind": "none", "channel_order": "RGB"}}, "normalisation.kind: got 'none'"),
        ({"normalisation": {"kind": "fixed", "channel_order": "RGB", "mean": [0.5]}}, "normalisation: std"),
        (
            {"normalisation": {"kind": "fixed", "channel_order": "RGB", "mean": [0.5], "std": [0]}},
            "normalisation.std.0: got 0, expected a number above 0",
        ),
        ({"license": "MIT"}, "license is unknown: did you mean 'licence'"),
    ],
)
def test_a_wrong_field_is_refused_by_entry_and_field(
    changes: dict[str, Any], field: str, written: Callable[[Any], Path]
) -> None:
    with pytest.raises(InputError) as caught:
        read_catalogue(written({"entries": [entry_of(**changes)]}))
    message = str(caught.value)
    assert message.startswith(f"catalogue.yaml: {changes.get('name', 'imagenet-resnet18')}: ")
    assert field in message
    assert "\n" not in message
    assert len(message) < 300


def test_a_missing_field_is_named(written: Callable[[Any], Path]) -> None:
    content = entry_of()
    del content["citation"]
    with pytest.raises(InputError, match=r"imagenet-resnet18: citation missing$"):
        read_catalogue(written({"entries": [content]}))


@pytest.mark.parametrize("changes", [{"source": "other"}, {"name": "other"}])
def test_nothing_is_in_the_catalogue_twice(changes: dict[str, Any], written: Callable[[Any], Path]) -> None:
    with pytest.raises(InputError, match="used twice"):
        read_catalogue(written({"entries": [entry_of(), entry_of(**changes)]}))


@pytest.mark.parametrize(
    "content", ["entries: [", "entries: 3", "", "- a", {"entries": []}, {"entries": [3]}]
)
def test_what_is_no_catalogue_is_refused_in_one_line(content: Any, written: Callable[[Any], Path]) -> None:
    with pytest.raises(InputError, match=r"^catalogue\.yaml: ") as caught:
        read_catalogue(written(content))
    assert "\n" not in str(caught.value)


# What a study writes


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Writes a source of our own; the working folder is an empty one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SRCMATTERS_WEIGHTS", raising=False)

    def write(path: str, network: str = "resnet18") -> Path:
        entry = Entry(**entry_of(name="any", source="any", network=network, scheme="monai"))
        return write_source(Path(path), entry, {"conv1.weight": torch.ones(1)})

    return write


def test_source_and_network_mean_one_entry() -> None:
    entry = find_entry("imagenet", "resnet50")
    assert entry is not None and entry.name == "imagenet-resnet50"
    assert entry is not None and find_entry("imagenet-resnet50", "resnet50") == entry
    assert find_entry("imagenet-v2", "resnet50") != entry


@pytest.mark.parametrize("network", list(HEADS))
def test_random_is_a_source_for_every_network(network: str) -> None:
    entry = find_entry("random", network)
    assert entry is not None
    assert (entry.network, entry.location) == (network, None)


@pytest.mark.parametrize(
    ("source", "network", "message"),
    [
        ("imagenet-v2", "resnet18", "imagenet-v2 has no weights for resnet18, expected --network resnet50"),
        ("imagenet-resnet50", "resnet18", "no weights for resnet18, expected --network resnet50"),
        ("imagent", "resnet18", "imagent is neither .*: did you mean 'imagenet'"),
        ("radimagenet-resnet5", "resnet50", "did you mean 'radimagenet-resnet50'"),
        ("missing/weights.pth", "resnet10", "expected one of: random, medicalnet"),
    ],
)
def test_what_does_not_exist_is_refused_with_what_does(source: str, network: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        find_entry(source, network)
    assert "\n" not in str(caught.value)


def test_a_file_without_an_entry_is_somebodys(tmp_path: Path) -> None:
    save_file({"conv1.weight": torch.ones(1)}, tmp_path / "plain.safetensors")
    (tmp_path / "plain.pth").write_bytes(b"anything")
    assert find_entry(tmp_path / "plain.safetensors", "resnet18") is None
    assert find_entry(str(tmp_path / "plain.pth"), "resnet18") is None


@pytest.mark.parametrize("how", ["path", "mlruns", "mirror"])
def test_a_source_made_here_is_found(
    how: str, own: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    places = {
        "path": "elsewhere/ours.safetensors",
        "mlruns": "mlruns/sources/ours/ours.safetensors",
        "mirror": "mirror/ours.safetensors",
    }
    path = own(places[how])
    monkeypatch.setenv("SRCMATTERS_WEIGHTS", "mirror")
    source = places[how] if how == "path" else "ours"
    entry = find_entry(source, "resnet18")
    assert entry is not None
    assert entry.location == {"file": str(path)}
    assert ("ours" in known_sources("resnet18")) == (how != "path")
    assert "ours" not in known_sources("resnet50")
    with pytest.raises(InputError, match="has no weights for resnet50, expected --network resnet18"):
        find_entry(source, "resnet50")


def test_a_source_made_here_does_not_hide_one_of_the_catalogue(own: Callable[..., Path]) -> None:
    own("mlruns/sources/imagenet/imagenet.safetensors")
    entry = find_entry("imagenet", "resnet18")
    assert entry is not None and entry.name == "imagenet-resnet18"


def test_a_damaged_source_is_an_error_only_when_it_is_asked_for(own: Callable[..., Path]) -> None:
    own("mlruns/sources/good/good.safetensors")
    path = own("mlruns/sources/bad/bad.safetensors")
    path.write_bytes(path.read_bytes()[:100])
    assert [entry.name for entry in own_sources()] == ["good"]
    assert "good" in known_sources()
    with pytest.raises(InputError, match=r"bad\.safetensors: not a readable weight file"):
        find_entry("bad", "resnet18")


def test_a_name_needs_no_network_where_there_is_one(own: Callable[..., Path]) -> None:
    own("mlruns/sources/ours/ours.safetensors")
    assert named_entry("imagenet-v2").name == "imagenet-v2-resnet50"
    assert named_entry("imagenet-resnet34").network == "resnet34"
    assert named_entry("imagenet", "densenet121").name == "imagenet-densenet121"
    assert named_entry("ours").network == "resnet18"
    with pytest.raises(InputError, match="several networks, expected --network resnet18, resnet34"):
        named_entry("imagenet")
    with pytest.raises(InputError, match="neither a known source"):
        named_entry("theirs")
