"""Sampled confounders: the correlation asked for, whole patients, nested draws, and honest refusals."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from srcmatters.cohorts import CaseChoice, choose_cases
from srcmatters.cohorts.sampled import SampledCohort, _ranked, sample_cohort
from srcmatters.errors import InputError
from srcmatters.evaluation import environment_auc

DATA = Path(os.environ.get("SRCMATTERS_TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))
NIH = DATA / "nih-cxr14" / "cases.csv"
SETS = ("train", "validation", "iid_test", "ood_test")


@pytest.fixture
def cases() -> pd.DataFrame:
    """400 patients with one to three images each; some change view, some lack a sex or an age."""
    stream = np.random.default_rng(0)
    rows = []
    for patient in range(400):
        sex, age = stream.choice(["F", "M"]), int(stream.integers(20, 90))
        for image in range(stream.integers(1, 4)):
            rows.append(  # noqa: PERF401
                {
                    "case_id": f"{patient}-{image}",
                    "patient_id": f"p{patient}",
                    "label": int(stream.random() < 0.5),
                    "sex": sex if stream.random() > 0.05 else None,
                    "age": age if stream.random() > 0.05 else np.nan,
                    "view": stream.choice(["AP", "PA"]),
                }
            )
    return pd.DataFrame(rows)


def share(table: pd.DataFrame, label: int) -> float:
    return float(table.loc[table["label"] == label, "carries"].mean())


def patients(cohort: SampledCohort, name: str) -> set[str]:
    return set(getattr(cohort, name)["patient_id"])


@pytest.mark.parametrize("p_art", [0, 0.1, 0.2, 0.5, 0.8, 1])
def test_the_value_goes_with_the_label_as_asked(cases: pd.DataFrame, p_art: float) -> None:
    cohort = sample_cohort(cases, "sex", "F", p_art)
    for name in ("train", "validation", "iid_test"):
        table = getattr(cohort, name)
        positives = (table["label"] == 1).sum()
        assert table.loc[table["label"] == 1, "carries"].sum() == round(p_art * positives)
        assert share(table, 0) == 0
        assert positives * 2 == len(table)
    assert share(cohort.ood_test, 1) == 0 and share(cohort.ood_test, 0) == 1
    for name in SETS:
        table = getattr(cohort, name)
        assert (table["carries"] == (table["sex"] == "F")).all()
        assert table["case_id"].is_unique
        assert list(table.columns) == [*cases.columns, "carries"]


@pytest.mark.parametrize("column", ["sex", "view"])
@pytest.mark.parametrize("fold", [0, 3])
def test_no_patient_is_in_two_roles(cases: pd.DataFrame, column: str, fold: int) -> None:
    cohort = sample_cohort(cases, column, {"sex": "F", "view": "PA"}[column], 0.5, fold=fold)
    train, validation = patients(cohort, "train"), patients(cohort, "validation")
    test = patients(cohort, "iid_test") | patients(cohort, "ood_test")
    assert not train & validation and not train & test and not validation & test


def test_only_p_art_changes_with_p_art(cases: pd.DataFrame) -> None:
    cohorts = {p: sample_cohort(cases, "sex", "F", p, seed=3) for p in (0, 0.2, 0.5, 1)}
    for name in SETS:
        tables = [getattr(cohort, name) for cohort in cohorts.values()]
        assert len({len(table) for table in tables}) == 1
        negatives = [set(table.loc[table["label"] == 0, "case_id"]) for table in tables]
        assert all(case_ids == negatives[0] for case_ids in negatives)
        carriers = [set(table.loc[table["carries"] & (table["label"] == 1), "case_id"]) for table in tables]
        others = [set(table.loc[~table["carries"] & (table["label"] == 1), "case_id"]) for table in tables]
        for smaller, larger in ((0, 1), (1, 2), (2, 3)):
            assert carriers[smaller] <= carriers[larger] and others[larger] <= others[smaller]
    assert cohorts[0].ood_test.equals(cohorts[1].ood_test)


def test_the_test_pool_is_the_same_for_every_share_and_holds_both_test_sets(cases: pd.DataFrame) -> None:
    cohorts = {p: sample_cohort(cases, "sex", "F", p, test_size=30) for p in (0, 0.5, 1)}
    for cohort in cohorts.values():
        assert cohort.test_pool.equals(cohorts[0].test_pool)
        assert cohort.test_pool.groupby(["label", "sex"]).size().tolist() == [30] * 4
        pool = set(cohort.test_pool["case_id"])
        assert set(cohort.iid_test["case_id"]) | set(cohort.ood_test["case_id"]) <= pool
    assert len(cohorts[0].iid_test) == len(cohorts[0].ood_test) == 60


def test_a_model_that_learnt_nothing_has_the_same_clean_auc_whatever_the_share(cases: pd.DataFrame) -> None:
    """Scores that know the view alone: where it goes with sex and label the cells of a test set matter."""
    entangled = cases.assign(
        view=np.where((cases["sex"] == "M") & (cases["label"] == 0), "AP", cases["view"])
    )
    areas = []
    for p_art in (0.0, 0.5, 1.0):
        chosen = choose_cases(entangled, CaseChoice("sex", confounder_args={"value": "F"}, p_art=p_art))
        rows, score = chosen.split.test, (entangled["view"] == "PA").astype(float).to_numpy()
        assert chosen.environments is not None
        table = entangled.iloc[rows].assign(
            carries=chosen.carries[rows],
            environment=chosen.environments[rows],
            score_clean=score[rows],
            score_confounded=score[rows],
        )
        areas.append((environment_auc(table, "clean"), environment_auc(table, "ood")))
    assert areas[0] == areas[1] == areas[2]


def test_matching_makes_the_cells_alike_and_counts_what_it_costs(cases: pd.DataFrame) -> None:
    entangled = cases[~((cases["sex"] == "M") & (cases["label"] == 0) & (cases["view"] == "PA"))].dropna()
    entangled = entangled.reset_index(drop=True)
    with_partner = pd.concat([entangled, cases[cases["view"] == "PA"].dropna().iloc[:30]])
    with_partner = with_partner.drop_duplicates("case_id").reset_index(drop=True)
    loose = sample_cohort(with_partner, "sex", "F", 1.0)
    matched = sample_cohort(with_partner, "sex", "F", 1.0, match=["view"])
    assert "unmatched" not in loose.counts and matched.counts["unmatched"] > 0
    for cohort, alike in ((loose, False), (matched, True)):
        of_class = cohort.train.groupby("label")["view"].apply(lambda views: (views == "PA").mean())
        assert (abs(of_class[0] - of_class[1]) < 0.02) == alike
    banded = sample_cohort(cases.dropna(), "sex", "F", 0.5, match={"age": 40})
    assert banded.counts["unmatched"] > 0
    for wrong, message in (
        ({"agee": 10}, "no column 'agee'"),
        ({"sex": 10}, "a width in a column of numbers"),
    ):
        with pytest.raises(InputError, match=message):
            sample_cohort(cases.dropna(), "sex", "F", 0.5, match=wrong)


@pytest.mark.parametrize("test_size", [None, 20])
def test_the_size_of_the_sampled_test_role_is_what_was_asked_for(
    cases: pd.DataFrame, test_size: int | None
) -> None:
    cohort = sample_cohort(cases, "sex", "F", 0.5, test_fraction=0.3, test_size=test_size)
    cells = [count for name, count in cohort.counts.items() if name.startswith("test, ")]
    known = cases.dropna(subset=["sex"])
    assert sum(cells) / len(known) == pytest.approx(0.3, abs=0.03)
    expected = test_size or min(cells)
    assert len(cohort.iid_test) == len(cohort.ood_test) == 2 * expected


def test_draws_depend_on_the_seed_and_not_on_the_order(cases: pd.DataFrame) -> None:
    shuffled = cases.sample(frac=1, random_state=1)
    one, two = sample_cohort(cases, "sex", "F", 0.5), sample_cohort(shuffled, "sex", "F", 0.5)
    for name in SETS:
        assert set(getattr(one, name)["case_id"]) == set(getattr(two, name)["case_id"])
    other = sample_cohort(cases, "sex", "F", 0.5, seed=1)
    assert set(other.train["case_id"]) != set(one.train["case_id"])


def test_the_rank_of_a_case_does_not_depend_on_the_others(cases: pd.DataFrame) -> None:
    whole, part = _ranked(cases, 0)["case_id"], _ranked(cases[::3], 0)["case_id"]
    assert list(part) == [name for name in whole if name in set(part)]


def test_test_patients_are_those_of_every_fold_and_validation_moves(cases: pd.DataFrame) -> None:
    folds = [sample_cohort(cases, "sex", "F", 0.5, fold=fold, test_size=40) for fold in range(5)]
    assert all(cohort.ood_test.equals(folds[0].ood_test) for cohort in folds)
    seen: set[str] = set()
    for cohort in folds:
        assert not seen & patients(cohort, "validation")
        seen |= patients(cohort, "validation")


def test_missing_values_are_left_out_and_counted(cases: pd.DataFrame) -> None:
    cases.loc[0, "sex"] = " "
    cohort = sample_cohort(cases, "sex", "F", 0.5)
    assert cohort.counts["missing"] == cases["sex"].isna().sum() + 1
    assert cohort.counts["neither"] == 0
    for name in SETS:
        assert getattr(cohort, name)["sex"].isin(["F", "M"]).all()
    cells = sum(count for name, count in cohort.counts.items() if name not in ("missing", "neither"))
    assert cells + cohort.counts["missing"] == len(cases)


@pytest.mark.parametrize("value", [">=60", "age>=60", "age >= 60", "60-200"])
def test_bands_of_numbers(cases: pd.DataFrame, value: str) -> None:
    cohort = sample_cohort(cases, "age", value, 0.5)
    assert (cohort.train["carries"] == (cohort.train["age"] >= 60)).all()
    assert cohort.counts["missing"] == cases["age"].isna().sum()


def test_another_group_can_be_named_and_the_rest_is_counted(cases: pd.DataFrame) -> None:
    cohort = sample_cohort(cases, "age", ">=60", 0.5, other="<40")
    for name in SETS:
        ages = getattr(cohort, name)["age"]
        assert ((ages >= 60) | (ages < 40)).all()
    assert cohort.counts["neither"] == cases["age"].between(40, 59).sum()
    with pytest.raises(InputError, match="overlap"):
        sample_cohort(cases, "age", ">=60", 0.5, other="50-70")


def test_too_few_cases_say_how_many_there_are(cases: pd.DataFrame) -> None:
    most = (sample_cohort(cases, "sex", "F", 0.5).train["label"] == 1).sum()
    with pytest.raises(InputError, match=rf"train_size: got 5000 per class, expected 1 to {most}: there"):
        sample_cohort(cases, "sex", "F", 0.5, train_size=5000)
    cohort = sample_cohort(cases, "sex", "F", 0.5, train_size=most, validation_size=5, test_size=7)
    assert [len(getattr(cohort, name)) for name in SETS] == [2 * most, 10, 14, 14]
    with pytest.raises(InputError, match="test_size: got 5000"):
        sample_cohort(cases, "sex", "F", 0.5, test_size=5000)
    no_female_negatives = cases[(cases["sex"] == "M") | (cases["label"] == 1)]
    with pytest.raises(InputError, match=r"no negatives with it .sex F. among the test patients"):
        sample_cohort(no_female_negatives, "sex", "F", 0.5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"column": "sexe"}, "no column 'sexe': did you mean 'sex'"),
        ({"value": "f"}, "no case has sex 'f'"),
        ({"value": ">=60"}, "a band of numbers, but column 'sex' holds none"),
        ({"column": "age", "value": ">=200"}, "there is 20 to 89"),
        ({"p_art": 1.2}, "p_art: got 1.2"),
        ({"p_art": float("nan")}, "p_art: got nan"),
        ({"test_fraction": 1}, "test_fraction: got 1"),
        ({"fold": 5}, "fold: got 5 of num_folds 5"),
    ],
)
def test_impossible_requests_are_refused(cases: pd.DataFrame, arguments: dict, message: str) -> None:
    request = {"column": "sex", "value": "F", "p_art": 0.5, **arguments}
    with pytest.raises(InputError, match=message):
        sample_cohort(cases, **request)


def test_labels_and_identifiers_are_checked(cases: pd.DataFrame) -> None:
    with pytest.raises(InputError, match="expected 0 or 1"):
        sample_cohort(cases.assign(label=2), "sex", "F", 0.5)
    with pytest.raises(InputError, match="that no other row has"):
        sample_cohort(cases.assign(case_id="same"), "sex", "F", 0.5)


@pytest.mark.skipif(not NIH.is_file(), reason=f"{NIH} is not there (set SRCMATTERS_TEST_DATA)")
@pytest.mark.parametrize(("column", "value"), [("sex", "F"), ("view", "AP"), ("age", "age>=50")])
def test_real_radiographs(column: str, value: str) -> None:
    cases = pd.read_csv(NIH, dtype={"patient_id": str}).assign(case_id=lambda table: table["image"])
    cohort = sample_cohort(cases, column, value, 0.8)
    assert len(cohort.train) >= 60 and len(cohort.ood_test) >= 30
    assert share(cohort.train, 1) == pytest.approx(0.8, abs=0.02) and share(cohort.train, 0) == 0
    test = patients(cohort, "iid_test") | patients(cohort, "ood_test")
    assert not (patients(cohort, "train") | patients(cohort, "validation")) & test
