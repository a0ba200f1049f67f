"""A wrong input contract is found, and a right one is not accused."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from srcmatters.audit.contract import InputContract
from srcmatters.audit.contract_sweep import (
    BETTER,
    IDENTICAL,
    IMPOSSIBLE,
    SAME,
    WORSE,
    _compared,
    sweep,
    usual_conventions,
)
from srcmatters.audit.doors import Model
from srcmatters.errors import InputError

_TRUE = InputContract(size=(16, 16), channels="rgb", output_kind="logit")


class Scored(Model):
    """A model that is a formula of its input."""

    def __init__(self, contract: InputContract, formula: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__("formula", contract)
        self.formula = formula

    def forward(self, inputs: torch.Tensor) -> Any:
        return self.formula(inputs)


def _images(count: int = 160, seed: int = 0) -> tuple[list[torch.Tensor], np.ndarray, np.ndarray]:
    """Images (1, 24, 20) of two per patient; a bright disc in the upper right is the finding."""
    stream = torch.Generator().manual_seed(seed)
    labels = np.arange(count) % 2
    images = torch.rand(count, 1, 24, 20, generator=stream) * 0.5 + 0.1
    images[labels == 1, :, 3:9, 12:17] += 0.3 * torch.rand(count // 2, 1, 1, 1, generator=stream)
    return list(images), labels, np.repeat(np.arange(count // 2), 2)


@functools.cache
def _trained(contract: InputContract) -> nn.Module:
    """A small network that was trained on images in the form of a contract."""
    images, labels, _ = _images(400, seed=1)
    inputs = torch.stack([contract.model_input(image) for image in images])
    first = contract.layout == "channels_first"
    inputs = inputs if first else inputs.movedim(-1, 1)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = nn.Sequential(
            nn.BatchNorm2d(3),
            nn.Conv2d(3, 8, 3),
            nn.ReLU(),
            nn.Conv2d(8, 8, 3),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(4),
            nn.Flatten(),
            nn.Linear(128, 1),
        )
        optimiser = torch.optim.Adam(network.parameters(), 0.01)
        for _ in range(60):
            optimiser.zero_grad()
            loss = nn.functional.binary_cross_entropy_with_logits(
                network(inputs)[:, 0], torch.tensor(labels).float()
            )
            loss.backward()
            optimiser.step()
    return network.eval()


def _model(right: InputContract, **wrong: Any) -> Scored:
    """The network of a contract, under a contract that differs from it."""
    network = _trained(right)

    @torch.no_grad()
    def formula(inputs: torch.Tensor) -> torch.Tensor:
        # Flattened on the way, as scikit-learn takes images: a wrong layout runs by chance.
        shape = (len(inputs), 16, 16, 3) if right.layout == "channels_last" else (len(inputs), 3, 16, 16)
        values = inputs.reshape(shape)
        return network(values.movedim(-1, 1) if right.layout == "channels_last" else values)

    return Scored(replace(right, **wrong), formula)


_RIGHT = (
    _TRUE,
    replace(_TRUE, value_range="0..255"),
    replace(_TRUE, value_range="imagenet", channels="bgr"),
    replace(_TRUE, layout="channels_last", resize="pad"),
)
_WRONG: tuple[dict[str, Any], ...] = (
    {"value_range": "0..1"},
    {"value_range": "0..255"},
    {"value_range": "-1..1"},
    {"value_range": "imagenet"},
    {"inverted": True},
    {"inverted": False},
    {"channels": "rgb"},
    {"layout": "channels_last"},
    {"layout": "channels_first"},
    {"value_range": "0..255", "inverted": True},
)


@pytest.mark.parametrize(
    "right", [*_RIGHT[:1], *(pytest.param(one, marks=pytest.mark.slow) for one in _RIGHT[1:])]
)
def test_what_costs_a_tenth_of_auc_is_found_and_the_right_convention_is_named(
    right: InputContract,
) -> None:
    images, labels, patients = _images()
    costly = 0
    for wrong in _WRONG:
        model = _model(right, **wrong)
        if model.contract == right:
            continue
        result = sweep(model, images, labels, patients)
        (name,) = (name for name, other in usual_conventions(model.contract).items() if other == right)
        row = result.table.set_index("convention").loc[name]
        if row["difference"] >= 0.1:
            costly += 1
            assert row["result"] == BETTER and name in " ".join(result.warnings), wrong
    assert costly >= 3


def test_the_right_contract_is_not_accused() -> None:
    images, labels, patients = _images()
    model = _model(_TRUE)
    result = sweep(model, images, labels, patients)
    assert result.warnings == () and result.stops == "" and result.listed(BETTER) == []
    assert result.table.iloc[0]["convention"] == "as declared" and result.cases == 160
    assert "channels bgr" in result.listed(IDENTICAL)  # grey three times is the same either way
    assert result.listed(IMPOSSIBLE) == ["channels grey"]
    assert model.contract == _TRUE


def test_what_does_not_depend_on_a_convention_is_listed_as_such() -> None:
    images, labels, patients = _images()
    ranked = Scored(_TRUE, lambda inputs: inputs[:, :1, 2:6, 10:13].flatten(1).mean(1, keepdim=True))
    result = sweep(ranked, images, labels, patients)
    assert {"range 0..255", "range -1..1", "range -1024..1024"} <= set(result.listed(SAME))


def test_holm_keeps_a_model_without_signal_from_being_accused() -> None:
    stream = np.random.default_rng(3)
    labels, patients = np.arange(80) % 2, np.repeat(np.arange(40), 2).astype(str)
    accused = 0
    for _ in range(200):
        names = ("declared", *(f"other {number}" for number in range(12)))
        shared = stream.normal(size=80)
        scores = {name: shared + stream.normal(size=80) for name in names}
        table = _compared(scores, {}, labels, patients, 0.95)
        accused += BETTER in set(table["result"])
    assert accused <= 18  # .05 of 200, and what chance adds to it (P > 18 at .05: .007)


@pytest.mark.parametrize(
    ("formula", "kind", "message"),
    [
        (
            lambda inputs: inputs.new_ones(len(inputs), 1),
            "logit",
            "the output is the same for all 160 images",
        ),
        (
            lambda inputs: (inputs.mean((1, 2, 3))[:, None] > 0.355).float(),
            "probability",
            "is 0 or 1 in single precision",
        ),
        (lambda inputs: -inputs[:, 0, 2:6, 10:13].mean((1, 2))[:, None], "logit", "significantly below .5"),
    ],
)
def test_what_cannot_be_audited_stops(formula: Any, kind: str, message: str) -> None:
    images, labels, patients = _images()
    model = Scored(replace(_TRUE, output_kind=kind), formula)
    result = sweep(model, images, labels, patients)
    assert message in result.stops and "\n" not in result.stops
    assert message in result.forced().notes[0]


def test_log_odds_that_a_table_of_probabilities_cannot_hold_are_counted() -> None:
    images, labels, patients = _images()

    def scored(scale: float, offset: float = 0.35) -> Any:
        def formula(inputs: torch.Tensor) -> torch.Tensor:
            return scale * (inputs[:, 0, 2:6, 10:13].mean((1, 2))[:, None] - offset)

        return sweep(Scored(_TRUE, formula), images, labels, patients)

    moderate = scored(1.0)
    large = scored(80.0)  # up to 30, which a probability in single precision would have lost
    assert not moderate.stops and not large.stops
    assert not [note for note in (*moderate.warnings, *large.warnings) if "tied" in note]
    assert large.table["auc"].iloc[0] == moderate.table["auc"].iloc[0]
    assert "100% of the images is 0 or 1 in double precision" in scored(1000.0, 0.0).stops
    notes = [note for note in scored(200.0).warnings if "tied" in note]
    assert len(notes) == 1 and "of 160 images is 0 or 1 in double precision: they are tied" in notes[0]


def test_a_perfect_model_is_told_from_its_reverse() -> None:
    labels, patients = np.arange(40) % 2, np.arange(40).astype(str)
    scores = {"declared": labels - 0.5, "reversed": 0.5 - labels, "steeper": labels * 2 - 0.5}
    table = _compared(scores, {}, labels, patients, 0.95).set_index("convention")
    assert table.loc["reversed", "result"] == WORSE and table.loc["reversed", "auc"] == 0
    assert table.loc["steeper", "result"] == SAME
    few = _compared({name: values[:4] for name, values in scores.items()}, {}, labels[:4], patients[:4], 0.95)
    assert set(few["result"]) == {"declared", SAME}  # four images fall so by chance


def test_a_model_that_fails_stops_the_comparison() -> None:
    images, labels, patients = _images(8)
    with pytest.raises(InputError, match="formula: returned NaN or infinite values for 8 of 8 images"):
        sweep(
            Scored(_TRUE, lambda inputs: inputs.new_full((len(inputs), 1), float("nan"))),
            images,
            labels,
            patients,
        )


def test_images_are_used_once_and_no_more_than_a_batch_is_held() -> None:
    images, labels, patients = _images(60)
    taken: list[int] = []

    def once() -> Any:
        for number, image in enumerate(images):
            taken.append(number)
            yield image

    sweep(_model(_TRUE), once(), labels[:60], patients[:60], batch_size=7)
    assert taken == list(range(60))
