"""The report says what the analysis found, what is missing, and nothing about anybody."""

from __future__ import annotations

import base64
import html
import io
import itertools
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from click.testing import CliRunner
from study_tables_on_disk import HOSTILE, write_study

from srcmatters.errors import InputError
from srcmatters.evaluation.analysis import Analysis
from srcmatters.evaluation.analysis_plan import AnalysisPlan
from srcmatters.evaluation.natural_shortcut import NaturalShortcut, natural_shortcut
from srcmatters.evaluation.verdicts import verdicts
from srcmatters.numbers import interval, listed, number, p_value, share, signed
from srcmatters.reports import printing, report
from srcmatters.reports.commands import report as command
from srcmatters.reports.coverage import missing_cells, not_tested
from srcmatters.reports.example_images import target_examples
from srcmatters.reports.report import ReportOptions, render_report, write_report
from srcmatters.reports.setups import confounder_label, setup_words, setups
from srcmatters.reports.shortcut_record import shortcuts
from srcmatters.reports.study_folder import StudyFolder, open_study
from srcmatters.runs import trained_run
from srcmatters.runs.finished_runs import StudyResults
from srcmatters.studies.conclusion import verdict_lines

TRAIN = Path(__file__).parents[2] / "bundles" / "xray_classification" / "configs" / "train.yaml"


def downloads(text: str) -> dict[str, str]:
    """The CSV files inside a page, by name."""
    links = re.findall(r'href="data:text/csv;base64,([^"]+)" download="(\w+)\.csv"', text)
    return {name: base64.b64decode(content).decode() for content, name in links}


