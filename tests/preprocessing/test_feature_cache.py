"""Features of a frozen network: what its head gets, computed once, shared where the pixels are the same."""

import errno
import os
import socket
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.transforms import Compose

from srcmatters.cohorts import read_cases
from srcmatters.confounders import Confounderd, create_confounder
from srcmatters.errors import InputError
from srcmatters.files import UNFINISHED
from srcmatters.images import LoadRadiographd
from srcmatters.preprocessing import AntialiasedResized, FeatureCache, StateCache
from srcmatters.sources import create_classifier


def opened(radiograph_cohort: Path, confounder: str | None = "tag", **parameters: object) -> StateCache:
    steps: list = [LoadRadiographd("image"), AntialiasedResized("image", (32, 32))]
    if confounder is not None:
        transform = create_confounder(confounder, **parameters)
        assert transform is not None
        steps.insert(1, Confounderd("image", transform, carries_key="carries"))
    return StateCache.open(read_cases(radiograph_cohort).iloc[:11].reset_index(drop=True), Compose(steps))


@pytest.fixture
def cache(radiograph_cohort: Path) -> StateCache:
    return opened(radiograph_cohort)


def forbid_computing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FeatureCache, "_compute", lambda *_: pytest.fail("computed again"))


@pytest.mark.parametrize("name", ["efficientnet_lite0", "resnet18", "densenet121"])
def test_the_head_on_the_features_is_the_network(cache: StateCache, name: str) -> None:
    network = create_classifier(name, dropout=0.5).train()
    features = FeatureCache(cache, network, name)
    network.eval()
    for state in ("clean", "confounded"):
        with torch.inference_mode():
            expected = network(cache.state(state))
            logits = features.head(torch.tensor(features.state(state)))
        torch.testing.assert_close(logits, expected, atol=1e-4, rtol=1e-4)
    assert not np.array_equal(features.state("clean"), features.state("confounded"))


def test_each_case_has_the_features_of_its_state(cache: StateCache) -> None:
    features = FeatureCache(cache, create_classifier("resnet18"), "resnet18")
    carries = np.arange(11) % 2 == 1
    assigned = features.as_assigned(np.array([4, 7, 1]), carries)
    clean, confounded = features.state("clean"), features.state("confounded")
    np.testing.assert_array_equal(assigned, [clean[4], confounded[7], confounded[1]])


def test_features_are_computed_once_whatever_the_head(
    cache: StateCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = create_classifier("resnet18", seed=3)
    first = FeatureCache(cache, network, "resnet18")
    with torch.no_grad():
        first.head.weight.zero_()
    forbid_computing(monkeypatch)
    again = FeatureCache(cache, network.train(), "resnet18")
    np.testing.assert_array_equal(again.state("confounded"), first.state("confounded"))


def test_the_clean_features_are_shared_between_confounders(
    radiograph_cohort: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = create_classifier("resnet18")
    tagged = FeatureCache(opened(radiograph_cohort), network, "resnet18")
    computed = []
    compute = FeatureCache._compute
    monkeypatch.setattr(
        FeatureCache,
        "_compute",
        lambda self, path, state: (computed.append(state), compute(self, path, state)),
    )
    other = FeatureCache(opened(radiograph_cohort, text="L"), network, "resnet18")
    sampled = FeatureCache(opened(radiograph_cohort, confounder=None), network, "resnet18")
    assert computed == ["confounded"]
    np.testing.assert_array_equal(other.state("clean"), tagged.state("clean"))
    np.testing.assert_array_equal(sampled.state("confounded"), tagged.state("clean"))


@pytest.mark.parametrize("change", ["weight", "statistics", "structure"])
def test_whatever_changes_the_features_computes_them_anew(cache: StateCache, change: str) -> None:
    network = create_classifier("resnet18")
    before = FeatureCache(cache, network, "resnet18").state("clean").copy()
    with torch.no_grad():
        if change == "weight":
            network[1].conv1.weight.neg_()
        if change == "statistics":
            network[1].bn1.running_mean += 1
        if change == "structure":
            network[1].maxpool = torch.nn.Identity()
    after = FeatureCache(cache, network, "resnet18").state("clean")
    assert not np.allclose(before, after)


def test_a_full_disk_is_said_and_leaves_nothing(
    cache: StateCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(InputError, match=r"cache_dir: .*No space left on device"):
        FeatureCache(cache, create_classifier("resnet18"), "resnet18", cache_dir=tmp_path / "c")
    assert [path.suffix for path in (tmp_path / "c" / "features").iterdir()] == [".lock"]


def test_features_that_are_no_numbers_are_refused_and_not_kept(cache: StateCache, tmp_path: Path) -> None:
    network = create_classifier("resnet18")
    with torch.no_grad():
        network[1].conv1.weight[0] = float("nan")
    with pytest.raises(InputError, match="NaN or infinite"):
        FeatureCache(cache, network, "resnet18", cache_dir=tmp_path / "c")
    assert not list((tmp_path / "c" / "features").glob("*.npy"))


def test_what_a_killed_process_left_is_removed(cache: StateCache, tmp_path: Path) -> None:
    network = create_classifier("resnet18")
    folder = tmp_path / "c" / "features"
    FeatureCache(cache, network, "resnet18", cache_dir=tmp_path / "c")
    finished = sorted(folder.glob("*.npy"))
    for path in finished:
        left = (
            folder / f"{UNFINISHED}{socket.gethostname()}-{2**22 + 1}-x" / path.name
        )  # no process has this id
        left.parent.mkdir(exist_ok=True)
        path.rename(left)
    FeatureCache(cache, network, "resnet18", cache_dir=tmp_path / "c")
    assert sorted(folder.glob("*.npy")) == finished and not list(folder.glob(f"{UNFINISHED}*"))
