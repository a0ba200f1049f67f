"""The networks of a study: pooled over folds, asked once, shown in the report."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from audit_cases import BrightCorner
from exported_runs import train
from torch import Tensor

from srcmatters.audit.doors.model import TrainedOn
from srcmatters.audit.doses import dosed
from srcmatters.audit.scoring import Scorer
from srcmatters.audit.state_scores import State
from srcmatters.audit.study import asking
from srcmatters.audit.study.asking import ask_study
from srcmatters.audit.study.network_groups import network_groups
from srcmatters.audit.study.pooled_runs import PooledRuns
from srcmatters.cohorts import read_cases
from srcmatters.errors import InputError
from srcmatters.evaluation.attribute_encoding import attribute_encoding
from srcmatters.evaluation.attribute_groups import AttributeGroups
from srcmatters.reports.network_checks import (
    RECORD,
    NetworkChecks,
    read_network_checks,
    regions_of_study,
    sentences_for_a_card,
    write_network_checks,
)
from srcmatters.runs.finished_runs import read_results


class Fold(BrightCorner):
    """A formula on a scale of its own, tested on some cases."""

    def __init__(self, tested: list[str], scale: float, shift: float) -> None:
        super().__init__(corner=2.0)
        self.scale, self.shift = scale, shift
        self.trained_on = TrainedOn({}, tuple(tested), ())

    def forward(self, inputs: Tensor) -> Tensor:
        """(N, 1)."""
        return self.scale * super().forward(inputs) + self.shift


@pytest.fixture(scope="module")
def pooled(radiograph_cohort: Path) -> PooledRuns:
    cases = read_cases(radiograph_cohort)
    names = cases["case_id"].tolist()
    # The second run tested cases of the first as well, and the last case nobody.
    folds = [Fold(names[:20], 1.0, 0.0), Fold(names[10:47], 30.0, 5.0)]
    return PooledRuns(folds, cases, (State("tag"), dosed("tag")))


def test_every_case_is_scored_once_whatever_the_scale_of_its_run(pooled: PooledRuns) -> None:
    assert pooled.networks == 2 and len(pooled.images) == 47
    assert pooled.images.cases["case_id"].is_unique
    for rows in (slice(0, 20), slice(20, 47)):
        part = pooled.scores.clean[rows]
        assert part.mean() == pytest.approx(0, abs=1e-9) and part.std() == pytest.approx(1)
    plain = Scorer(BrightCorner(corner=2.0), pooled.images).score([None]).log_odds[0, 20:, 0]
    expected = (plain - plain.mean()) / plain.std()
    np.testing.assert_allclose(pooled.scores.clean[20:], expected, atol=1e-3)
    shift = pooled.scores.confounded[State("tag")] - pooled.scores.clean
    assert (shift > 0).mean() > 0.9


def test_changed_images_go_to_the_network_of_their_fold(pooled: PooledRuns) -> None:
    seen = []

    def same(image: Tensor, position: int) -> Tensor:
        seen.append(position)
        return image

    rows = np.array([30, 3, 46, 19])
    np.testing.assert_allclose(pooled.changed(rows, same), pooled.scores.clean[rows], atol=1e-6)
    assert sorted(seen) == [3, 19, 30, 46]
    black = pooled.changed(rows, lambda image, _: image * 0)
    # Both runs say the same of a black image, each on its scale.
    assert black[0] == black[2] and black[1] == black[3] and black[0] < 0


def test_features_come_with_their_run(pooled: PooledRuns) -> None:
    features = pooled.features()
    assert features is not None and features["features"].shape == (47, 256)
    assert features["runs"].tolist() == [0] * 20 + [1] * 27 and features["rows"].tolist() == list(range(47))


def test_features_of_different_networks_are_probed_apart() -> None:
    """Each network encodes the attribute along an axis of its own sign: together they would tell nothing."""
    stream = np.random.default_rng(0)
    member, runs = stream.integers(0, 2, 240), np.repeat([0, 1], 120)
    labels = np.tile([0, 1], 120)
    features = stream.normal(size=(240, 3))
    features[:, 0] += 3 * (member - 0.5) * np.where(runs == 1, 1, -1)
    groups = AttributeGroups("sex", ("F", "M"), member, False, {}, 0)
    patients = np.arange(240)
    apart = attribute_encoding(features, labels, patients, groups, runs=runs)
    together = attribute_encoding(features, labels, patients, groups)
    assert [one.label for one in apart] == [0, 1] and all(one.low > 0.8 for one in apart)
    assert all(one.auc < 0.7 for one in together)


def test_a_study_without_a_case_of_the_table(radiograph_cohort: Path) -> None:
    with pytest.raises(InputError, match="none of the case table's images"):
        PooledRuns([Fold(["elsewhere"], 1.0, 0.0)], read_cases(radiograph_cohort))


@pytest.fixture(scope="module")
def study(radiograph_cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training at p_art 0 and one at 1, of an epoch each."""
    folder = tmp_path_factory.mktemp("study")
    for p_art in (0.0, 1.0):
        train("xray_classification", radiograph_cohort, folder / f"p{p_art:g}", confounder="tag", p_art=p_art)
    return folder