def words(text: str) -> str:
    """What a reader sees: no tags, no pictures, one blank between words."""
    plain = re.sub(r"<(style|svg).*?</\1>", " ", text, flags=re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", plain)).split())


def test_every_verdict_is_on_the_page(page: str, study_analysis: Analysis) -> None:
    text = words(page)
    main = [verdict for verdict in verdicts(study_analysis) if verdict.kind != "control"]
    assert len(main) == 2 * 2 + 2  # a loss per source and confounder, a comparison per confounder
    for verdict in main:
        assert " ".join(verdict.text.split()) in text


def test_tables_of_the_page_are_those_of_the_analysis(page: str, study_analysis: Analysis) -> None:
    files = downloads(page)
    assert set(files) >= {"environments", "gaps", "contrasts", "curves", "subgroups"}
    read = pd.read_csv(io.StringIO(files["environments"]))
    np.testing.assert_allclose(read["auc"], study_analysis.environments["auc"], rtol=1e-5)
    row = study_analysis.gaps[study_analysis.gaps["p_art"] == 1].iloc[0]
    assert interval(row["iid_minus_ood"], row["low"], row["high"]) in page


def test_nothing_identifies_a_patient_or_a_case(page: str) -> None:
    assert "SECRET" not in page
    for content in downloads(page).values():
        assert "SECRET" not in content


def test_names_that_users_choose_are_text(page: str) -> None:
    assert "<img src=x" not in page
    assert "<b>sources</b>" not in page
    assert page.count(html.escape(HOSTILE).replace("&quot;", "&#34;")) > 10
    assert "<script" not in page


def test_figures_write_names_as_they_are(page: str) -> None:
    drawn = [html.unescape(text) for text in re.findall(r"<text[^>]*>([^<]*)</text>", page)]
    assert HOSTILE in drawn  # no formula is made of its dollar signs


def test_page_asks_the_network_for_nothing(page: str) -> None:
    assert "default-src 'none'" in page
    targets = re.findall(r"""(?:src|href)=["']([^"']*)""", page) + re.findall(r"url\(([^)]*)", page)
    assert targets
    assert {target[:5] for target in targets if not target.startswith("#")} == {"data:"}
    assert "@import" not in page


def test_same_results_give_the_same_bytes_but_for_the_date(
    page: str,
    opened_study: StudyFolder,
    study_results: StudyResults,
    study_analysis: Analysis,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1763900000")
    again = render_report(opened_study, study_results, study_analysis, ReportOptions(data=False))
    assert again == page
    assert "2025-11-23" in page


def test_headings_and_tables_have_an_order(page: str) -> None:
    assert page.count("<h1") == 1
    levels = [int(level) for level in re.findall(r"<h(\d)", page)]
    assert levels[0] == 1
    assert all(later - earlier <= 1 for earlier, later in itertools.pairwise(levels))
    assert '<html lang="en">' in page
    for table in re.findall(r"<table.*?</table>", page, flags=re.DOTALL):
        assert "<caption>" in table
        assert all("scope=" in heading for heading in re.findall(r"<th\b[^>]*>", table))
    assert len(set(re.findall(r'\sid="([^"]*)"', page))) == len(re.findall(r'\sid="', page))


def test_what_failed_and_what_never_ran_is_named(page: str) -> None:
    text = words(page)
    assert "radiology-tag-failed, tried 2 times" in text
    assert "Without a result (1 cell): radiology-tag-waiting" in text
    assert "2 cells of the grid without a result" in text


def test_a_plan_that_was_changed_on_the_way_is_said(page: str) -> None:
    assert "The analysis plan was replaced when 4 cells had finished" in words(page)


def test_null_control_is_in_its_own_table_and_in_no_other(
    page: str, study_analysis: Analysis, study_results: StudyResults
) -> None:
    assert "shuffled labels: nothing can be learned" in words(page)
    (setup,) = setups(study_analysis)
    assert set(setup.controls["control"]) == {"shuffled_labels"}
    assert set(setup.analysis.gaps["control"]) == {"none"}
    assert len(study_results.cells) == 36 + 6
    assert "In all 36 runs" in words(page)


def test_holes_in_the_grid_are_found_without_a_study_file(study_results: StudyResults) -> None:
    cells = study_results.cells.assign(label=study_results.cells["confounder"])
    assert missing_cells(cells) == []
    gone = cells[(cells["source"] == "imagenet") & (cells["p_art"] == 0.5) & (cells["fold"] == 2)]
    missing = missing_cells(cells.drop(gone.index[:1]))
    assert missing == [f"imagenet, {gone['label'].iloc[0]}, p_art .5, fold 2, seed 0"]


def test_what_was_tested_is_not_called_untested(study_results: StudyResults) -> None:
    plan = AnalysisPlan(subgroups=("sex", "hospital"))
    sentences = not_tested(study_results.cells, study_results.predictions, plan)
    text = " ".join(sentences)
    (others,) = [sentence for sentence in sentences if sentence.startswith("Other confounders")]
    assert "pacemaker" in others
    assert not {"tag", "denoise"} & set(re.findall(r"\w+", others))
    assert "sex, view and age" in text  # groups of the table that nobody sampled; no free text
    assert "Subgroups by hospital: the case table does not say" in text
    assert "Null controls" not in text
    one = study_results.cells[study_results.cells["control"] == "none"]
    assert "Null controls" in " ".join(not_tested(one, study_results.predictions, plan))
    assert "p_art 1" in " ".join(not_tested(one[one["p_art"] < 1], study_results.predictions, plan))


def test_one_source_in_a_plain_folder_is_reported_as_such(tmp_path: Path) -> None:
    folder = write_study(tmp_path / "runs", ("imagenet",), ("tag",), (0.0, 1.0), patients=30)
    shutil.rmtree(folder / "cells" / "imagenet-tag-0.0-0")
    results, study = report.read_results(folder), open_study(folder)
    analysis = report.analyse(results, replace(study.plan, replicates=200))
    text = words(render_report(study, results, analysis, ReportOptions(data=False)))
    assert "Not declared beforehand." in text
    assert "There is one source only (imagenet)" in text
    assert "imagenet, tag, p_art 0, fold 0, seed 0" in text


def test_command_writes_the_page_and_says_what_is_wrong(
    study_folder: Path, study_analysis: Analysis, page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def rendered(study: StudyFolder, results: StudyResults, analysis: Analysis, options: object) -> str:
        calls.append((study.name, analysis is study_analysis, options))
        return page

    monkeypatch.setattr(report, "analyse", lambda results, plan: study_analysis)
    monkeypatch.setattr(report, "render_report", rendered)
    out = tmp_path / "page.html"
    done = CliRunner().invoke(command, [str(study_folder), "--out", str(out), "--no-data"])
    assert done.exit_code == 0, done.output
    assert calls == [("grid of <b>sources</b>", True, ReportOptions(images=False, data=False))]
    assert out.read_text() == page
    assert out.stat().st_size < 5 * 2**20
    assert list(tmp_path.iterdir()) == [out]
    wrong = CliRunner().invoke(command, [str(study_folder), "--out", str(tmp_path / "page.doc")])
    assert isinstance(wrong.exception, InputError)
    assert "page.doc" in str(wrong.exception)


@pytest.mark.parametrize(
    ("content", "expected"),
    [("- a list", "expected a mapping"), ("{", "not readable"), ("analysis: {metrics: x}", "'metrics'")],
)
def test_wrong_study_file_is_one_line(tmp_path: Path, content: str, expected: str) -> None:
    (tmp_path / "study.yaml").write_text(content)
    with pytest.raises(InputError, match=r"study\.yaml") as caught:
        open_study(tmp_path)
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_nothing_is_computed_for_a_page_that_cannot_be_written(
    study_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unexpected(*_: object) -> None:
        raise AssertionError("analysed")

    monkeypatch.setattr(report, "analyse", unexpected)
    with pytest.raises(InputError, match="does not exist"):
        write_report(study_folder, tmp_path / "absent" / "report.html")
    monkeypatch.setattr(printing.shutil, "which", lambda name: None)
    with pytest.raises(InputError, match="apt-get install chromium"):
        write_report(study_folder, tmp_path / "report.html", pdf=tmp_path / "report.pdf")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_the_old_page(
    study_folder: Path, study_analysis: Analysis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "report.html"
    out.write_text("old")
    monkeypatch.setattr(report, "analyse", lambda results, plan: study_analysis)
    monkeypatch.setattr(report, "render_report", lambda *_: "new")

    def full(path: Path, text: str, encoding: str) -> None:
        path.write_bytes(b"ne")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(InputError, match="No space left"):
        write_report(study_folder, out)
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"old"]


def test_thumbnails_find_a_shortcut_only_where_there_is_one() -> None:
    stream = np.random.default_rng(0)
    labels = np.arange(120) % 2
    patients = [f"patient {number // 2}" for number in range(0, 240, 2)]
    noise = stream.normal(size=(120, 1, 32, 32)).astype(np.float32)
    nothing = natural_shortcut(noise, labels.tolist(), patients)
    assert not nothing.present
    assert nothing.low < 0.5 < nothing.high
    brighter = noise + 0.5 * labels[:, None, None, None].astype(np.float32)
    shortcut = natural_shortcut(torch.from_numpy(brighter), labels.tolist(), patients)
    assert shortcut.present
    assert shortcut.auc > 0.9
    # What lies inside the frame is not in it, however strong; a corner is.
    middle, corner = np.zeros((2, 32, 32), dtype=np.float32)
    middle[8:24, 8:24], corner[:2, :2] = 1, 5
    signs = labels[:, None, None, None].astype(np.float32)
    inside, outside = (
        natural_shortcut((noise + signs * where).astype(np.float32), labels.tolist(), patients)
        for where in (middle, corner)
    )
    assert inside.auc > 0.9 and inside.frame_low < 0.5 < inside.frame_high
    assert outside.frame_auc > 0.9
    # A checkerboard of single pixels is gone in a thumbnail, however strong.
    board = (np.indices((32, 32)).sum(0) % 2 * 2 - 1).astype(np.float32)
    hidden = noise + 5 * labels[:, None, None, None] * board
    assert natural_shortcut(hidden.astype(np.float32), labels.tolist(), patients).auc == pytest.approx(
        nothing.auc, abs=0.02
    )


def test_shortcut_refuses_what_is_no_set_of_images() -> None:
    with pytest.raises(InputError, match="expected"):
        natural_shortcut(np.zeros((4, 32, 32)), [0, 1, 0, 1], list("abcd"))
    with pytest.raises(InputError, match="16 pixels or more"):
        natural_shortcut(np.zeros((4, 1, 8, 8)), [0, 1, 0, 1], list("abcd"))


@pytest.fixture
def real_run(radiograph_cohort: Path, tmp_path: Path) -> pd.DataFrame:
    """A cell whose configuration opens 48 phantom radiographs."""
    config = yaml.safe_load(TRAIN.read_text())
    config |= {"dataset_dir": str(radiograph_cohort), "image_size": 32, "num_workers": 0, "output_dir": "x"}
    (tmp_path / "cell").mkdir()
    (tmp_path / "cell" / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    row = {"target": "cohort", "label": "tag", "output_dir": str(tmp_path / "cell"), "dataset_sha256": "abc"}
    return pd.DataFrame([row])


def test_images_of_the_target_come_from_the_run_itself(
    real_run: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    examples, left_out = target_examples(real_run)
    assert left_out == []
    assert [example.title for example in examples] == ["positive of cohort", "negative of cohort"]
    assert all(0 < example.changed < 0.2 for example in examples)  # a letter, and nothing else
    measured = shortcuts(real_run, tmp_path)
    assert isinstance(measured["cohort"], NaturalShortcut)
    assert measured["cohort"].cases == 48
    assert [rung["step"] for rung in measured["cohort"].rungs][:2] == ["columns", "mean_sd"]
    # The second time the record is enough: the images may be gone.
    monkeypatch.setattr(trained_run, "open_images", lambda path: pytest.fail("opened the images"))
    assert shortcuts(real_run, tmp_path) == measured
    assert shortcuts(real_run.assign(dataset_sha256="other"), tmp_path, measure=False)["cohort"] != measured


def test_images_with_text_in_their_pixels_are_not_shown_even_if_asked_for(
    real_run: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("srcmatters.preprocessing.images_without_text.shows_text", lambda cache, row: True)
    examples, left_out = target_examples(real_run)
    assert examples == [] and len(left_out) == 2
    assert (
        left_out[0] == "tag is shown on no positive of cohort: text may be in their pixels, or they are gone."
    )


def test_images_that_are_gone_cost_a_sentence_not_the_report(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("cache: '$open(\"/absent/SECRET\")'\n")
    cells = pd.DataFrame(
        [{"target": "t", "label": "tag", "output_dir": str(tmp_path), "dataset_sha256": "abc"}]
    )
    examples, left_out = target_examples(cells)
    assert examples == []
    assert left_out and "SECRET" not in left_out[0]
    assert "SECRET" not in str(shortcuts(cells, tmp_path)["t"])
    assert not (tmp_path / "natural_shortcut.json").exists()


def test_numbers_read_as_in_a_paper() -> None:
    assert number(0.424) == ".42"
    assert number(-0.424) == "−.42"
    assert number(-0.001) == ".00"
    assert number(1.0) == "1.00"
    assert number(float("nan")) == number(None) == "–"
    assert signed(0.1) == "+.10" and signed(0.004) == ".00"
    assert interval(0.42, 0.35, 0.49) == ".42 [.35, .49]"
    assert interval(0.42, float("nan"), 0.5) == ".42"
    assert p_value(0.0004) == "< .001"
    assert p_value(0.0079) == ".008"
    assert [share(value) for value in (0, 0.5, 1, 0.0003, 12, -0.5)] == ["0", ".5", "1", ".0003", "12", "−.5"]
    assert listed(["a", "b", "c"]) == "a, b and c"


def test_a_confounder_is_called_by_its_parameters() -> None:
    assert confounder_label("tag", "{}") == "tag"
    assert confounder_label("sex", "{'value': 'F'}") == "sex (value: F)"
    assert confounder_label("tag", "not a mapping") == "tag"


def test_setups_are_told_apart_in_words_and_ordered_by_what_moved(tmp_path: Path) -> None:
    assert setup_words({"adaptation": "full", "train_size": "64"}) == "adaptation full, 64 training cases"
    assert setup_words({"p_neg": 0.05, "train_size": 0}) == "p_neg .05, all training cases"
    (tmp_path / "tables").mkdir()
    rows = [
        {"kind": "lean", "outcome": "LEANS", "adaptation": name, "train_size": size, "text": "it leans"}
        for name, size in (("full", 0), ("linear", 0), ("linear", 64))
    ]
    table = pd.DataFrame(rows).assign(target="chests")
    table.to_csv(tmp_path / "tables" / "verdicts.csv", index=False)
    assert verdict_lines(tmp_path)[1:] == [
        "LEANS (adaptation linear, all training cases): it leans",
        "LEANS (adaptation linear, 64 training cases): it leans",
    ]
    table.iloc[:1].to_csv(tmp_path / "tables" / "verdicts.csv", index=False)
    assert verdict_lines(tmp_path) == ["LEANS: it leans"]


def test_adaptations_and_training_sizes_come_in_the_order_of_their_reach(study_analysis: Analysis) -> None:
    rows = study_analysis.environments
    settings = [(name, size) for name in ("full", "linear", "freeze_3") for size in (0, 64)]
    varied = pd.concat([rows.assign(adaptation=name, train_size=size) for name, size in settings])
    ordered = setups(replace(study_analysis, environments=varied))
    assert [(one.values["adaptation"], one.values["train_size"]) for one in ordered] == [
        (name, size) for name in ("linear", "freeze_3", "full") for size in ("64", "0")
    ]
