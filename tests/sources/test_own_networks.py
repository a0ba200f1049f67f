"""A network of one's own: its words, its head, and what is said of its weights."""

from pathlib import Path

import pytest
import torch
from own_network_file import write_network_file

from srcmatters.errors import InputError
from srcmatters.preprocessing.feature_cache import backbone_digest
from srcmatters.sources import classifier_of, create_classifier, network_name, read_constructor, same_network

SENET = "monai.networks.nets.SEResNet50(layers=[1, 1, 1, 1])"


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_network_file(tmp_path_factory.mktemp("code of Mrs Secret") / "my_net.py")


def test_the_name_of_a_file_tells_its_content_and_not_its_place(file: Path, tmp_path: Path) -> None:
    name = network_name(f"{file}:small(width=8)#head=classify")
    assert (
        name.startswith("my_net-") and name.endswith(":small(width=8)#head=classify") and "Secret" not in name
    )
    assert network_name(name) == name and network_name("resnet18") == "resnet18"
    assert network_name(SENET) == SENET
    copy = tmp_path / "my_net.py"
    copy.write_text(file.read_text())
    assert same_network(f"{copy}:small(width=8)", name) and not same_network(f"{copy}:small", name)
    assert not same_network(f"{copy}:small(width=8)#head=deep", name)
    copy.write_text(file.read_text() + "\n")
    assert not same_network(f"{copy}:small(width=8)", name)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("nets.Small(3)", r"are not plain values by name"),
        ("nets.Small(width=print(1))", r"are not plain values by name"),
        ("nowhere.py:small", r"nowhere.py does not exist"),
        ("a b.c", r"expected package.module.Class\(name=value\) or file.py:function"),
        ("monai.networks.nets.SEResNet500", r"has no 'SEResNet500': did you mean 'SEResNet50'"),
        ("monai.networks.nets.SEResNet50(layers=3)", r"fails \(TypeError"),
        ("nets_that_nobody_has.Small", r"nets_that_nobody_has fails as it is imported \(ModuleNotFoundError"),
        ("collections.OrderedDict", r"returned a OrderedDict, expected a torch.nn.Module"),
        ("torch.nn.Flatten", r"no linear layer returns what the network returns"),
        (f"{SENET}#head=layer9", r"head 'layer9' is no linear layer"),
        ("my_net-12345678:small", r"names the code of a run, expected the file itself"),
    ],
)
def test_a_mistake_is_said_in_one_line(words: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        create_classifier(words)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("kind", ["file", "monai"])
def test_a_network_is_built_with_its_head_and_read_back(file: Path, kind: str, dims: int) -> None:
    words, head = (f"{file}:small", "classify") if kind == "file" else (SENET, "last_linear")
    made = create_classifier(words, "random", dims, dropout=0.5, seed=3)
    assert (
        made.head_path == head and made.origin is not None and made.origin.network.endswith(f"#head={head}")
    )
    linear = made[1].get_submodule(head)
    assert (linear.out_features, linear.dropout) == (2, 0.5)
    images = torch.rand(2, 1, *[32] * dims, generator=torch.Generator().manual_seed(0))
    again = classifier_of(made.state_dict(), words, origin="checkpoint")
    with torch.inference_mode():
        assert torch.equal(again.eval()(images), made.eval()(images))
    same = create_classifier(words, "random", dims, dropout=0.5, seed=3)
    other = create_classifier(words, "random", dims, dropout=0.5, seed=4)
    assert same.origin == made.origin and other.origin != made.origin
    with pytest.raises(InputError, match="checkpoint"):
        classifier_of({**made.state_dict(), "1.extra": torch.ones(1)}, words, origin="checkpoint")


def test_the_weights_are_called_what_they_are(file: Path) -> None:
    network = create_classifier(f"{file}:pretrained", "constructor")
    assert network.origin is not None and network.origin.source.startswith("constructor-")
    # It normalises for itself: the first layer changes nothing.
    image = torch.rand(1, 3, 8, 8)
    assert torch.equal(network[0](image), image)
    assert (
        network.origin.source != create_classifier(f"{file}:pretrained(width=8)", "constructor").origin.source
    )  # type: ignore[union-attr]
    with pytest.raises(InputError, match="the same weights for every seed, expected --source constructor"):
        create_classifier(f"{file}:pretrained", "random")
    with pytest.raises(
        InputError, match=r"draws stem.0.weight at random \(4 tensors\), expected --source random"
    ):
        create_classifier(f"{file}:small", "constructor")
    with pytest.raises(InputError, match=r"imagenet has no weights for .*expected random, or constructor"):
        create_classifier(f"{file}:small", "imagenet")


def test_channels_are_those_that_the_network_takes(file: Path) -> None:
    grey = create_classifier(f"{file}:small(in_channels=1)")
    assert grey[0].channels == 1 and grey(torch.rand(2, 1, 32, 32)).shape == (2, 2)
    with pytest.raises(InputError, match="takes 2 channels, expected 1 or 3"):
        create_classifier(f"{file}:small(in_channels=2)")
    read_constructor(f"{file}:small(in_channels=2)")  # the words alone run nothing


def test_features_of_two_versions_of_the_code_are_kept_apart(file: Path, tmp_path: Path) -> None:
    changed = tmp_path / "my_net.py"
    changed.write_text(file.read_text().replace(".mean(2)", ".amax(2)"))
    digests = [
        backbone_digest(create_classifier(f"{path}:small"), f"{path}:small") for path in (file, file, changed)
    ]
    assert digests[0] == digests[1] != digests[2]
