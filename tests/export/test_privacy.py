"""What leaves the hospital names nobody: neither in bytes, nor in pixels, nor in what is printed of it."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import logging
import os
import re
import shutil
import sqlite3
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pydicom
import pytest
from click.testing import CliRunner
from exported_runs import train
from PIL import Image, ImageDraw, ImageFont
from skimage.feature import match_template

from srcmatters.cli import command
from srcmatters.cohorts.phantom_cohort import write_phantom_cohort
from srcmatters.export import model_files
from srcmatters.reports.run_figures import example_states
from srcmatters.runs.trained_run import open_run

NAME, PATIENT, BORN, ACCESSION = "Zweistein^Quendolin", "QX-7744", "19610203", "ACC990017"
DOCTOR, HOSPITAL, PRIVATE = "Oberlechner^Xaveria", "Krankenhaus Unterhinterwald", "Spitzname Quendi"
SIZE = 128  # as large as the network's input: what is written is as legible to others as it is in the file
WRITTEN = (6, 6, 118, 40)  # left, upper, right, lower edge of what is burnt into every second image
SEEN = 0.8  # correlation at which a picture shows the writing
_SAY = ("YES", None)  # what the headers of the first films without writing say of it; the others: NO
_IN_FIGURES = np.geomspace(1.6, 2.6, 24)  # how many times as large an image is in a figure of six


@dataclass(frozen=True)
class Left:
    """All that left, and what must not be in it.

    Args:
        base: a folder of everything.
        planted: words, in lower case.
        writings: (34, 112) pixels of the text in each image that has some, by the stem of its file.
        printed: what was printed and logged, of every step.
    """

    base: Path
    planted: frozenset[bytes]
    writings: dict[str, np.ndarray]
    printed: str

    def files(self, *places: str) -> Iterator[tuple[str, bytes]]:
        """Name and content of all files below, with members of zips."""
        for place in places:
            location = self.base / place
            for path in sorted(location.rglob("*")) if location.is_dir() else [location]:
                if path.is_file():
                    yield from _contents(str(path.relative_to(self.base)), path.read_bytes())

    def check(self, name: str, content: bytes) -> None:
        """No planted word is in the content, nor a row of the writing as raw pixels."""
        lowered = content.lower()
        for word in self.planted:
            assert word not in lowered, f"{word!r} in {name}"
        for writing in self.writings.values():
            row = writing[writing.shape[0] // 4]
            assert row.tobytes() not in content, f"pixels in {name}"
            assert (row / np.float32(255)).tobytes() not in content, f"pixels in {name}"

    def shown_in(self, picture: Image.Image, scales: Sequence[float] = (4,)) -> float:
        """How well the first line of the writing, the same on all, is found in a picture: 1 is exactly.

        Args:
            picture: in which images are drawn.
            scales: how many times as large; 4 in pictures with saliency.
        """
        grey, best = picture.convert("L"), -1.0
        line = next(iter(self.writings.values()))[:18]
        for scale in scales:
            size = (round(grey.width / scale), round(grey.height / scale))
            shrunk = np.asarray(grey.resize(size, Image.Resampling.BOX), np.float64)
            best = max(best, float(match_template(shrunk, line).max()))
        return best


def _contents(name: str, content: bytes) -> Iterator[tuple[str, bytes]]:
    yield name, content
    if zipfile.is_zipfile(io.BytesIO(content)):
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            for member in archive.namelist():
                yield from _contents(f"{name}/{member}", archive.read(member))


def _pictures(files: Iterator[tuple[str, bytes]]) -> dict[str, Image.Image]:
    """Everything that Pillow opens, and what pages hold in base64."""
    pictures = {}
    for name, content in files:
        inside = re.findall(rb"data:image/\w+;base64,([A-Za-z0-9+/=]+)", content)
        several = {f"{name}#{at}": base64.b64decode(part) for at, part in enumerate(inside)} | {name: content}
        for part, encoded in several.items():
            with contextlib.suppress(OSError):
                pictures[part] = Image.open(io.BytesIO(encoded))
    return pictures


@contextlib.contextmanager
def _recorded(texts: list[str]) -> Iterator[None]:
    """Add standard output and error, of Python and below it, and the log of every library."""
    text, log = io.StringIO(), logging.StreamHandler(io.StringIO())
    root, level = logging.getLogger(), logging.getLogger().level
    with tempfile.TemporaryFile() as below, contextlib.redirect_stdout(text):
        kept = [os.dup(number) for number in (1, 2)]
        for number in (1, 2):
            os.dup2(below.fileno(), number)
        root.addHandler(log)
        root.setLevel(logging.INFO)
        try:
            with contextlib.redirect_stderr(text):
                yield
        finally:
            root.removeHandler(log)
            root.setLevel(level)
            for number, was in zip((1, 2), kept, strict=True):
                os.dup2(was, number)
                os.close(was)
            below.seek(0)
            texts += [text.getvalue(), log.stream.getvalue(), below.read().decode(errors="replace")]


def _run(*words: object) -> str:
    done = CliRunner().invoke(command, [str(word) for word in words])
    assert done.exit_code == 0, f"{done.output}\n{done.exception!r}"
    return done.output


def _write_cohort(folder: Path) -> tuple[set[str], dict[str, np.ndarray]]:
    """Films with identifiers in headers, names and, every second one, pixels; what was planted."""
    write_phantom_cohort(folder / "made", patients=24, file_format="dicom", image_size=SIZE, difficulty=0.0)
    cases = pd.read_csv(folder / "made" / "cases.csv")
    words, writings, labels = set(), {}, []
    for number, case in enumerate(cases.itertuples()):
        film = pydicom.dcmread(folder / "made" / str(case.image))
        film.PatientName, film.PatientID = f"{NAME}{number:02}", f"{PATIENT}{number:02}"
        film.PatientBirthDate, film.AccessionNumber, film.StudyID = BORN, f"{ACCESSION}{number}", "STUDY-4711"
        film.ReferringPhysicianName, film.InstitutionName = DOCTOR, HOSPITAL
        film.private_block(0x0099, "UNTERHINTERWALD", create=True).add_new(1, "LO", PRIVATE)
        stem = f"zweistein-quendolin-{number:02}"
        if number // 2 % 2:  # of both labels, which take turns
            pixels = Image.fromarray(film.pixel_array)
            drawing, font = ImageDraw.Draw(pixels), ImageFont.load_default(size=13)
            drawing.rectangle(WRITTEN, fill=0)
            drawing.text((8, 6), "ZWEISTEIN QU", fill=255, font=font)
            drawing.text((8, 24), film.PatientID, fill=255, font=font)
            film.PixelData = np.asarray(pixels).tobytes()
            left, upper, right, lower = WRITTEN
            writings[stem] = np.asarray(pixels)[upper:lower, left:right]
            film.BurnedInAnnotation = "NO"  # as many say by mistake
        elif number < len(_SAY):
            film.BurnedInAnnotation = _SAY[number]
        film.save_as(folder / f"{stem}.dcm")
        labels.append((film.PatientID, case.label))
        words |= {stem, film.StudyInstanceUID, film.SeriesInstanceUID, film.SOPInstanceUID}
    pd.DataFrame(labels, columns=["patient_id", "label"]).to_csv(folder / "labels.csv", index=False)
    shutil.rmtree(folder / "made")
    names = {*NAME.split("^"), *DOCTOR.split("^")}
    return words | names | {PATIENT, BORN, ACCESSION, HOSPITAL, PRIVATE, "STUDY-4711", folder.name}, writings


@pytest.fixture(scope="module")
def left(tmp_path_factory: pytest.TempPathFactory) -> Left:
    """From films to answers: two runs, one of them without example images; bundles, registry, predictions."""
    base = tmp_path_factory.mktemp("privacy")
    films = base / "archive" / "Zweistein_Quendolin-1961"
    films.mkdir(parents=True)
    words, writings = _write_cohort(films)
    _run("cohorts", "dicom", films, "--labels", films / "labels.csv")
    store, texts = f"sqlite:///{base}/store/mlflow.db", []
    common = {"confounder": "tag", "target": "phantom", "image_size": SIZE, "tracking_uri": store}
    common |= {"system_metrics": False, "cases": str(films / "cases.csv")}
    with pytest.MonkeyPatch.context() as patch, _recorded(texts):
        # MONAI echoes the command as it was typed, once an earlier test has raised its level.
        patch.setattr("monai.bundle.scripts._log_input_summary", lambda *_, **__: None)
        run = train("xray_classification", films, base / "runs" / "shown", **common)
        quiet = {"log_images": False, "experiment_name": "quiet"}
        train("xray_classification", films, base / "runs" / "quiet", **common, **quiet)
        arguments = (run, "--finding", "Mass", "--tracking_uri", store)
        print(_run("export", *arguments, "--to", base / "bundle.zip"))
        patch.setattr(model_files, "_WRITERS", {"model.pt": model_files._WRITERS["model.pt"]})
        print(_run("export", *arguments, "--to", base / "failures", "--failure-images", "--no-register"))
        print(
            _run("predict", base / "bundle.zip", films, "--out", base / "answers", "--sr", "--sc", "--json")
        )
    planted = frozenset(str(word).lower().encode() for word in words)
    return Left(base, planted, writings, "\n".join(texts))


def test_no_byte_of_bundles_names_a_patient(left: Left) -> None:
    names = [name for name, content in left.files("bundle.zip", "failures") if not left.check(name, content)]
    assert any(name.endswith("model.onnx") for name in names) and any(
        "failures/docs" in name for name in names
    )


def test_no_artifact_and_no_text_of_the_database_names_a_patient(left: Left) -> None:
    names = [name for name, content in left.files("store") if not left.check(name, content)]
    assert {"predictions.csv", "model_card.html", "examples.png"} <= {Path(name).name for name in names}
    with contextlib.closing(sqlite3.connect(left.base / "store" / "mlflow.db")) as database:
        texts = 0
        for (table,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            for row in database.execute(f'SELECT * FROM "{table}"'):
                for value in row:
                    if isinstance(value, str | bytes):
                        left.check(f"table {table}", value.encode() if isinstance(value, str) else value)
                        texts += 1
    assert texts > 100


def test_nothing_that_is_printed_or_logged_names_a_patient(left: Left) -> None:
    assert "registered in MLflow" in left.printed and "o.o.d. AUC" in left.printed
    left.check("what was printed", left.printed.encode())


def test_predictions_name_files_but_no_patient_unless_asked_for(left: Left) -> None:
    table = pd.read_csv(left.base / "answers" / "predictions.csv")
    assert len(table) == 24 and set(table["status"]) <= {"predicted", "flagged"}
    stems = {word for word in left.planted if word.startswith(b"zweistein-quendolin-")}
    assert {Path(name).stem.encode() for name in table["file"]} == stems, "as they are called here"
    left.check("predictions.csv", table.drop(columns="file").to_csv().encode())
    record = json.loads((left.base / "answers" / "predictions.json").read_text())
    for row in record["predictions"]:
        del row["file"]
    left.check("predictions.json", json.dumps(record).encode())
    for path in (left.base / "answers").rglob("*"):
        left.check("name of a file", path.name.encode())


def test_what_is_burnt_in_is_in_no_picture_that_leaves(left: Left) -> None:
    assert not _pictures(left.files("bundle.zip")), "an image only where somebody asked for it"
    store = _pictures(left.files("store"))
    kept = sorted(Path(name).name for name in store)
    assert kept == ["examples.png", "training_curves.png", "training_curves.png"], "none of the quiet run"
    (examples,) = (picture for name, picture in store.items() if name.endswith("examples.png"))
    assert left.shown_in(examples, _IN_FIGURES) < SEEN
    failures = _pictures(left.files("failures"))
    card = json.loads((left.base / "failures" / "docs" / "model_card.json").read_text())
    shown = [row["image"] for row in card["failures"] if row["image"]]
    hidden = len(card["failures"]) - len(shown)
    assert shown and hidden, "both kinds are among the errors"
    assert len(failures) == 2 * len(shown), "as files and in the page"
    assert all(left.shown_in(picture) < SEEN for picture in failures.values())
    page = (left.base / "failures" / "docs" / "model_card.html").read_text()
    assert f"{hidden} of {len(card['failures'])} images are not shown: text may be in their pixels" in page
    assert "are not shown as examples, since text may be in their pixels" in left.printed


def test_a_picture_that_showed_it_would_be_noticed(left: Left) -> None:
    images = open_run(str(left.base / "runs" / "shown"), "").images().cache
    written = [row for row, path in enumerate(images.cases["image"]) if Path(path).stem in left.writings][:6]
    states = [images.state(state)[written] for state in ("clean", "confounded")]
    drawn = io.BytesIO()
    example_states(*states, [1, 0] * 3, "tag").savefig(drawn, dpi=150)
    assert left.shown_in(Image.open(drawn), _IN_FIGURES) > SEEN


def test_secondary_captures_say_what_is_burnt_into_them(left: Left) -> None:
    """They go back to the archive that the images came from, and may show them."""
    burnt_in = {}
    for path in (left.base / "answers").rglob("*.dcm"):
        capture = pydicom.dcmread(path)
        if capture.Modality != "SR":
            number = int(str(capture.PatientID)[-2:])
            burnt_in[number] = capture.get("BurnedInAnnotation")
            if number // 2 % 2:
                assert left.shown_in(Image.fromarray(capture.pixel_array)) > SEEN
    others = {number: "NO" for number in range(24)} | dict(enumerate(_SAY))
    assert burnt_in == others | {number: "YES" for number in range(24) if number // 2 % 2}
