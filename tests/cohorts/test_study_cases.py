"""Who carries the confounder where: the share that was asked for, in every set, the same every time."""

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from srcmatters.cohorts import CaseChoice, choose_cases, control_labels
from srcmatters.cohorts.assignment import assign
from srcmatters.cohorts.null_controls import shuffled_by_patient
from srcmatters.confounders import sampled_column
from srcmatters.errors import InputError
from srcmatters.preprocessing import create_image_confounder
from srcmatters.training import check_settings


def case_table(patients: int = 120, images: int = 1) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"patient_id": [f"P{number}" for number in range(patients)]})
    table["label"] = np.arange(patients) % 2
    table["sex"] = rng.choice(["F", "M"], patients)
    table["age"] = rng.uniform(20, 90, patients).round()
    table = table.loc[table.index.repeat(images)].reset_index(drop=True)
    table["case_id"] = [f"case{number}" for number in range(len(table))]
    table["image"] = table["case_id"] + ".png"
    return table


@pytest.mark.parametrize("p_art", [0, 0.1, 0.2, 0.5, 0.8, 1])
def test_the_share_holds_in_every_set_and_negatives_carry_none(p_art: float) -> None:
    cases = case_table()
    chosen = choose_cases(cases, CaseChoice(p_art=p_art, fold=2))
    labels = cases["label"].to_numpy()
    for rows in (chosen.split.train, chosen.split.validation, chosen.split.test):
        positives = rows[labels[rows] == 1]
        assert chosen.carries[positives].sum() == round(p_art * len(positives))
    assert not chosen.carries[labels == 0].any()


def test_who_carries_at_a_small_share_also_carries_at_a_larger_one() -> None:
    cases = case_table()
    before = np.zeros(len(cases), dtype=bool)
    for p_art in (0.1, 0.2, 0.5, 0.8, 1):
        carries = choose_cases(cases, CaseChoice(p_art=p_art)).carries
        assert (carries | ~before).all(), f"somebody stopped carrying at p_art {p_art}"
        before = carries


@pytest.mark.parametrize("unit", ["image", "patient"])
def test_negatives_carry_their_share_and_move_nobody_else(unit: str) -> None:
    cases = case_table(patients=240, images=2)
    labels = cases["label"].to_numpy()

    def carriers(p_neg: float, p_art: float = 0.5) -> np.ndarray:
        chosen = choose_cases(cases, CaseChoice(p_art=p_art, p_neg=p_neg, fold=1, assignment=unit))
        for name, rows in vars(chosen.split).items():
            negatives = rows[labels[rows] == 0]
            assert chosen.carries[negatives].sum() == pytest.approx(p_neg * len(negatives), abs=1.5)
            assert chosen.realised_p_neg[name] == chosen.carries[negatives].mean()
        return chosen.carries

    before = carriers(0)
    for p_neg in (0.05, 0.2, 0.5, 1):
        carries = carriers(p_neg)
        assert (carries[labels == 1] == before[labels == 1]).all(), "the positives' draw is shared"
        assert (carries | ~before).all(), "nested, as over p_art"
        before = carries
    assert (carriers(0.5)[labels == 0] == carriers(0.5, p_art=0.9)[labels == 0]).all()


def test_a_sampled_confounder_has_no_share_of_negatives() -> None:
    with pytest.raises(InputError, match=r"p_neg: got 0.1, but sex is sampled.*expected 0"):
        choose_cases(case_table(400), CaseChoice("sex", confounder_args={"value": "F"}, p_neg=0.1))


def test_the_draw_belongs_to_the_case_not_to_the_order() -> None:
    cases = case_table()
    shuffled = cases.sample(frac=1, random_state=3)
    carries = pd.Series(assign(cases, 0.5), index=cases["case_id"])
    assert carries[shuffled["case_id"]].tolist() == assign(shuffled, 0.5).tolist()
    assert assign(cases, 0.5, seed=1).tolist() != carries.tolist()


