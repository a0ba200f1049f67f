"""What the checks conclude, on scores of known truth."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from audit_cases import BrightCorner, simulated_scores
from mlflow import MlflowClient
from PIL import Image
from scipy.optimize import brentq
from scipy.special import ndtr
from scipy.stats import binomtest

from srcmatters.audit import twins as twins_module
from srcmatters.audit.case_images import CaseImages
from srcmatters.audit.check import AuditPlan, Evidence
from srcmatters.audit.checks.clean_performance import CleanPerformance
from srcmatters.audit.checks.effect import Effect
from srcmatters.audit.checks.origin import Origin
from srcmatters.audit.checks.overlap import Overlap
from srcmatters.audit.checks.refitted_head import RefittedHead
from srcmatters.audit.checks.refusals import Refusals
from srcmatters.audit.checks.sensitivity import Sensitivity
from srcmatters.audit.declared_contract import ContractOptions
from srcmatters.audit.doors.model import TrainedOn
from srcmatters.audit.look_alikes import look_alikes
from srcmatters.audit.state_scores import State
from srcmatters.audit.twins import _expanded, check_unseen, open_twins
from srcmatters.audit.two_states import TwoStates
from srcmatters.errors import InputError
from srcmatters.evaluation.outcomes import Outcome


def outcomes(evidence: Evidence) -> dict[str, Outcome | None]:
    return {one.subject: one.outcome for one in Sensitivity().run(evidence)}


def test_the_three_outcomes() -> None:
    scores = simulated_scores({"tag": 1.0, "noise": 0.0, "denoise": -1.0}, patients=400, spread=0.1)
    observed = outcomes(Evidence(scores))
    assert observed == {
        "tag": Outcome.LEANS,
        "noise": Outcome.WITHIN_MARGIN,
        "denoise": Outcome.LEANS,
    }
    few = simulated_scores({"tag": 0.3}, patients=30, spread=1.0)
    assert outcomes(Evidence(few)) == {"tag": Outcome.INCONCLUSIVE}


def test_the_sentence_says_which_way_and_what_is_not_excluded() -> None:
    scores = simulated_scores({"tag": 1.0, "denoise": -1.0}, patients=400, spread=0.1)
    texts = {one.subject: one.text for one in Sensitivity().run(Evidence(scores))}
    assert texts["tag"].startswith("A letter in the corner (tag) raises the score: AUC ")
    assert texts["denoise"].startswith("Smoothing (denoise) lowers the score: AUC ")
    (undecided,) = Sensitivity().run(Evidence(simulated_scores({"tag": 0.3}, patients=30, spread=1.0)))
    assert "not decided" in undecided.text and "is not excluded" in undecided.text


def test_a_model_that_knows_nothing_is_not_ranked() -> None:
    scores = simulated_scores({"noise": 0.0}, separation=0.0, spread=0.01)
    (finding,) = Sensitivity().run(Evidence(scores))
    assert finding.outcome is Outcome.NOT_RANKED
    assert "the absence of a loss is not evidence of robustness" in finding.text
    (clean,) = CleanPerformance().run(Evidence(scores))
    assert clean.outcome is Outcome.NOT_RANKED


def test_holm_over_the_confounders_of_the_audit() -> None:
    one = Sensitivity().run(Evidence(simulated_scores({"tag": 0.4})))[0]
    names = {"tag": 0.4, **{f"c{place}": 0.0 for place in range(20)}}
    many = Sensitivity().run(Evidence(simulated_scores(names)))[0]
    assert many.p_beyond == pytest.approx(one.p_beyond, rel=0.2)
    assert (
        many.details["p_beyond_adjusted"] == pytest.approx(min(1.0, 21 * many.p_beyond), rel=1e-9)
        or many.details["p_beyond_adjusted"] > one.details["p_beyond_adjusted"]
    )


def test_few_cases_are_skipped_with_the_number() -> None:
    (finding,) = Sensitivity().run(Evidence(simulated_scores({"tag": 1.0}, patients=12)))
    assert finding.outcome is Outcome.SKIPPED and "6 cases of the rarer label" in finding.text


@pytest.mark.slow
def test_type_i_error_at_the_margin() -> None:
    """A model whose true loss is the margin itself is shown to exceed it in 5 % of the audits at most."""
    spread = np.sqrt(2 * 1.09)  # of the difference of a positive and a negative score
    shift = brentq(lambda one: ndtr((1.5 + one) / spread) - ndtr((1.5 - one) / spread) - 0.05, 0, 1)
    false = 0
    for seed in range(200):
        scores = simulated_scores({"tag": 0.0}, patients=150, seed=seed)
        scores.confounded[State("tag")][:] = scores.clean + shift
        loss = TwoStates(scores.pairs(State("tag")), seed=seed).loss_under_reversal()
        false += loss.estimate.p_beyond(0.05) < 0.05
    assert binomtest(false, 200, 0.05, alternative="greater").pvalue > 0.01, false


def test_origin_without_twins_cannot_be_told() -> None:
    (finding,) = Origin().run(Evidence(simulated_scores({"tag": 1.0})))
    assert finding.outcome is Outcome.SKIPPED and "cannot be told from the model alone" in finding.text


@pytest.mark.parametrize(
    ("twins", "expected"),
    [
        ([0.01, -0.01, 0.0, 0.02, -0.02], Outcome.LEANS),
        ([0.28, 0.3, 0.29, 0.27, 0.285], Outcome.WITHIN_MARGIN),
        ([0.0, 0.5, 0.2, -0.2, 0.4], Outcome.INCONCLUSIVE),
    ],
)
def test_origin_against_twins(twins: list[float], expected: Outcome) -> None:
    scores = simulated_scores({"tag": 1.0}, patients=400, spread=0.0)
    evidence = Evidence(scores)
    loss = evidence.states("tag").loss_under_reversal().value
    evidence.twins = {"tag": [one + loss - 0.285 if min(twins) > 0.2 else one for one in twins]}
    (finding,) = Origin().run(evidence)
    assert finding.outcome is expected, finding.text


@pytest.mark.slow
def test_origin_is_corrected_over_the_confounders() -> None:
    """Of models that are twins themselves 5 % at most are told to have learnt anything, out of six."""
    stream, false = np.random.default_rng(0), 0
    names = [f"c{place}" for place in range(6)]
    scores = simulated_scores(dict.fromkeys(names, 0.3), patients=40, spread=0.0)
    loss = Evidence(scores).states("c0").loss_under_reversal().value
    evidence = Evidence(scores)
    for _ in range(300):
        losses = stream.normal(0, 0.03, (6, 6))
        evidence.twins = {name: loss - own[0] + own[1:] for name, own in zip(names, losses, strict=True)}
        false += any(one.outcome is Outcome.LEANS for one in Origin().run(evidence))
    assert binomtest(false, 300, 0.05, alternative="greater").pvalue > 0.01, false


def test_twins_that_saw_the_audited_cases_are_refused() -> None:
    twin, cases = BrightCorner(), simulated_scores({"tag": 0.0}, patients=10).cases
    check_unseen([twin], cases)  # nothing is known of it
    twin.trained_on = TrainedOn({"fold": 1}, ("c1", "c2"), ())
    with pytest.raises(InputError, match="fold 1, trained or validated on 8 of the 10 audited cases"):
        check_unseen([twin], cases)
    twin.trained_on = TrainedOn({"fold": 0}, tuple(cases["case_id"]), ())
    check_unseen([twin], cases)


def test_a_study_in_mlflow_names_its_twins(tmp_path: Path) -> None:
    """By its parent run or its experiment: those that never saw a confounder, of the same fold."""
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    assert _expanded("grid", uri, 0) == ["grid"] and not (tmp_path / "mlflow.db").exists()
    client = MlflowClient(uri)
    experiment = client.create_experiment("grid")
    parent = client.create_run(experiment, tags={"study": "grid"}).info.run_id

    def cell(status: str = "FINISHED", **params: object) -> str:
        run = client.create_run(experiment, tags={"mlflow.parentRunId": parent}).info.run_id
        for name, value in {
            "confounder": "tag",
            "p_art": 0.0,
            "fold": 0,
            "control": "none",
            **params,
        }.items():
            client.log_param(run, name, value)
        client.set_terminated(run, status)
        return run

    twins = {cell(seed=1), cell(confounder="none", p_art=0.5)}
    other_fold = cell(fold=1)
    for others in ({"p_art": 0.2}, {"control": "shuffled_labels"}, {"mitigation": "dfr"}):
        cell(**others)
    cell("FAILED")
    assert set(_expanded(parent, uri, 0)) == set(_expanded("grid", uri, 0)) == twins
    assert set(_expanded(parent, uri, None)) == {*twins, other_fold}
    assert _expanded(other_fold, uri, 0) == [other_fold]  # a run itself, which has no children
    with pytest.raises(InputError, match=r"--twins: 0{32} is not in MLflow"):
        _expanded("0" * 32, uri, 0)


def test_cells_that_share_a_network_are_one_twin(monkeypatch: pytest.MonkeyPatch) -> None:
    model, opened = BrightCorner(), []

    def door(place: str, *_: object, **__: object) -> BrightCorner:
        opened.append(BrightCorner())
        opened[-1].sha256 = "the same" if place < "d" else place
        return opened[-1]

    monkeypatch.setattr(twins_module, "open_model", door)
    with pytest.raises(InputError, match="--twins: 4 different models"):
        open_twins(["a", "b", "c", "d", "e", "f"], ContractOptions(), model)
    assert len(open_twins(["a", "d", "e", "f", "g"], ContractOptions(), model)) == 5


def test_effect_describes_every_dose() -> None:
    (finding,) = Effect().run(Evidence(simulated_scores({"tag": 0.6}, spread=0.0)))
    doses = finding.details["doses"]
    assert [round(row["effect"]["value"], 6) for row in doses] == [0.2, 0.6, 1.8]
    assert finding.outcome is None and finding.details["threshold_from"].startswith("Youden")
    (at_threshold,) = Effect().run(Evidence(simulated_scores({"tag": 0.6}), AuditPlan(threshold=0.9)))
    assert at_threshold.details["threshold"] == 0.9


def test_overlap_by_patient_and_by_image() -> None:
    scores = simulated_scores({"tag": 0.0}, patients=20)
    digests = [f"d{place}" for place in range(20)]
    seen = scores.cases.iloc[:3].assign(digest=["d0", "x", None])
    (finding,) = Overlap().run(Evidence(scores, training_table=seen, digests=digests))
    assert finding.outcome is Outcome.NOT_RANKED
    assert finding.details == {
        "patients": 3,
        "images_of_these_patients": 3,
        "images": 1,
        "images_compared": True,
        "look_alikes": None,
    }
    new = seen.assign(patient_id="q", digest="y")
    (none,) = Overlap().run(Evidence(scores, training_table=new, digests=digests))
    assert none.outcome is Outcome.WITHIN_MARGIN
    alike = np.arange(20) < 2
    (copied,) = Overlap().run(
        Evidence(scores, training_table=new.assign(digest="d0"), digests=digests, look_alikes=alike)
    )
    assert copied.outcome is Outcome.NOT_RANKED and copied.details["look_alikes"] == 1
    assert "1 image of the same content, 1 other image that look" in copied.text


def test_a_re_encoded_copy_among_the_training_images_is_seen(tmp_path: Path) -> None:
    """Under another patient and in another file; no stranger is one."""
    stream = np.random.default_rng(0)
    files = []
    for place in range(6):
        coarse = Image.fromarray(stream.integers(0, 255, (24, 24), dtype=np.uint8))
        files.append(tmp_path / f"{place}.png")
        coarse.resize((96, 96), Image.Resampling.BICUBIC).save(files[-1])
    Image.open(files[0]).resize((64, 64)).save(tmp_path / "copy.jpg", quality=60)
    (tmp_path / "broken.png").write_bytes(b"no picture")

    def table(paths: list[Path]) -> pd.DataFrame:
        names = [str(path) for path in paths]
        return pd.DataFrame({"image": names, "case_id": names, "patient_id": names, "label": 0})

    audited = CaseImages(table(files[:3]))
    training = table([files[4], tmp_path / "broken.png", tmp_path / "copy.jpg"])
    assert look_alikes(audited, training).tolist() == [True, False, False]
    assert look_alikes(audited, table([tmp_path / "gone.png"])) is None


def test_refusals_that_go_with_the_confounder() -> None:
    scores = simulated_scores({"tag": 0.0, "noise": 0.0})
    scores.confounded[State("tag")][:20] = np.nan
    scores.confounded[State("noise")][0] = np.nan
    by_confounder = {one.subject: one.outcome for one in Refusals().run(Evidence(scores, sent=object()))}
    assert by_confounder == {"tag": Outcome.LEANS, "noise": Outcome.INCONCLUSIVE}


def test_a_refitted_head_on_features_that_carry_the_confounder() -> None:
    scores = simulated_scores({"tag": 1.0}, patients=200, spread=0.0)
    stream = np.random.default_rng(0)
    clean = np.column_stack([scores.clean, stream.normal(size=(200, 5))])
    moved, apart = clean.copy(), clean.copy()
    moved[:, 0] += 1.0  # along what tells the label
    apart[:, 5] += 1.0  # along what does not
    evidence = Evidence(scores, features=(clean, {"tag": moved}))
    (leaning,) = RefittedHead().run(evidence)
    evidence = Evidence(scores, features=(clean, {"tag": apart}))
    (innocent,) = RefittedHead().run(evidence)
    assert leaning.value > 0.15 > abs(innocent.value)
    assert leaning.details["p_value"] < 0.05
