"""What counts as evidence that a network leans on nothing, and what does not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from card_cases import write_run
from sklearn.metrics import roc_auc_score

from srcmatters import numbers
from srcmatters.errors import InputError
from srcmatters.evaluation.outcomes import Outcome
from srcmatters.export.study_evidence import audit, marks, verdict

TAG: dict[str, Any] = {"confounder": "tag", "p_art": 1.0}


def test_a_run_audits_itself_and_its_figures_are_those_of_its_cases(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", leaning=4.0, **TAG)
    evidence = audit(run)
    assert evidence is not None and evidence["of"] == "this network"
    (row,) = evidence["tested"]
    table, carries = run.predictions, run.predictions["carries"]
    iid = table["score_confounded"].where(carries, table["score_clean"])
    ood = table["score_confounded"].where(~carries, table["score_clean"])
    for name, scores in (("clean", table["score_clean"]), ("iid", iid), ("ood", ood)):
        expected = roc_auc_score(table["label"], scores)
        assert row[f"{name}_auc"]["value"] == pytest.approx(expected, abs=1e-9), name
    gap = row["iid_minus_ood"]
    assert gap["value"] == pytest.approx(row["iid_auc"]["value"] - row["ood_auc"]["value"])
    assert 0 < gap["low"] < gap["value"] < gap["high"]
    assert row["effect"]["value"] == pytest.approx(4.0) and row["trainings"] == 1
    assert row["output_dirs"] == [str(run.folder)] and evidence["not_tested"]
    shown = numbers.interval(gap["value"], gap["low"], gap["high"])
    mark = f"LEANS: A letter in the corner raises the score; AUC falls by {shown} where the correlation is"
    assert evidence["leans_on"] == evidence["marks"] == [f"{mark} reversed (tag at p_art 1)"]
    assert evidence["outcome"] == "LEANS" and verdict(evidence) == f"{evidence['marks'][0]}."


def row(outcome: Outcome, confounder: str, p_art: float = 0.5, **others: Any) -> dict[str, Any]:
    """A row of an audit, as far as its marks need it."""
    known: dict[str, Any] = {"confounder_args": "{}", "metric": "iid_minus_ood_auc", "reason": ""}
    lean = {"lean": {"value": 0.06, "low": -0.02, "high": 0.14}, "effect": {"low": 0.1}}
    return {**known, **lean, "confounder": confounder, "p_art": p_art, "outcome": outcome, **others}


def test_the_outcome_is_the_first_word_of_every_mark_and_the_gravest_is_first() -> None:
    size = {"value": 0.47, "low": 0.33, "high": 0.6}
    tested = [
        row(Outcome.SKIPPED, "tube", lean=dict.fromkeys(size)),
        row(Outcome.WITHIN_MARGIN, "noise", confounder_args='{"sd": 2}'),
        row(Outcome.NOT_RANKED, "pacemaker", reason="does not know the target"),
        row(Outcome.INCONCLUSIVE, "tag"),
        row(Outcome.LEANS, "kernel", lean=size, effect={"low": None}, metric="learned_lean"),
    ]
    reversed_ = "where the correlation is reversed"
    assert marks(tested) == [
        f"LEANS: Another reconstruction kernel: AUC falls by .47 [.33, .60] {reversed_} beyond that at"
        " p_art 0 (kernel at p_art .5)",
        f"WITHIN MARGIN: More quantum noise: AUC falls by .06 [−.02, .14] {reversed_}, within ±.05"
        ' (noise {"sd": 2} at p_art .5)',
        f"INCONCLUSIVE: A letter in the corner: AUC falls by .06 [−.02, .14] {reversed_}, so a fall by up to"
        " .14 is not excluded (tag at p_art .5)",
        "NOT RANKED: A pacemaker: does not know the target (pacemaker at p_art .5)",
        "SKIPPED: A chest tube: without an interval, so a fall of any size is possible (tube at p_art .5)",
    ]


def test_of_several_p_art_the_gravest_speaks_and_then_the_highest() -> None:
    rows = [row(Outcome.INCONCLUSIVE, "tag", share) for share in (0.2, 0.8)]
    assert marks([*rows, row(Outcome.WITHIN_MARGIN, "tag", 1.0)])[0].endswith("(tag at p_art .8)")


def test_a_network_that_leans_on_nothing_is_told_what_could_have_been_missed(tmp_path: Path) -> None:
    evidence = audit(write_run(tmp_path / "run", leaning=0.8, **TAG))
    assert evidence is not None and evidence["leans_on"] == [] and evidence["outcome"] == "INCONCLUSIVE"
    assert "is not excluded (tag at p_art 1)" in evidence["marks"][0]


def test_what_was_lost_at_p_art_0_already_was_not_learnt(tmp_path: Path) -> None:
    """With a reference in the study an export says of a lean what the study's report says."""
    study = tmp_path / "study"
    for fold in range(3):
        write_run(study / f"reference-{fold}", leaning=4.0, fold=fold, confounder="tag", p_art=0.0)
        own = write_run(study / f"own-{fold}", leaning=4.0, fold=fold, confounder="tag", p_art=1.0)
    evidence = audit(own, study)
    assert evidence is not None
    (only,) = evidence["tested"]
    assert only["metric"] == "learned_lean" and only["p_art"] == 1.0 and only["trainings"] == 3
    assert only["lean"]["value"] == pytest.approx(0.0) and only["iid_minus_ood"]["value"] > 0.1
    assert only["outcome"] == "WITHIN MARGIN" and evidence["leans_on"] == []
    alone = audit(own)
    assert alone is not None and alone["outcome"] == "LEANS"


