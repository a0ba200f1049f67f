"""`predict --from`: what is asked for, what is left where, and what a real archive gives."""

from __future__ import annotations

import os
import signal
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from orthanc_node import Orthanc
from prediction_cases import changed, write_bundle, write_series
from pydicom import dcmread
from pydicom.uid import JPEGLSLossless, generate_uid
from retrieval_cases import (
    NAME,
    PATIENT,
    Answering,
    Plan,
    Stock,
    WebArchive,
    answers,
    element,
    error,
    rows,
    run,
)

from srcmatters.deployment.predict_command import predict
from srcmatters.deployment.redaction import hashed


@pytest.fixture(scope="module")
def stock(tmp_path_factory: pytest.TempPathFactory) -> Stock:
    """A bundle and three studies of a radiograph each; read only."""
    return Stock(tmp_path_factory.mktemp("stock"), studies=3)


@pytest.fixture
def start(stock: Stock) -> Iterator[Callable[..., WebArchive]]:
    """Start an archive: ``start(level=plan, ...)``."""
    running: list[WebArchive] = []

    def start_archive(**plans: Plan) -> WebArchive:
        running.append(WebArchive(stock, **plans))
        return running[-1]

    yield start_archive
    for archive in running:
        archive.close()


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary folders are made."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def _in_orthanc(orthanc: Orthanc, files: list[Path]) -> None:
    for file in files:
        orthanc.rest("POST", "instances", data=file.read_bytes())


def test_an_archive_gives_what_its_files_give(queried_orthanc: Orthanc, stock: Stock, tmp_path: Path) -> None:
    ct = write_bundle(tmp_path / "ct", modality="ct", unit="HU", window="lung", patch_mm=40, spatial_dims=3)
    slices = write_series(tmp_path / "series")
    study = generate_uid()
    scan = [changed(file, tmp_path / file.name, StudyInstanceUID=study) for file in slices]
    packed = dcmread(stock.films[2])
    packed.compress(JPEGLSLossless)
    packed.save_as(tmp_path / "packed.dcm")
    _in_orthanc(queried_orthanc, [*stock.films[:2], tmp_path / "packed.dcm", *scan])
    columns = ("study", "series", "files", "probability", "finding", "status", "reasons")

    def table(bundle: Path, *arguments: object) -> list[list[str]]:
        predictions = rows(CliRunner().invoke(predict, [str(bundle), *map(str, arguments)]))
        return sorted([row[column] for column in columns] for row in predictions)

    (tmp_path / "scan").mkdir()
    for file in scan:
        file.rename(tmp_path / "scan" / file.name)
    films, volume = table(stock.bundle, *stock.films), table(ct, tmp_path / "scan")
    assert len(films) == 3 and len(volume) == 1 and all(row[3] for row in films + volume)
    server = ["--from", f"http://127.0.0.1:{queried_orthanc.http}/dicom-web"]
    assert table(stock.bundle, *server, "--query", f"PatientID={PATIENT[:-2]}*") == films
    assert table(ct, *server, "--study", study) == volume


def test_a_row_names_study_series_and_instance_by_hashes(
    start: Callable[..., WebArchive], stock: Stock
) -> None:
    result = run(stock, start())
    statuses = {row["file"]: row["status"] for row in rows(result)}
    expected = {
        "/".join(hashed(str(one[f"{level}InstanceUID"].value)) for level in ("Study", "Series", "SOP"))
        for one in stock.datasets
    }
    assert statuses == {f"{name}.dcm": "predicted" for name in expected}


