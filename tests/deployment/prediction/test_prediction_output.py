"""What `srcmatters predict` leaves behind: all of an answer, or one line and nothing."""

from __future__ import annotations

import csv
import errno
import gc
import os
import pkgutil
import resource
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from click.testing import CliRunner, Result
from prediction_cases import rules, write_bundle, write_radiographs
from sealed_bundles import seal
from test_inputs import closed, packed

from srcmatters.deployment.predict_command import predict
from srcmatters.deployment.prediction.inputs import Item
from srcmatters.deployment.prediction.prediction_files import as_csv, row
from srcmatters.deployment.prediction.predictor import Prediction
from srcmatters.errors import InputError

READING = "srcmatters.deployment.prediction.input_files.unpack"
WRITING = "srcmatters.deployment.prediction.prediction_files.as_csv"
ENDINGS = (signal.SIGTERM, signal.SIGHUP)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """bundle.zip and bundle, and films.zip (a radiograph); read only."""
    folder = tmp_path_factory.mktemp("inputs")
    shutil.make_archive(str(folder / "bundle"), "zip", write_bundle(folder / "bundle"))
    packed(folder / "films.zip", *write_radiographs(folder / "films", 1))
    return folder


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder for temporary files."""
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    return tmp_path / "temporary"


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """A folder to write to."""
    (tmp_path / "work").mkdir()
    return tmp_path / "work"


def run(inputs: Path, out: Path, *options: object) -> Result:
    """The radiograph, with the bundle; both have to be unpacked."""
    arguments = [inputs / "bundle.zip", inputs / "films.zip", "--out", out, *options]
    return CliRunner().invoke(predict, [str(argument) for argument in arguments])


def error(result: Result) -> str:
    """The one line of a mistake."""
    assert isinstance(result.exception, InputError), result.exception
    assert result.exit_code == 1 and not result.stdout and "\n" not in str(result.exception)
    return str(result.exception)


def meanwhile(monkeypatch: pytest.MonkeyPatch, name: str, happens: Callable[[], object]) -> None:
    """Something happens after a function of the program has done its work."""
    original = pkgutil.resolve_name(name)

    def wrapped(*arguments: Any, **options: Any) -> Any:
        result = original(*arguments, **options)
        happens()
        return result

    monkeypatch.setattr(name, wrapped)


# Signals


@pytest.fixture
def survived() -> Iterator[Callable[..., None]]:
    """A signal that the program does not catch fails the test instead of ending it."""

    def uncaught(number: int, _: object) -> None:
        raise AssertionError(f"nobody caught {signal.Signals(number).name}")

    before = [signal.signal(number, uncaught) for number in ENDINGS]
    yield uncaught
    for number, handler in zip(ENDINGS, before, strict=True):
        signal.signal(number, handler)


@pytest.mark.parametrize("number", ENDINGS)
@pytest.mark.parametrize("moment", ["srcmatters.exported_bundle.bundle.unpack", READING, WRITING])
def test_signal_at_any_moment_leaves_no_files(
    inputs: Path,
    work: Path,
    temporary: Path,
    survived: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    moment: str,
    number: int,
) -> None:
    left: list[int] = []

    def ask_to_end() -> None:
        # What was unpacked is gone by the time of the writing.
        left.append(len(list(work.iterdir())) * (moment == WRITING or any(temporary.iterdir())))
        os.kill(os.getpid(), number)

    meanwhile(monkeypatch, moment, ask_to_end)
    assert run(inputs, work / "out").exit_code == 128 + number
    gc.collect()  # the trace of an error keeps what it has met
    assert left[0] > 0 and not list(work.iterdir()) and not list(temporary.iterdir())
    assert all(signal.getsignal(one) is survived for one in ENDINGS)


def test_second_signal_does_not_stop_the_deleting(
    inputs: Path,
    work: Path,
    temporary: Path,
    survived: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    remove = shutil.rmtree

    def interrupted(*arguments: Any, **options: Any) -> None:
        os.kill(os.getpid(), signal.SIGHUP)
        remove(*arguments, **options)

    def asked_to_end() -> None:
        monkeypatch.setattr("shutil.rmtree", interrupted)
        os.kill(os.getpid(), signal.SIGTERM)

    meanwhile(monkeypatch, READING, asked_to_end)
    assert run(inputs, work / "out").exit_code == 128 + signal.SIGTERM
    assert not list(work.iterdir()) and not list(temporary.glob("srcmatters-predict-*"))


def test_hangup_that_nohup_ignores_is_ignored(
    inputs: Path, work: Path, survived: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    meanwhile(monkeypatch, WRITING, lambda: os.kill(os.getpid(), signal.SIGHUP))
    assert run(inputs, work / "out").exit_code == 0 and (work / "out" / "predictions.csv").is_file()
    assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN


# --out


def test_out_that_is_a_link_to_nowhere_exists(inputs: Path, work: Path) -> None:
    (work / "out").symlink_to("nowhere")
    assert error(run(inputs, work / "out")) == f"--out {work / 'out'}: exists already, expected a new folder"
    assert [path.name for path in work.iterdir()] == ["out"]


@pytest.mark.parametrize("appears", [Path.mkdir, Path.touch, lambda path: path.symlink_to("nowhere")])
def test_out_that_appears_meanwhile_stays_as_it_is(
    inputs: Path, work: Path, monkeypatch: pytest.MonkeyPatch, appears: Callable[[Path], None]
) -> None:
    number: list[int] = []

    def take_the_name() -> None:
        appears(work / "out")
        number.append((work / "out").lstat().st_ino)

    meanwhile(monkeypatch, WRITING, take_the_name)
    assert error(run(inputs, work / "out")) == f"--out {work / 'out'}: exists by now, expected a new folder"
    assert [(path.name, path.lstat().st_ino) for path in work.iterdir()] == [("out", number[0])]


@contextmanager
def files_of_at_most(count: int) -> Iterator[None]:
    """Writing more bytes fails, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (count, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("options", [[], ["--sr"]])
def test_write_error_is_one_line_and_leaves_nothing(inputs: Path, work: Path, options: list[str]) -> None:
    with files_of_at_most(64):
        result = CliRunner().invoke(
            predict,
            [str(inputs / "bundle"), str(inputs / "films"), "--out", str(work / "out"), *options],
        )
    assert error(result) == f"--out {work / 'out'}: cannot be written (File too large)"
    assert not list(work.iterdir())


def test_failed_renaming_is_one_line_and_leaves_nothing(
    inputs: Path, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(5, "Input/output error")

    meanwhile(monkeypatch, WRITING, lambda: monkeypatch.setattr(Path, "rename", fail))
    assert error(run(inputs, work / "out")) == f"--out {work / 'out'}: cannot be written (Input/output error)"
    assert not list(work.iterdir())


# What is refused before anything is read


def test_saliency_of_a_network_without_feature_maps_is_refused_at_once(inputs: Path, work: Path) -> None:
    shutil.copytree(inputs / "bundle", work / "bundle")
    seal(work / "bundle", network="vit_b14")
    arguments = [work / "bundle", inputs / "films", "--sr", "--sc", "--out", work / "out"]
    line = error(CliRunner().invoke(predict, list(map(str, arguments))))
    assert line.startswith("network: vit_b14 has no feature maps for Grad-CAM, expected")
    assert [path.name for path in work.iterdir()] == ["bundle"]


@pytest.mark.parametrize(
    "options",
    [
        ["--max-studies", "100"],  # what holds without it
        ["--timeout", "5"],
        ["--tls-ca", "ca.pem"],
    ],
)
def test_options_of_an_archive_are_refused_where_there_is_none(
    inputs: Path, work: Path, options: list[str]
) -> None:
    assert error(run(inputs, work / "out", *options)) == f"{options[0]}: expected --from URL with it"
    assert not list(work.iterdir())


@pytest.mark.parametrize("error", [OSError(errno.EAGAIN, "Resource temporarily unavailable"), MemoryError()])
def test_a_machine_without_room_is_one_line_and_leaves_nothing(
    inputs: Path, work: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr(
        "srcmatters.deployment.prediction.sandboxed_decoder.Decoder._start", Mock(side_effect=error)
    )
    result = run(inputs, work / "out")
    assert isinstance(result.exception, InputError)
    assert str(result.exception).startswith("this machine cannot go on (")
    assert not (work / "out").exists()


def test_bundle_in_a_closed_folder_is_a_mistake_in_one_line(inputs: Path, work: Path) -> None:
    (work / "closed").mkdir()
    with closed(work / "closed", 0o000):
        bundle = work / "closed" / "bundle"
        line = error(CliRunner().invoke(predict, [str(bundle), str(inputs / "films")]))
    assert line.startswith(f"{bundle}: cannot be read (Permission denied), expected")


# What is in the table


@pytest.mark.parametrize("names", [[], ["notes.txt", "sub/list.csv"]])
def test_nothing_to_read_is_a_mistake_and_no_empty_table(inputs: Path, work: Path, names: list[str]) -> None:
    (work / "files" / "sub").mkdir(parents=True)
    for name in names:
        (work / "files" / name).write_text("text")
    arguments = [inputs / "bundle", work / "files", "--out", work / "out"]
    line = error(CliRunner().invoke(predict, list(map(str, arguments))))
    assert line.startswith(f"{work / 'files'}: no image in it")
    assert [path.name for path in work.iterdir()] == ["files"]


@pytest.mark.parametrize("audited", [True, False])
def test_every_row_names_its_bundle_and_says_what_every_output_must(audited: bool) -> None:
    declared = rules(audited=audited, name="mass, of 2026")
    item = Item("a.png", Path("a.png"), (Path("a.png"),))
    answers = [Prediction(item, "predicted", (), 0.6, True), Prediction(item, "refused", ("Modality is CT",))]
    table = list(csv.reader(StringIO(as_csv([row(answer, declared) for answer in answers]))))
    assert [line[-2:-1] for line in table] == [["bundle"], ["mass, of 2026"], ["mass, of 2026"]]
    assert table[0][-1] == "marks" and table[0][8] == "reasons", "the older columns are where they were"
    for line in table[1:]:
        assert "not a medical device" in line[-1] and ("UNAUDITED" in line[-1]) != audited


@pytest.mark.parametrize(
    ("probability", "threshold"),
    [(0.4567896, 0.45678961), (0.4567891234, 0.4567891234), (0.4567891, 0.45678905), (0.5, 0.5)],
)
def test_finding_can_be_told_from_the_probability_and_the_threshold(
    probability: float, threshold: float
) -> None:
    declared = rules(threshold={"value": threshold, "rule": "youden", "fixed_on": "test", "cases": 1})
    item = Item("a.png", Path("a.png"), (Path("a.png"),))
    answer = Prediction(item, "predicted", (), probability, probability >= threshold)
    (csv_row,) = csv.DictReader(StringIO(as_csv([row(answer, declared)])))
    assert (float(csv_row["probability"]) >= float(csv_row["threshold"])) == (csv_row["finding"] == "yes")
