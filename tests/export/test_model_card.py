"""The card says what is known, and of what is not known that it is not."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from card_cases import make_card, write_run

from srcmatters.export.mlflow_descriptions import version_text
from srcmatters.export.model_card.author_statements import NOT_KNOWN
from srcmatters.export.model_card.card import render_card
from srcmatters.export.model_card.checklist import checklist
from srcmatters.export.model_card.statements import source_data
from srcmatters.export.monitor_fitting import fit_distance, fit_probe
from srcmatters.export.study_evidence import audit
from srcmatters.runs.trained_run import TrainedRun
from srcmatters.sources.catalogue import find_entry

_RECALIBRATED = ("calibration_slope", "calibration_intercept")
TAG: dict[str, Any] = {"confounder": "tag", "p_art": 0.5}


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
    assert "The authors must say." in text and "MISSING: whether this model leans" in text


def test_figures_are_those_of_the_cases_and_lie_in_their_intervals(
    card: dict[str, Any], run: TrainedRun
) -> None:
    clean, table = card["performance"]["clean"], run.predictions
    called = table["score_clean"] >= 0.5
    assert clean["sensitivity"]["value"] == called[table["label"] == 1].mean()
    assert clean["specificity"]["value"] == (~called[table["label"] == 0]).mean()
    assert set(card["performance"]) == {"clean"}
    for name in ("auroc", "auprc", "brier", "sensitivity", "specificity", *_RECALIBRATED):
        figure = clean[name]
        assert figure["low"] < figure["value"] < figure["high"], name
    assert {row["value"] for row in card["subgroups"] if row["column"] == "sex"} == {"F", "M"}


def test_the_worst_errors_are_listed_without_names(card: dict[str, Any]) -> None:
    kinds = {row["kind"]: row["probability"] for row in reversed(card["failures"])}
    assert kinds["false alarm"] > 0.99 and kinds["missed"] < 0.01
    assert "secret" not in json.dumps(card) and "secret" not in render_card(card)


def test_a_run_without_a_confounder_shows_no_figure_that_looks_like_robustness(card: dict[str, Any]) -> None:
    assert card["not_measured"] == dict.fromkeys(("i.i.d.", "o.o.d."), "MISSING: not tested")
    assert render_card(card).count("MISSING: not tested") == 2
    assert {row["environment"] for row in card["subgroups"]} == {"clean"}
    shown = [one["Label"] for part in card["AppliedModelCard"]["KeyMetrics"].values()
             for one in part["Results"]["MetricResult"]]  # fmt: skip
    assert not [label for label in shown if "i.i.d." in label or "o.o.d." in label]


def test_a_training_under_a_confounder_is_said_where_one_reads_first(tmp_path: Path) -> None:
    card = make_card(write_run(tmp_path / "run", leaning=2.0, **TAG))
    assert "trained with an injected confounder, tag, in a share of .5 of the positives" in card["summary"]
    text = " ".join(card["limitations"])
    assert "an injected confounder, tag" in text and "these are confounded as the training is" in text
    assert set(card["performance"]) == {"clean", "i.i.d.", "o.o.d."} and not card["not_measured"]
    assert "clean: no case carries the confounder" in card["environments"]
    assert card["environments"] in render_card(card)


def test_a_failed_audit_is_said_wherever_one_reads_of_the_model(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", leaning=4.0, **TAG)
    evidence = audit(run)
    assert evidence is not None
    card = make_card(run, audited=True, audit=evidence)
    sentence = f"{evidence['leans_on'][0]}."
    assert sentence.startswith("LEANS: A letter in the corner raises the score")
    assert card["limitations"][0] == sentence == card["verdict"]
    page = render_card(card)
    assert "<p><strong>LEANS</strong></p>" in page and f"<li>{sentence}</li>" in page
    assert f"<p>Tested on this network. {sentence}</p>" in page
    rules = {"threshold": card["decision"]["threshold"], "calibration": {"method": "none"}}
    for text in (checklist(card), card["AppliedModelCard"]["Warnings"]["KnownRisksAndLimitations"]):
        assert sentence in text
    assert f"**Audited** on this network. {sentence} AUC" in version_text(rules, card)


def test_no_reliance_shown_is_no_praise(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", leaning=0.8, **TAG)
    card = make_card(run, audited=True, audit=audit(run))
    assert card["verdict"].startswith("INCONCLUSIVE: A letter in the corner: AUC falls by ")
    assert "is not excluded" in card["verdict"] and card["verdict"] in render_card(card)
    assert "<p><strong>INCONCLUSIVE</strong></p>" in render_card(card)


def test_clean_is_explained_where_the_confounder_is_a_column(tmp_path: Path) -> None:
    card = make_card(write_run(tmp_path / "run", sampled=True, confounder="sex", p_art=0.5))
    assert "sex cannot be taken out of an image: there clean is the AUC among cases" in card["environments"]
    assert "injected" not in card["summary"] and "chosen so that the confounder sex goes" in card["summary"]


def test_validation_cases_and_their_prevalence_limit_the_probabilities(
    card: dict[str, Any], run: TrainedRun
) -> None:
    text = " ".join(card["limitations"])
    assert "The threshold rests on 80 validation cases, which also selected the epoch of the weights." in text
    assert "injected" not in text and "not calibrated" in text
    rules = {"calibration": {"method": "temperature", "temperature": 1.0, "bias": 0.0, "cases": 80}}
    calibrated = make_card(run, **rules)
    assert "the prevalence of the validation cases, .500 (40 of 80)" in " ".join(calibrated["limitations"])


def test_nothing_is_called_calibrated_that_is_not(run: TrainedRun) -> None:
    fitted = {"method": "temperature", "temperature": 1.0, "bias": 0.0, "cases": 80}
    for calibration, noun in (
        ({"method": "none", "cases": 80}, "probability"),
        (fitted, "calibrated probability"),
    ):
        card = make_card(run, calibration=calibration)
        method, rules = (
            calibration["method"],
            {"calibration": calibration, "threshold": card["decision"]["threshold"]},
        )
        passages = {
            f"The {noun} of each test case (calibration: {method})": render_card(card),
            f"their {noun} is farthest": render_card(card),
            f"{noun.capitalize()} (calibration: {method}), present from": checklist(card),
            f"Positive at a {noun} of 0.5": version_text(rules, card),
            f"A {noun} (calibration: {method}), and a decision": str(card["AppliedModelCard"]),
            f"or folder in, a {noun} and a decision out": str(card["AppliedModelCard"]),
        }
        for words, text in passages.items():
            assert words in text, words
        assert ("and calibration rest" in " ".join(card["limitations"])) == (noun != "probability")


def test_what_was_trained_of_the_network_is_said_as_it_was(tmp_path: Path) -> None:
    words = {
        "tuned": ({"source": "imagenet"}, "pre-trained on imagenet and fine-tuned on phantom"),
        "screened": (
            {"source": "imagenet", "depth": "screen"},
            "pre-trained on imagenet and frozen, with a linear head fitted on phantom",
        ),
        "random": ({"source": "random"}, "initialised at random and trained on phantom"),
    }
    for name, (settings, expected) in words.items():
        card = make_card(write_run(tmp_path / name, **settings))
        assert expected in card["summary"], name
        assert ("selected the epoch" in " ".join(card["limitations"])) == (name != "screened")


def test_weights_are_hashed_and_versions_are_those_at_export(tmp_path: Path) -> None:
    settings = {"source": "imagenet", "network": "resnet18"}
    card = make_card(write_run(tmp_path / "run", **settings))
    entry = find_entry(settings["source"], settings["network"])
    assert entry is not None and entry.sha256
    for text in (render_card(card), checklist(card), str(card["AppliedModelCard"])):
        assert entry.sha256 in text
    assert "Versions at export: srcmatters" in render_card(card) and "at export" in checklist(card)
    assert source_data("imagenet", "densenet121")["sha256"].endswith("(only these digits were published)")
    assert source_data("radimagenet", "resnet50")["sha256"].startswith("MISSING")
    assert source_data("unheard of", "resnet50")["sha256"] == NOT_KNOWN


def test_an_age_that_tells_who_somebody_is_is_not_shown(tmp_path: Path) -> None:
    card = make_card(write_run(tmp_path / "run", oldest=97.0))
    assert card["target_data"]["splits"][2]["age"] == "mean 41, from 40 to 90 or older"
    ages = {row["value"] for row in card["subgroups"] if row["column"] == "age"}
    assert ages == {"40", "90 or older"}
    youngest = make_card(write_run(tmp_path / "younger", oldest=89.0))
    assert youngest["target_data"]["splits"][2]["age"] == "mean 41, from 40 to 89"


def test_the_checklists_agree_with_themselves(run: TrainedRun) -> None:
    rules = {"calibration": {"method": "temperature", "temperature": 1.0, "bias": 0.0, "cases": 80}}
    card = make_card(run, **rules)
    rows = [line.split(" | ") for line in checklist(card).splitlines()]
    answers = {(row[0].strip("| "), row[1]): row[2] for row in rows if len(row) == 3}
    assert "calibration (temperature)" in answers["12f", "Model updating"]
    assert "item 12f is the only update" in answers["24", "Results of model updating"]
    assert "The authors must say" in answers["41", "Implications for practice"]
    bare = checklist(make_card(run))
    assert "| 24 | Results of model updating | None. |" in bare and "the output is not calibrated" in bare


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