def test_nothing_that_is_written_identifies_a_patient_unless_it_is_asked_for(
    start: Callable[..., WebArchive], stock: Stock, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def lost(request: Answering) -> None:
        if request.parts[1] == stock.studies[0]:
            request.send(b"", "text/html", 500)
        else:
            archive.instances(request)

    archive = start(instances=lost)
    secrets = [*NAME.split("^"), PATIENT]
    secrets += [str(one[f"{level}InstanceUID"].value) for one in stock.datasets for level in ("Study", "SOP")]
    query = ("--query", f"PatientName={NAME}", "--query", f"PatientID={PATIENT}", "--json", "--sr", "--sc")
    result = run(stock, archive, *query, "--out", tmp_path / "out")
    tables = [path.read_text() for path in (tmp_path / "out").glob("predictions.*")]
    assert len(tables) == 2 and "status 500" in tables[0]
    missed = run(stock, start(studies=lambda request: request.send_json([])), *query, "--out", tmp_path / "b")
    written = [*tables, result.output, caplog.text, missed.output, str(missed.exception)]
    assert not [secret for secret in secrets if secret in " ".join(written)]
    named = run(stock, archive, "--identifiers")
    assert set(answers(named)) == set(stock.studies)
    assert {row["file"].split("/")[0] for row in rows(named)} == set(stock.studies)


def test_reports_refer_to_what_was_fetched(
    start: Callable[..., WebArchive], stock: Stock, tmp_path: Path
) -> None:
    run(stock, start(), "--sr", "--out", tmp_path / "out")
    reports = [dcmread(file) for file in sorted((tmp_path / "out" / "reports").iterdir())]
    assert {report.StudyInstanceUID for report in reports} == set(stock.studies)


def test_only_series_that_the_bundle_reads_are_fetched(
    start: Callable[..., WebArchive], stock: Stock
) -> None:
    whole, without, _ = stock.studies

    def series(request: Answering) -> None:
        study = request.parts[1]
        report = element("0020000E", "UI", "1.2.3") | element("00080060", "CS", "SR")
        described = [] if study == without else archive.describe(study)
        request.send_json([*described, report])

    archive = start(series=series)
    result = run(stock, archive)
    predictions = answers(result)
    assert "CR or DX or RG" in predictions[hashed(without)][2] and "SR" in predictions[hashed(without)][2]
    assert predictions[hashed(whole)][1] == "predicted"
    assert archive.request_counts()["instances"] == 2 and not [
        one for one in archive.requests if "1.2.3" in one[1]
    ]
    assert "series not fetched: 3 SR" in result.stderr


def test_more_studies_than_wished_are_not_touched(start: Callable[..., WebArchive], stock: Stock) -> None:
    archive = start()
    line = error(run(stock, archive, "--max-studies", 2))
    assert "more than 2 studies match" in line and set(archive.request_counts()) == {"studies"}
    assert len(rows(run(stock, archive, "--max-studies", 3))) == 3


@pytest.mark.parametrize("portion", [1, 2])
def test_answers_in_portions_are_put_together(
    start: Callable[..., WebArchive], stock: Stock, portion: int
) -> None:
    def studies(request: Answering) -> None:
        request.query["limit"] = portion
        archive.studies(request)

    archive = start(studies=studies)
    assert len(rows(run(stock, archive))) == 3


def test_a_server_that_ignores_the_offset_is_asked_no_third_time(
    start: Callable[..., WebArchive], stock: Stock
) -> None:
    def studies(request: Answering) -> None:
        request.query.clear()
        archive.studies(request)

    archive = start(studies=studies)
    assert len(rows(run(stock, archive))) == 3 and archive.request_counts()["studies"] == 2


def test_a_study_that_is_not_there_is_a_row_and_the_others_are_read(
    start: Callable[..., WebArchive], stock: Stock
) -> None:
    predictions = answers(run(stock, start(), "--study", "1.2.3", "--study", stock.studies[1]))
    assert list(predictions) == [hashed("1.2.3"), hashed(stock.studies[1])]
    assert (
        "no such study" in predictions[hashed("1.2.3")][2]
        and predictions[hashed(stock.studies[1])][1] == "predicted"
    )


@pytest.mark.parametrize("end", [KeyboardInterrupt, SystemExit])
def test_what_was_fetched_is_private_and_gone_however_it_ends(
    start: Callable[..., WebArchive],
    stock: Stock,
    temporary: Path,
    monkeypatch: pytest.MonkeyPatch,
    end: type[BaseException],
) -> None:
    seen: list[int] = []

    def interrupted(*_: object) -> None:
        (folder,) = temporary.glob("srcmatters-study-*")
        assert list(folder.rglob("*.dcm"))
        seen.append(stat.S_IMODE(folder.stat().st_mode))
        if end is SystemExit:
            os.kill(os.getpid(), signal.SIGTERM)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("srcmatters.deployment.prediction.predictor.judge_image", interrupted)
        result = run(stock, start())
    assert result.exit_code == (128 + signal.SIGTERM if end is SystemExit else 1) and not result.stdout
    assert seen == [0o700] and not list(temporary.iterdir())
    assert len(rows(run(stock, start()))) == 3 and not list(temporary.iterdir())


def test_the_disk_holds_one_study_at_a_time(
    start: Callable[..., WebArchive], stock: Stock, temporary: Path
) -> None:
    held: list[int] = []

    def instances(request: Answering) -> None:
        held.append(len(list(temporary.rglob("*.dcm"))))
        archive.instances(request)

    archive = start(instances=instances)
    run(stock, archive)
    assert held == [0, 0, 0]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "got neither"),
        (["--from", "http://127.0.0.1:1/dicom-web"], "--study UID or --query KEYWORD=VALUE"),
        (["film.dcm", "--from", "http://127.0.0.1:1"], "got both"),
        (["film.dcm", "--study", "1.2.3"], "expected --from URL"),
        (["--from", "http://127.0.0.1:1", "--study", "../1.2"], "'../1.2' is no UID"),
        (["--from", "http://127.0.0.1:1", "--query", "PatientId=7"], "did you mean 'PatientID'"),
        (["--from", "http://127.0.0.1:1", "--query", "PatientID="], "expected KEYWORD=VALUE"),
        (["--from", "http://127.0.0.1:1", "--query", "StudyID=1", "--query", "StudyID=2"], "given twice"),
        (["--from", "ftp://127.0.0.1/x", "--study", "1.2"], "expected https://HOST/PATH"),
        (
            ["--from", "dicom://ARCHIVE@127.0.0.1:4242", "--study", "1.2"],
            "sends studies to `srcmatters serve`",
        ),
        (["--from", "https://me:secret@host/x", "--study", "1.2"], "expected them in ~/.netrc"),
        (["--from", "ftp://me:secret@host/x", "--study", "1.2"], "'ftp://host/x'"),
        (["--from", "https://h", "--study", "1.2", "--tls-certificate", "x"], "expected both of them"),
        (["--from", "https://host", "--study", "1.2", "--tls-ca", "missing.pem"], "missing.pem"),
    ],
)
def test_mistakes_on_the_command_line_are_one_line(stock: Stock, arguments: list[str], expected: str) -> None:
    line = error(CliRunner().invoke(predict, [str(stock.bundle), *arguments]))
    assert expected in line and "secret" not in line
