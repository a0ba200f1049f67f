"""DINOv2 and RAD-DINO by local files: pooled either way, and through every way of adaptation."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from srcmatters.errors import InputError
from srcmatters.sources import Classifier, classifier_of, conversion, create_classifier, networks
from srcmatters.sources.vision_transformer import VIT_B14
from srcmatters.training import trained_parameters
from srcmatters.training.adaptation import adaptation_of, moved_share

transformers = pytest.importorskip("transformers")
TINY = {**VIT_B14, "hidden_size": 16, "num_attention_heads": 2, "image_size": 28}
SOURCES = ("dinov2", "rad-dino")


@pytest.fixture(autouse=True)
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, dict[str, torch.Tensor]]]:
    """Random files of both models, small, as the hub has them, where a mirror keeps them."""
    monkeypatch.setattr(networks, "VIT_B14", TINY)
    monkeypatch.setenv("SRCMATTERS_WEIGHTS", str(tmp_path))
    conversion._shapes.cache_clear()
    states = {}
    for seed, source in enumerate(SOURCES):
        torch.manual_seed(seed)
        model = transformers.Dinov2Model(transformers.Dinov2Config(**TINY))
        states[source] = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        (tmp_path / f"{source}-vit_b14").mkdir()
        save_file(states[source], tmp_path / f"{source}-vit_b14" / "model.safetensors")
    yield states
    conversion._shapes.cache_clear()


def tokens(weights: dict[str, torch.Tensor], classifier: Classifier, image: torch.Tensor) -> torch.Tensor:
    """What transformers' own model makes of the normalised image."""
    model = transformers.Dinov2Model(transformers.Dinov2Config(**TINY)).eval()
    model.load_state_dict(weights)
    return model(pixel_values=classifier[0](image)).last_hidden_state


@pytest.mark.filterwarnings("ignore:.* nobody published a hash")
@pytest.mark.parametrize("pooling", ["cls", "mean"])
@pytest.mark.parametrize("source", SOURCES)
@torch.inference_mode()
def test_the_head_is_given_the_class_token_or_the_mean_of_the_patches(
    source: str, pooling: str, weights: dict[str, dict[str, torch.Tensor]]
) -> None:
    classifier = create_classifier("vit_b14", source, pooling=pooling).eval()
    image = torch.rand(2, 1, 42, 28)
    every = tokens(weights[source], classifier, image)
    assert every.shape == (2, 1 + 3 * 2, 16)
    pooled = every[:, 0] if pooling == "cls" else every[:, 1:].mean(1)
    torch.testing.assert_close(classifier(image), classifier[1].head(pooled))
    again = classifier_of(classifier.state_dict(), "vit_b14").eval()  # as from a checkpoint
    torch.testing.assert_close(again(image), classifier(image), atol=0, rtol=0)


@pytest.mark.filterwarnings("ignore:.* nobody published a hash")
def test_a_checkpoint_keeps_its_pooling_unless_another_is_asked_for(tmp_path: Path) -> None:
    torch.save(create_classifier("vit_b14", "dinov2", pooling="mean").state_dict(), tmp_path / "model.pt")
    for pooling, expected in ((None, "mean"), ("mean", "mean"), ("cls", "cls")):
        made = create_classifier("vit_b14", tmp_path / "model.pt", pooling=pooling)
        assert made[1].pooling == expected
    assert create_classifier("vit_b14", "dinov2")[1].pooling == "cls"


@pytest.mark.parametrize(
    ("network", "pooling", "message"),
    [
        ("vit_b14", "max", "pooling: 'max' is unknown, expected one of: cls, mean"),
        ("resnet10", "mean", "pooling: got 'mean', expected none: resnet10 has no tokens"),
        ("monai.networks.nets.SEResNet50(in_channels=3, spatial_dims=2)", "cls", "pools itself"),
    ],
)
def test_a_pooling_that_does_not_exist_is_refused(network: str, pooling: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        create_classifier(network, pooling=pooling)


@pytest.mark.filterwarnings("ignore:.* nobody published a hash")
@pytest.mark.parametrize("pooling", ["cls", "mean"])
@pytest.mark.parametrize("source", SOURCES)
def test_less_moves_the_more_blocks_are_frozen(source: str, pooling: str) -> None:
    shares = []
    for adaptation in ("full", "lp_ft", "freeze_1", "freeze_3", "freeze_block12", "linear"):
        classifier = create_classifier("vit_b14", source, pooling=pooling)
        moved = trained_parameters(classifier, adaptation)
        assert adaptation_of(classifier, moved, adaptation) == adaptation
        shares.append(moved_share(classifier, moved))
        before = {name: weight.clone() for name, weight in classifier.named_parameters()}
        optimizer = torch.optim.AdamW(moved, lr=1e-2)
        torch.nn.functional.cross_entropy(
            classifier(torch.rand(2, 1, 28, 28)), torch.tensor([0, 1])
        ).backward()
        optimizer.step()
        held = {id(weight) for weight in moved}
        for name, weight in classifier.named_parameters():
            assert torch.equal(weight, before[name]) == (id(weight) not in held), (adaptation, name)
    assert shares[0] == shares[1] == 1
    assert shares[1:] == sorted(shares[1:], reverse=True) and len(set(shares[1:])) == 5
