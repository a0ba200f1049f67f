"""What counts as evidence that a network leans on nothing, and what does not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from card_cases import write_run
from sklearn.metrics import roc_auc_score

from srcmatters import numbers
from srcmatters.errors import InputError
from srcmatters.export.study_evidence import audit, leans_on, verdict

TAG: dict[str, Any] = {"confounder": "tag", "p_art": 1.0}


def test_a_run_audits_itself_and_its_figures_are_those_of_its_cases(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", leaning=4.0, **TAG)
    found = audit(run)
    assert found is not None and found["of"] == "this network"
    (row,) = found["tested"]
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
    assert row["output_dirs"] == [str(run.folder)] and found["not_tested"]
    shown = numbers.interval(gap["value"], gap["low"], gap["high"])
    assert found["leans_on"] == [f"tag at p_art 1: AUC falls by {shown} where the correlation is reversed"]
    assert verdict(found) == f"This network leans on a confounder: {found['leans_on'][0]}."


def gap_row(confounder: str, value: float, low: float | None, high: float | None, **others: Any) -> Any:
    """A row of an audit, as far as its verdict needs it."""
    gap = {"value": value, "low": low, "high": high}
    return {"confounder": confounder, "confounder_args": "{}", "p_art": 0.5, "iid_minus_ood": gap, **others}


def test_a_fall_is_shown_where_its_interval_lies_above_0() -> None:
    kernel = gap_row("kernel", 0.47, 0.33, 0.60)
    others = [
        gap_row("tag", 0.06, -0.02, 0.14),
        gap_row("noise", -0.2, -0.3, -0.1, confounder_args='{"sd": 2}'),
        gap_row("tube", 0.3, None, None),
    ]
    said = "kernel at p_art .5: AUC falls by .47 [.33, .60] where the correlation is reversed"
    assert leans_on([*others, kernel]) == [said] and leans_on(others) == []
    found = {"of": "networks trained alike", "tested": [kernel, *others], "leans_on": [said]}
    assert verdict(found) == (
        f"Networks trained alike lean on a confounder: {said}."
        " No reliance was shown by this audit: tag at p_art .5: i.i.d. minus o.o.d. AUC .06 [−.02, .14], so a"
        " fall by up to .14 is not excluded;"
        ' noise {"sd": 2} at p_art .5: i.i.d. minus o.o.d. AUC −.20 [−.30, −.10], so a fall by up to .00 is'
        " not excluded; tube at p_art .5: without an interval, so a fall of any size is possible."
    )


def test_a_network_that_leans_on_nothing_is_told_what_could_have_been_missed(tmp_path: Path) -> None:
    found = audit(write_run(tmp_path / "run", leaning=0.0, **TAG))
    assert found is not None and found["leans_on"] == []
    assert verdict(found).startswith("No reliance was shown by this audit: tag at p_art 1: ")


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
    found = audit(run, study)
    assert found is not None and found["of"] == "networks trained alike"
    rows = {row["confounder"]: row for row in found["tested"]}
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