def test_a_patient_carries_as_a_whole() -> None:
    cases = case_table(patients=60, images=3)
    carries = assign(cases, 0.5, unit="patient")
    assert carries.sum() == 45
    assert pd.Series(carries).groupby(cases["patient_id"]).nunique().max() == 1
    assert pd.Series(assign(cases, 0.5)).groupby(cases["patient_id"]).nunique().max() == 2


def test_the_papers_protocol_draws_over_all_sets_and_anew_for_every_share() -> None:
    cases = case_table(400)
    half, most = (
        choose_cases(cases, CaseChoice(p_art=p_art, protocol="paper")).carries for p_art in (0.5, 0.8)
    )
    assert half.sum() == 100 and most.sum() == 160
    assert (half & ~most).any(), "nested, which the publication's draw is not"


def test_a_column_of_the_table_is_a_sampled_confounder() -> None:
    cases = case_table(400)
    chosen = choose_cases(cases, CaseChoice("sex", confounder_args={"value": "F"}, p_art=1.0))
    for rows in (chosen.split.train, chosen.split.validation):
        trained = set(zip(cases["label"].iloc[rows], cases["sex"].iloc[rows], strict=True))
        assert trained == {(1, "F"), (0, "M")}
    assert chosen.environments is not None
    ood = cases[np.char.find(chosen.environments.astype(str), "ood") >= 0]
    assert set(zip(ood["label"], ood["sex"], strict=True)) == {(1, "M"), (0, "F")}
    patients = [set(cases["patient_id"].iloc[rows]) for rows in vars(chosen.split).values()]
    assert not (patients[0] & patients[1] or patients[0] & patients[2] or patients[1] & patients[2])
    assert create_image_confounder("sex", cases, value="F") is None


def test_a_fixed_test_set_and_a_sampled_confounder_exclude_each_other() -> None:
    cases = case_table(400).assign(split="train")
    with pytest.raises(InputError, match="column 'split'"):
        choose_cases(cases, CaseChoice("sex", confounder_args={"value": "F"}))


def test_a_band_of_ages_can_go_with_the_label() -> None:
    cases = case_table(400)
    chosen = choose_cases(cases, CaseChoice("age", confounder_args={"value": ">=60"}, p_art=1.0))
    trained = cases.iloc[chosen.split.train]
    assert (trained.loc[trained["label"] == 1, "age"] >= 60).all()
    assert (trained.loc[trained["label"] == 0, "age"] < 60).all()