@pytest.mark.parametrize(
    "settings",
    [{}, {"confounder": "tag", "p_art": 0.0}, {**TAG, "control": "shuffled_labels"}],
    ids=["no confounder", "no correlation", "a null control"],
)
def test_a_run_under_no_confounder_is_no_audit(tmp_path: Path, settings: dict[str, object]) -> None:
    run = write_run(tmp_path / "study" / "own")
    write_run(tmp_path / "study" / "other", fold=1, **settings)
    assert audit(run, tmp_path / "study") is None


def test_runs_trained_alike_audit_each_other(tmp_path: Path) -> None:
    study = tmp_path / "study"
    run = write_run(study / "own")
    free = {"device": "cuda:0", "assignment": "patient", **TAG}
    write_run(study / "tag-0", leaning=4.0, **free)
    write_run(study / "tag-1", leaning=4.0, fold=1, seed=7, **free)
    write_run(study / "noise", leaning=1.0, confounder="noise", p_art=0.5)
    for name, other in (
        ("source", "imagenet"),
        ("network", "resnet18"),
        ("target", "else"),
        ("depth", "screen"),
        ("image_size", 48),
        ("learning_rate", 0.1),
        ("augmentation", {"rotation": 20}),
        ("unit", "HU"),
    ):
        write_run(study / name, leaning=9.0, **{**TAG, "confounder": "tube", name: other})
    evidence = audit(run, study)
    assert evidence is not None and evidence["of"] == "networks trained alike"
    rows = {row["confounder"]: row for row in evidence["tested"]}
    assert set(rows) == {"tag", "noise"} and rows["tag"]["trainings"] == 2
    assert {Path(name).name for name in rows["tag"]["output_dirs"]} == {"tag-0", "tag-1"}


def test_runs_on_other_images_are_refused(tmp_path: Path) -> None:
    run = write_run(tmp_path / "own", digest="a" * 64)
    write_run(tmp_path / "study" / "tag", digest="b" * 64, **TAG)
    with pytest.raises(InputError, match="runs on other images or labels of phantom than those of RUN"):
        audit(run, tmp_path / "study")


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        ({"network": "resnet18"}, "has network: resnet18, expected resnet10"),
        ({"image_size": 48}, "has image_size: 48, expected 32"),
        ({"balanced": True}, "has balanced: True, expected nothing"),
        (
            {"dropout": 0.5, "source": "else", "image_size": 48, "batch_size": 4},
            "has source: else, expected imagenet; image_size: 48, expected 32; batch_size: 4, expected 16;"
            " and 1 more",
        ),
    ],
)
def test_networks_trained_otherwise_audit_nothing_and_the_message_says_in_what(
    tmp_path: Path, other: dict[str, Any], expected: str
) -> None:
    own: dict[str, Any] = {"source": "imagenet", "image_size": 32, "batch_size": 16, "dropout": 0.2}
    study = tmp_path / "study"
    run = write_run(study / "own", **own)
    write_run(study / "farther", **{**TAG, **own, **other, "target": "else", "weight_decay": 1, "cases": 2})
    write_run(study / "tag", **{**TAG, **own, **other})
    with pytest.raises(InputError, match="no run under a confounder that was trained like RUN") as caught:
        audit(run, study)
    assert expected in str(caught.value) and "\n" not in str(caught.value)
