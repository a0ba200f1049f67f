"""The card says what is known, and of what is not known that it is not."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest
import torch
from card_cases import make_card, write_run

from srcmatters.clinical.authors import NOT_KNOWN
from srcmatters.clinical.checklist import checklist
from srcmatters.clinical.model_card import render_card
from srcmatters.clinical.monitor_fitting import fit_distance, fit_probe
from srcmatters.clinical.trained_run import TrainedRun


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> TrainedRun:
    return write_run(tmp_path_factory.mktemp("card") / "run")


@pytest.fixture(scope="module")
def card(run: TrainedRun) -> dict[str, Any]:
    return make_card(run)


class _Text(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.words: list[str] = []

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def test_missing_evidence_is_said_to_be_missing(card: dict[str, Any]) -> None:
    assert card["audit"].startswith("MISSING") and card["natural_shortcut"].startswith("MISSING")
    assert card["monitors"].startswith("MISSING") and card["source_data"]["licence"] == NOT_KNOWN
    assert card["target_data"]["splits"][0] == {"part": "training", **dict.fromkeys(
        ("cases", "patients", "positives", "sex", "age", "view"), NOT_KNOWN
    )}  # fmt: skip
    assert any("pixel spacing, image size and view position" in line for line in card["limitations"])
    page = render_card(card)
    for words in ("NOT AUDITED", "not a medical device", "MISSING: no run-time monitor", NOT_KNOWN):
        assert words in page
    text = checklist(card)
    assert "The authors must say." in text and "MISSING: nobody has tested" in text


def test_figures_are_those_of_the_cases_and_lie_in_their_intervals(
    card: dict[str, Any], run: TrainedRun
) -> None:
    clean, table = card["performance"]["clean"], run.predictions
    called = table["score_clean"] >= 0.5
    assert clean["sensitivity"]["value"] == called[table["label"] == 1].mean()
    assert clean["specificity"]["value"] == (~called[table["label"] == 0]).mean()
    for name in ("auroc", "auprc", "brier", "sensitivity", "specificity"):
        figure = clean[name]
        assert figure["low"] < figure["value"] < figure["high"], name
    assert {row["value"] for row in card["subgroups"] if row["column"] == "sex"} == {"F", "M"}


def test_the_worst_errors_are_listed_without_names(card: dict[str, Any]) -> None:
    kinds = {row["kind"]: row["score"] for row in reversed(card["failures"])}
    assert kinds["false alarm"] > 0.99 and kinds["missed"] < 0.01
    assert "secret" not in json.dumps(card) and "secret" not in render_card(card)


def test_the_page_is_text_and_nothing_is_fetched(card: dict[str, Any]) -> None:
    page = render_card(card)
    assert "<b>unheard of</b>" not in page and "&lt;b&gt;unheard of" in page
    assert "<script" not in page and "http" not in page.replace("http-equiv", "")
    reader = _Text()
    reader.feed(page)
    assert "Where it fails" in reader.words


def test_the_card_is_json_without_nan(card: dict[str, Any]) -> None:
    assert json.loads(json.dumps(card, allow_nan=False)) == card


def test_a_probe_flags_one_clean_image_in_a_hundred_and_those_with_a_marker() -> None:
    stream = torch.Generator().manual_seed(0)
    clean = torch.rand(60, 1, 32, 32, generator=stream) * 0.5
    confounded = clean.clone()
    confounded[:, :, 2:8, 2:8] = 1.0
    probe = fit_probe("marker", clean[:40], confounded[:40], [str(number) for number in range(40)])
    assert probe.auc > 0.95 and probe.sensitivity > 0.9 and probe.false_alarms <= 0.05
    assert np.mean([probe.flags(image) for image in confounded[40:]]) > 0.9
    assert np.mean([probe.flags(image) for image in clean[40:]]) < 0.1


def test_the_feature_distance_knows_its_own_from_strangers() -> None:
    stream = np.random.default_rng(0)
    mixing = stream.normal(size=(10, 40))
    own = stream.normal(size=(400, 10)) @ mixing + 0.1 * stream.normal(size=(400, 40))
    own[:, 5] = 0.0  # a channel that is dead
    fitted = fit_distance(own[:200], own[200:300], own[300:])
    assert fitted.flags(own[300:]).mean() == fitted.false_alarms < 0.1
    far, elsewhere = own[300:] * 6, own[300:] + 0.5 * stream.normal(size=(100, 40))
    assert fitted.flags(far).mean() > 0.9
    assert fitted.flags(elsewhere).mean() > 0.9, "small, but where the training images never were"
    assert fitted.quantile == 0.99
    elsewhere_scaled = fit_distance(own[:200] * 7 + 3, own[200:300] * 7 + 3, own[300:] * 7 + 3)
    np.testing.assert_allclose(elsewhere_scaled.distance(far * 7 + 3), fitted.distance(far), rtol=1e-4)