@pytest.mark.parametrize(
    ("confounder", "args", "message"),
    [
        ("tga", {}, "did you mean 'tag'"),
        ("sx", {}, "did you mean 'sex'"),
        ("sex", {}, "expected a value that goes with the label"),
        ("sex", {"value": "F", "valeu": 1}, "valeu"),
    ],
)
def test_a_wrong_name_is_said_with_the_right_one(confounder: str, args: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        cases = case_table()
        choose_cases(cases, CaseChoice(sampled_column(confounder, cases), confounder_args=args))


@pytest.mark.parametrize("wrong", [-0.1, 1.1, "half", True, float("nan"), None])
def test_a_share_outside_its_range_is_refused(wrong: object) -> None:
    with pytest.raises(InputError, match=r"p_art: got .*, expected a number between 0 and 1"):
        check_settings({"p_art": wrong})


@pytest.mark.parametrize(("name", "wrong"), [("fold", 0.5), ("batch_size", 1), ("learning_rate", 0)])
def test_settings_out_of_range_are_refused(name: str, wrong: float) -> None:
    check_settings({"fold": 0, "batch_size": 2, "learning_rate": 1e-5, "p_art": 1})
    with pytest.raises(InputError, match=f"{name}: got {wrong}"):
        check_settings({name: wrong})


def test_shuffled_labels_keep_their_number_and_say_nothing_of_the_true_ones() -> None:
    cases = case_table(2000)
    cases["split"] = np.where(np.arange(2000) < 500, "test", "train")
    shuffled = control_labels(cases, "shuffled_labels", seed=1)
    assert shuffled.drop(columns=["label", "true_label"]).equals(cases.drop(columns="label"))
    assert shuffled["true_label"].equals(cases["label"])
    for part in ("test", "train"):
        rows = cases["split"] == part
        assert shuffled["label"][rows].sum() == cases["label"][rows].sum()
    agreement = (shuffled["label"] == cases["label"]).mean()
    assert abs(agreement - 0.5) < 0.05  # 4.5 standard errors
    assert shuffled["label"].tolist() == control_labels(cases, "shuffled_labels", 1)["label"].tolist()
    assert shuffled["label"].tolist() != control_labels(cases, "shuffled_labels", 2)["label"].tolist()
    assert control_labels(cases, "none") is cases
    assert cases["label"].tolist() == (np.arange(2000) % 2).tolist(), "the table itself was changed"


def test_every_fold_shuffles_anew_and_tests_the_patients_that_the_study_tests() -> None:
    cases = case_table(300)
    tables = [control_labels(cases, "shuffled_labels", fold=fold) for fold in (0, 1)]
    assert (tables[0]["label"] != tables[1]["label"]).mean() > 0.3
    for fold, table in enumerate(tables):
        shuffled = choose_cases(table, CaseChoice(p_art=0.5, fold=fold, control="shuffled_labels")).split
        study = choose_cases(cases, CaseChoice(p_art=0.5, fold=fold)).split
        for name in vars(study):
            np.testing.assert_array_equal(getattr(shuffled, name), getattr(study, name))


def test_a_small_set_that_a_shuffle_leaves_with_one_class_is_no_mistake_of_the_user() -> None:
    cases = case_table(24)
    for seed in range(20):
        labelled = control_labels(cases, "shuffled_labels", seed)
        chosen = choose_cases(
            labelled, CaseChoice(p_art=0.5, num_folds=3, seed=seed, control="shuffled_labels")
        )
        if labelled["label"].iloc[chosen.split.validation].nunique() == 1:
            return
    raise AssertionError("no shuffle did, so this test shows nothing")


def test_shuffled_labels_of_a_patient_agree_as_much_as_the_true_ones() -> None:
    cases = case_table(150, images=2)
    cases["label"] = pd.factorize(cases["patient_id"])[0] % 2  # both images of a patient agree
    shuffled = control_labels(cases, "shuffled_labels")
    assert shuffled.groupby("patient_id")["label"].nunique().max() == 1
    assert shuffled["label"].sum() == cases["label"].sum()
    assert 0.35 < (shuffled["label"] == cases["label"]).mean() < 0.65
    ragged = np.repeat(np.arange(40), np.arange(40) % 5 + 1)
    labels = shuffled_by_patient(ragged % 2, ragged, np.random.default_rng(0))
    assert pd.Series(labels).groupby(ragged).nunique().max() == 1


@pytest.mark.parametrize("control", ["none", "shuffled_labels"])
def test_carriers_are_drawn_anew_in_every_fold(control: str) -> None:
    """One draw for all folds would stand behind their mean, where no interval over folds sees it."""
    cases = case_table(400)
    carries = [
        choose_cases(
            control_labels(cases, control), CaseChoice(p_art=0.5, fold=fold, control=control)
        ).carries
        for fold in (0, 1)
    ]
    positives = cases["label"].to_numpy() == 1
    assert 0.3 < (carries[0] != carries[1])[positives].mean() < 0.7


def test_whole_patients_come_as_near_to_the_share_as_they_can_and_nested() -> None:
    sizes = [1, 9, 2, 7, 1, 3, 5, 4, 6, 2]
    cases = pd.DataFrame({"patient_id": np.repeat([f"P{n}" for n in range(10)], sizes), "label": 1})
    cases["case_id"] = [f"c{n}" for n in range(len(cases))]
    before = np.zeros(len(cases), dtype=bool)
    for p_art in (0.1, 0.4, 0.5, 0.8, 1.0):
        carries = assign(cases, p_art, unit="patient")
        assert (carries | ~before).all()
        # Next to a prefix of patients is another, so no share is farther than half of the largest patient.
        assert abs(carries.sum() - p_art * len(cases)) <= max(sizes) / 2 + 0.5
        before = carries
    assert before.all()


def test_of_two_patients_the_nearer_share_is_taken() -> None:
    cases = pd.DataFrame({"patient_id": np.repeat(["P0", "P1"], 10), "label": 1})
    cases["case_id"] = [f"c{n}" for n in range(20)]
    counts = [assign(cases, p_art, unit="patient").sum() for p_art in (0.2, 0.3, 0.7, 0.8)]
    assert counts == [0, 10, 10, 20]


def test_the_share_that_whole_patients_allowed_is_recorded() -> None:
    cases = case_table(90, images=3)
    cases["label"] = (pd.factorize(cases["patient_id"])[0] % 3 == 0).astype(int)
    chosen = choose_cases(cases, CaseChoice(p_art=0.5, assignment="patient"))
    labels = cases["label"].to_numpy()
    for name, rows in vars(chosen.split).items():
        expected = chosen.carries[rows[labels[rows] == 1]].mean()
        assert chosen.realised_p_art[name] == pytest.approx(expected)
    sampled = choose_cases(case_table(400), CaseChoice("sex", confounder_args={"value": "F"}, p_art=0.5))
    assert sampled.realised_p_art["test"] == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("control", ["shuffled_labels", "independent_confounder"])
@pytest.mark.parametrize("protocol", ["corrected", "paper"])
def test_under_a_null_control_as_many_negatives_carry_as_positives(control: str, protocol: str) -> None:
    cases = control_labels(case_table(), control)
    chosen = choose_cases(cases, CaseChoice(p_art=0.8, control=control, protocol=protocol))
    labels = cases["label"].to_numpy()
    for rows in (chosen.split.train, chosen.split.validation, chosen.split.test):
        for label in (0, 1):
            members = rows[labels[rows] == label]
            assert chosen.carries[members].sum() == round(0.8 * len(members))


def test_a_null_control_of_a_sampled_confounder_samples_both_classes_alike() -> None:
    cases = case_table(800)
    args = {"value": "F"}
    chosen = choose_cases(
        cases, CaseChoice("sex", confounder_args=args, p_art=0.6, control="independent_confounder")
    )
    for rows in (chosen.split.train, chosen.split.validation):
        women = cases.iloc[rows].groupby("label")["sex"].apply(lambda sex: (sex == "F").sum())
        assert women[0] == women[1] > 0
    assert chosen.environments is not None
    iid = cases[np.char.find(chosen.environments.astype(str), "iid") >= 0]
    assert iid.groupby("label")["sex"].apply(lambda sex: (sex == "F").mean()).round(1).tolist() == [0.6, 0.6]


def test_an_unknown_control_is_refused() -> None:
    with pytest.raises(InputError, match="control: 'shuffle' is unknown: did you mean 'shuffled_labels'"):
        check_settings({"control": "shuffle"})


@pytest.mark.parametrize(("control", "learnt"), [("none", True), ("independent_confounder", False)])
def test_a_confounder_independent_of_the_label_is_not_learnt_in_its_place(control: str, learnt: bool) -> None:
    cases = case_table(600)
    labels = cases["label"].to_numpy()
    rng = np.random.default_rng(1)
    disease = labels + rng.normal(0, 1, 600)
    gaps = []
    for fold in range(5):
        chosen = choose_cases(cases, CaseChoice(p_art=0.5, fold=fold, control=control))
        train, test = chosen.split.train, chosen.split.test
        features = np.column_stack([disease, chosen.carries])
        model = LogisticRegression().fit(features[train], labels[train])
        environments = (features[test], np.column_stack([disease[test], labels[test] == 0]))
        iid, ood = (
            roc_auc_score(labels[test], model.decision_function(environment)) for environment in environments
        )
        gaps.append(iid - ood)
    assert np.mean(gaps) > 0.3 if learnt else abs(np.mean(gaps)) < 0.05