def test_a_study_is_asked_once_and_again_where_something_changed(
    study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    groups = list(network_groups(read_results(study).cells))
    assert [(one.confounder, one.p_art, one.lowest) for one in groups] == [
        ("none", 0, True),
        ("tag", 1, False),
    ]
    lines: list[str] = []
    assert ask_study(study, ["regions"], write=lines.append) == study / RECORD
    lowest, strongest = read_network_checks(study)
    assert lowest.lowest and not strongest.lowest and strongest.confounder == "tag"
    assert {row["subject"] for row in lowest.regions} == {"disease", "corners"}
    assert len(lines) == 4 and "regions: disease, corners" in lines[1]
    shown = regions_of_study([strongest, lowest])
    assert "p_art 0" in shown[0][0] and "of tag" in shown[1][0] and len(shown[0][2].rows) == 12
    opened = []
    pool = asking.PooledRuns
    monkeypatch.setattr(asking, "PooledRuns", lambda *parts: opened.append(1) or pool(*parts))
    before = (study / RECORD).read_text()
    ask_study(study, ["regions"])
    assert not opened and (study / RECORD).read_text() == before
    ask_study(study)  # attributes as well, of the lowest p_art alone
    assert len(opened) == 1
    again = read_network_checks(study)[0]
    assert again.regions == lowest.regions and again.asked == ["regions", "attributes"]
    shutil.copy(study / "p1" / "model.pt", study / "p0" / "model.pt")
    ask_study(study)
    assert len(opened) == 2  # other weights


def test_a_record_that_is_none_and_a_run_without_weights(study: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    shutil.copytree(study / "p1", bare / "run")
    (bare / "run" / "model.pt").unlink()
    ask_study(bare, ["regions"])
    (one,) = read_network_checks(bare)
    assert not one.regions and "no model.pt" in one.left_out[0]
    (bare / RECORD).write_text(json.dumps({"networks": [{"key": 1}]}))
    with pytest.raises(InputError, match="not what `srcmatters audit study` writes"):
        read_network_checks(bare)


def test_a_card_says_what_is_encoded_and_which_regions_decide(tmp_path: Path) -> None:
    def row(label: int, auc: float) -> dict[str, float]:
        return {"label": label, "auc": auc, "low": auc - 0.1, "high": auc + 0.1}

    regions = [
        {"subject": name, "text": f"The {name}.", "interventions": []} for name in ("disease", "border")
    ]
    encoded = {"view": [row(0, 0.8), row(1, 0.55)], "sex": [row(0, 0.5)]}
    setup = ("chests", "resnet10", "finetune")
    ours = NetworkChecks("k", setup, "imagenet", "none", 0.0, True, 5, 100, encoded, regions)
    write_network_checks(tmp_path, [ours, replace(ours, source="random", encoded={})])
    assert sentences_for_a_card(tmp_path, setup, "imagenet") == [
        "view is encoded in the features (AUC of a probe .80 [.70, .90] in negatives and .55 [.45, .65] in"
        " positives).",
        "sex is not shown to be encoded in the features (AUC of a probe .50 [.40, .60] in negatives).",
        "imagenet, p_art 0 (5 networks): The disease.",
    ]
    assert not sentences_for_a_card(tmp_path, ("chests", "resnet18", "finetune"), "imagenet")
