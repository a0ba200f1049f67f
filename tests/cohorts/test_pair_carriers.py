"""Who carries the two confounders of a pair."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from srcmatters.cohorts import CaseChoice, choose_cases
from srcmatters.confounders import pair_of
from srcmatters.errors import InputError


def case_table(count: int = 203) -> pd.DataFrame:
    names = [f"c{number}" for number in range(count)]
    patients = [f"p{number // 2}" for number in range(count)]
    return pd.DataFrame({"case_id": names, "patient_id": patients, "label": np.arange(count) // 2 % 2})


def carriers(kind: str, second: float | None = None, **choice: object) -> tuple[np.ndarray, np.ndarray]:
    pair = pair_of("tag+noise", {"carriers": kind, "p_art_second": second})
    chosen = choose_cases(case_table(), CaseChoice(pair=pair, fold=1, **choice))  # type: ignore[arg-type]
    assert chosen.second is not None
    return chosen.carries, chosen.second


@pytest.mark.parametrize("kind", ["same", "independent", "complementary"])
@pytest.mark.parametrize("unit", ["image", "patient"])
def test_the_first_is_carried_as_if_it_were_alone(kind: str, unit: str) -> None:
    choice = {"p_art": 0.5, "p_neg": 0.2, "assignment": unit}
    alone = choose_cases(case_table(), CaseChoice(fold=1, **choice))  # type: ignore[arg-type]
    first, second = carriers(kind, **choice)
    assert np.array_equal(first, alone.carries) and first.any() and second.any()


def test_the_same_cases_carry_both_and_at_another_share_some_of_them() -> None:
    first, second = carriers("same", p_art=0.5, p_neg=0.2)
    assert np.array_equal(first, second)
    first, second = carriers("same", second=0.2, p_art=0.5)
    assert not (second & ~first).any() and second.sum() < first.sum()


@pytest.mark.parametrize("unit", ["image", "patient"])
def test_complementary_carriers_share_no_case_and_leave_none_out(unit: str) -> None:
    first, second = carriers("complementary", p_art=0.5, assignment=unit)
    assert not (first & second).any()
    labels = case_table()["label"].to_numpy()
    assert (labels == 1).sum() - (first | second).sum() <= 3, "one or two in each of three sets by rounding"


def test_independent_carriers_agree_as_often_as_chance_has_it() -> None:
    table = case_table(4000)
    pair = pair_of("tag+noise", {"carriers": "independent"})
    chosen = choose_cases(table, CaseChoice(pair=pair, p_art=0.5))
    positive = table["label"].to_numpy() == 1
    assert chosen.second is not None
    both = (chosen.carries & chosen.second)[positive].mean()
    assert abs(both - 0.25) < 4 * np.sqrt(0.25 * 0.75 / positive.sum())


def test_of_a_null_control_as_many_negatives_carry_either() -> None:
    first, second = carriers("same", second=0.2, p_art=0.5, control="independent_confounder")
    labels = case_table()["label"].to_numpy()
    for carrying, share in ((first, 0.5), (second, 0.2)):
        for label in (0, 1):
            assert carrying[labels == label].mean() == pytest.approx(share, abs=0.03)


def test_complementary_shares_above_one_are_refused() -> None:
    with pytest.raises(InputError, match=r"p_art: got 0\.8 and 0.5 with complementary carriers"):
        carriers("complementary", second=0.5, p_art=0.8)


def test_states_are_numbered_clean_first_second_both() -> None:
    first, second = carriers("independent", p_art=0.5)
    pair = pair_of("tag+noise", {"carriers": "independent"})
    chosen = choose_cases(case_table(), CaseChoice(pair=pair, p_art=0.5, fold=1))
    rows = np.arange(len(first))
    assert np.array_equal(chosen.states(rows, 4), np.where(first, 1, 0) + np.where(second, 2, 0))


@pytest.mark.parametrize(
    ("confounder", "args", "told"),
    [
        ("tag+noise+tube", {}, "expected two different ones"),
        ("tag+tag", {}, "expected two different ones"),
        ("tag+sex", {}, "'sex' of tag.sex is unknown, expected two that are put into images, .*; a column"),
        ("tag+none", {}, "'none' of tag.none is unknown"),
        ("tag+noise", {"height": 0.1}, "takes no 'height'"),
        ("tag+noise", {"carriers": "sam"}, "did you mean 'same'"),
        ("tag+noise", {"p_art_second": 1.5}, "p_art_second: got 1.5"),
        ("tag+noise", {"tag": "L"}, "tag: got 'L', expected a mapping"),
    ],
)
def test_what_is_no_pair_is_refused_in_one_line(confounder: str, args: dict[str, object], told: str) -> None:
    with pytest.raises(InputError, match=told.replace("(", r"\(")) as caught:
        pair_of(confounder, args)
    assert "\n" not in str(caught.value)
