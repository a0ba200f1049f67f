"""The four states of a pair: each confounder alone is, bit for bit, what a study of it alone has."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose
from PIL import Image

from srcmatters.cohorts import read_cases
from srcmatters.confounders import (
    ClipDisplayd,
    Confounder,
    Confounderd,
    create_confounder,
    create_taught_confounder,
)
from srcmatters.errors import InputError
from srcmatters.images import LoadRadiographd
from srcmatters.preprocessing import AntialiasedResized, StateCache, confounder_place
from srcmatters.preprocessing.both_states import steps_of_states
from srcmatters.training import CaseDataset, check_detectability

TAG = {"height": 0.3}


@pytest.fixture
def cases(tmp_path: Path) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    for number in range(8):
        Image.fromarray(rng.integers(0, 100, (64, 64), dtype=np.uint8)).save(tmp_path / f"{number}.png")
    table = pd.DataFrame({"image": [f"{number}.png" for number in range(8)]})
    table["patient_id"], table["label"] = [f"P{number}" for number in range(8)], [0, 1] * 4
    table.to_csv(tmp_path / "cases.csv", index=False)
    return read_cases(tmp_path)


def cache_of(cases: pd.DataFrame, confounder: Confounder | None) -> StateCache:
    assert confounder is not None
    steps = [
        LoadRadiographd("image"),
        Confounderd("image", confounder, carries_key="carries"),
        AntialiasedResized("image", (32, 32)),
        ClipDisplayd("image"),
    ]
    return StateCache.open(cases, Compose(steps))


@pytest.mark.parametrize("names", ["tag+noise", "noise+tag"])
def test_each_alone_is_bit_for_bit_the_single_confounder(cases: pd.DataFrame, names: str) -> None:
    pair = cache_of(cases, create_taught_confounder(names, seed=3, tag=TAG))
    args = {"tag": TAG, "noise": {}}
    assert pair.images.shape == (4, 8, 1, 32, 32)
    for place, name in zip(("first", "second"), names.split("+"), strict=True):
        alone = cache_of(cases, create_confounder(name, seed=3, **args[name]))
        assert torch.equal(pair.state(place), alone.state("confounded")), name  # type: ignore[arg-type]
        assert torch.equal(pair.state("clean"), alone.state("clean"))
        assert not torch.equal(pair.state("both"), alone.state("confounded"))
    assert torch.equal(pair.state("confounded"), pair.state("both"))


def test_both_is_the_second_on_top_of_the_first(cases: pd.DataFrame) -> None:
    first, second = (create_confounder(name, seed=3) for name in ("noise", "tag"))
    both = create_taught_confounder("noise+tag", seed=3)
    image = torch.full((1, 64, 64), 0.5)
    assert first is not None and second is not None and both is not None
    expected = second.batch(first(image, "c").unsqueeze(0), ["c"], check=False)[0]
    assert torch.equal(both(image, "c"), expected)


def test_scans_have_four_states_as_well() -> None:
    hu = torch.rand(1, 16, 16, 4, generator=torch.Generator().manual_seed(0)) * 1000 - 900
    scan = MetaTensor(hu.round(), meta={"unit": "HU"})
    pair, *parts = (create_taught_confounder(name) for name in ("exposure+denoise", "exposure", "denoise"))
    assert pair is not None

    def images(confounder: Confounder | None) -> list[torch.Tensor]:
        assert confounder is not None
        step = Confounderd("image", confounder, carries_key="carries", window="lung")
        case = {"image": scan, "case_id": "c"}
        return [torch.as_tensor(put_in(case)["image"]) for put_in in steps_of_states(step)]

    four = images(pair)
    for place, alone in enumerate(parts, start=1):
        assert torch.equal(four[place], images(alone)[1]), place
    assert len({image.numpy().tobytes() for image in four}) == 4


def test_a_dataset_gives_each_case_its_own_of_four_states(cases: pd.DataFrame) -> None:
    cache = cache_of(cases, create_taught_confounder("tag+noise", tag=TAG))
    first = np.array([False, True, False, True] * 2)
    second = np.array([False, False, True, True] * 2)
    dataset = CaseDataset(cache, np.arange(8), first, both_states=True, second=second)
    batch = dataset.__getitems__(range(8))
    for row, (state, treated) in enumerate([(0, 1), (1, 1), (2, 3), (3, 3)] * 2):
        assert torch.equal(batch["image"][row], cache.images[state, row])
        assert torch.equal(batch["confounded"][row], cache.images[treated, row]), "the second moved as well"


def test_a_pair_of_which_one_is_not_there_stops(cases: pd.DataFrame) -> None:
    cache = cache_of(cases, create_taught_confounder("noise+tag", tag={"height": 0.3}))
    cache.images = cache.images.clone()
    cache.images[1] = 1 - cache.images[0]
    cache.images[2] = cache.images[0]  # a tag that preprocessing has erased
    with pytest.raises(InputError, match=r"^tag: not detectable"):
        check_detectability(cache, "noise+tag")


def test_ct_refuses_a_pair_at_two_places_and_the_paper_has_none() -> None:
    pair = create_taught_confounder("tag+noise")
    assert pair is not None
    assert confounder_place(create_taught_confounder("exposure+denoise"), "HU") == "scan"
    with pytest.raises(InputError, match="tag and noise act at different places"):
        confounder_place(pair, "HU")
    with pytest.raises(InputError, match="the publication has no pairs"):
        create_taught_confounder("tag+noise", "paper")
    with pytest.raises(InputError, match="only training runs and studies take"):
        create_confounder("tag+noise")
