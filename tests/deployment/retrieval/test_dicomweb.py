"""DICOMweb archives that do not answer as they should: one line, or one refused study among good ones."""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from prediction_cases import changed
from pydicom import dcmread
from pydicom.uid import DeflatedExplicitVRLittleEndian
from retrieval_cases import (
    BOUNDARY,
    Answering,
    Plan,
    Stock,
    WebArchive,
    answers,
    element,
    error,
    multipart,
    run,
)

from srcmatters.deployment.dicom_association import Tls, receiving_context
from srcmatters.deployment.predict_command import predict
from srcmatters.deployment.redaction import hashed
from srcmatters.deployment.retrieval import study_files

TOKEN = "SRCMATTERS_DICOMWEB_TOKEN"


@pytest.fixture(scope="module")
def stock(tmp_path_factory: pytest.TempPathFactory) -> Stock:
    """A bundle and two studies of a radiograph each; read only."""
    return Stock(tmp_path_factory.mktemp("stock"))


@pytest.fixture
def start(
    stock: Stock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., WebArchive]]:
    """Start an archive; no login of the person who tests is known."""
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.delenv(TOKEN, raising=False)
    running: list[WebArchive] = []

    def start_archive(tls: ssl.SSLContext | None = None, **plans: Plan) -> WebArchive:
        running.append(WebArchive(stock, tls, **plans))
        return running[-1]

    yield start_archive
    for archive in running:
        archive.close()


def _one_bad(
    start: Callable[..., WebArchive], stock: Stock, level: str, plan: Plan, *arguments: object
) -> tuple[str, WebArchive]:
    """Why the first study is refused when requests for it are answered by a plan; the other one is read."""
    bad, good = stock.studies

    def planned(request: Answering) -> None:
        if request.parts[1] == bad:
            plan(request)
        else:
            getattr(archive, level)(request)

    archive = start(**{level: planned})
    predictions = answers(run(stock, archive, *arguments))
    probability, status, reason = predictions[hashed(bad)]
    assert status == "refused" and not probability and predictions[hashed(good)][1] == "predicted"
    assert "\n" not in reason and bad not in reason
    return reason, archive


@pytest.mark.parametrize(
    ("status", "expected"), [(401, "~/.netrc"), (403, "403"), (404, "DICOMweb service"), (500, "status 500")]
)
def test_a_service_that_refuses_is_one_line(
    start: Callable[..., WebArchive], stock: Stock, status: int, expected: str
) -> None:
    archive = start(studies=lambda request: request.send(b"PatientID is secret", "text/plain", status))
    line = error(run(stock, archive))
    assert expected in line and archive.url in line and "secret" not in line and "PatientID" not in line


def test_a_busy_service_is_asked_again(start: Callable[..., WebArchive], stock: Stock) -> None:
    def busy(request: Answering) -> None:
        if archive.request_counts()["studies"] == 1:
            request.send(b"", "text/plain", 503, Retry_After="3600")
        else:
            archive.studies(request)

    archive = start(studies=busy)
    assert len(answers(run(stock, archive))) == 2


@pytest.mark.parametrize("level", ["studies", "instances"])
def test_a_page_to_log_in_is_no_answer(start: Callable[..., WebArchive], stock: Stock, level: str) -> None:
    page = b"<html>Please log in</html>"

    def plan(request: Answering) -> None:
        request.send(page, "text/html; charset=utf-8")

    if level == "studies":
        line = error(run(stock, start(studies=plan)))
    else:
        line, _ = _one_bad(start, stock, level, plan)
    assert "'text/html'" in line and "log in" in line


def test_a_redirection_is_not_followed(start: Callable[..., WebArchive], stock: Stock) -> None:
    elsewhere = start()

    def plan(request: Answering) -> None:
        request.send(b"", "text/html", 302, Location=f"{elsewhere.url}/studies?PatientID=7")

    line = error(run(stock, start(studies=plan)))
    assert "redirects to http://127.0.0.1" in line and "PatientID" not in line and not elsewhere.requests


@pytest.mark.parametrize("content", [b"{", b"[3]", b'[{"0020000D": {"Value": ["../../etc"]}}]', b"[" * 10**5])
def test_an_answer_that_is_no_description_is_one_line(
    start: Callable[..., WebArchive], stock: Stock, content: bytes
) -> None:
    line = error(run(stock, start(studies=lambda request: request.send(content, "application/dicom+json"))))
    assert "its answer" in line and "etc" not in line


def test_a_server_that_is_not_there_is_one_line(stock: Stock, start: Callable[..., WebArchive]) -> None:
    archive = start()
    archive.close()
    assert "cannot be reached (Connection refused)" in error(run(stock, archive))


@pytest.mark.parametrize("announced", ["with a length", "in chunks", "until it hangs up"])
def test_a_connection_that_is_cut_refuses_the_study(
    start: Callable[..., WebArchive], stock: Stock, announced: str
) -> None:
    whole = multipart([stock.content(stock.datasets[0])])

    def cut(request: Answering) -> None:
        if announced == "with a length":
            request.begin_parts(Content_Length=str(len(whole)))
        elif announced == "in chunks":
            request.protocol_version = "HTTP/1.1"
            request.begin_parts(Transfer_Encoding="chunked")
            request.wfile.write(f"{len(whole):x}\r\n".encode())
        else:
            request.begin_parts()
        request.wfile.write(whole[:-1000])

    assert "broke off" in _one_bad(start, stock, "instances", cut)[0]


def test_fewer_instances_than_announced_refuse_the_study(
    start: Callable[..., WebArchive], stock: Stock
) -> None:
    def series(request: Answering) -> None:
        request.send_json(WebArchive.describe(_archive(request), request.parts[1], extra=1))

    assert _one_bad(start, stock, "series", series)[0] == "1 instances of a series arrived, expected 2"


def _archive(request: Answering) -> WebArchive:
    return request.archive


def test_instances_are_counted_where_a_series_does_not_say_how_many(
    start: Callable[..., WebArchive], stock: Stock
) -> None:
    def series(request: Answering) -> None:
        described = _archive(request).describe(request.parts[1])
        request.send_json([{key: one[key] for key in one if key != "00201209"} for one in described])

    def instances(request: Answering) -> None:
        if request.parts[-1] == "instances":
            request.send_json([element("00080018", "UI", f"1.2.{number}") for number in range(3)])
        else:
            archive.instances(request)

    archive = start(series=series, instances=instances)
    reasons = {reason for *_, reason in answers(run(stock, archive)).values()}
    assert reasons == {"1 instances of a series arrived, expected 3"}


def test_an_instance_of_another_study_refuses_the_study(
    start: Callable[..., WebArchive], stock: Stock
) -> None:
    def plan(request: Answering) -> None:
        request.parts[1] = stock.studies[1]
        _archive(request).instances(request)

    assert "instance of another study" in _one_bad(start, stock, "instances", plan)[0]


def test_an_instance_that_comes_twice_refuses_the_study(
    start: Callable[..., WebArchive], stock: Stock
) -> None:
    bad, content = stock.studies[0], stock.content(stock.datasets[0])

    def instances(request: Answering) -> None:
        request.begin_parts()
        request.wfile.write(multipart([content] * 2))

    def series(request: Answering) -> None:
        request.send_json(_archive(request).describe(bad, extra=1))

    archive = start(instances=instances, series=series)
    predictions = answers(run(stock, archive, "--study", bad))
    assert "twice" in predictions[hashed(bad)][2]


def _endless(request: Answering) -> None:
    request.begin_parts()
    request.wfile.write(multipart([], end=b"\r\n\r\n"))
    while True:
        request.wfile.write(bytes(2**16))


def test_an_endless_instance_is_cut_off(
    start: Callable[..., WebArchive], stock: Stock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(study_files, "INSTANCE_BYTES", 2**22)
    reason, archive = _one_bad(start, stock, "instances", _endless)
    assert "more than 4194304 bytes" in reason and archive.hung_up.wait(10)


def test_endless_instances_are_cut_off(
    start: Callable[..., WebArchive], stock: Stock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def endless(request: Answering) -> None:
        request.begin_parts()
        while True:
            request.wfile.write(multipart([bytes(2**12)] * 16, end=b""))

    monkeypatch.setattr(study_files, "MEMBERS", 100)
    assert "more than 100 instances" in _one_bad(start, stock, "instances", endless)[0]
    monkeypatch.setattr(study_files, "MEMBERS", 10**6)
    monkeypatch.setattr(study_files, "BYTES", 2**22)
    assert "more than 4194304 bytes" in _one_bad(start, stock, "instances", endless)[0]


def test_an_endless_answer_to_a_query_is_cut_off(
    start: Callable[..., WebArchive], stock: Stock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def endless(request: Answering) -> None:
        request.send_response(200)
        request.send_header("Content-Type", "application/dicom+json")
        request.end_headers()
        while True:
            request.wfile.write(b" " * 2**16)

    assert f"more than {study_files.QUERY_BYTES} bytes" in error(run(stock, start(studies=endless)))


@pytest.mark.parametrize("silent", [False, True])
def test_a_server_that_dawdles_is_not_waited_for(
    start: Callable[..., WebArchive], stock: Stock, silent: bool
) -> None:
    def slow(request: Answering) -> None:
        request.begin_parts()
        until = time.monotonic() + 20
        while time.monotonic() < until:
            time.sleep(0.1)
            request.wfile.write(b"" if silent else b"\r\n")

    started = time.monotonic()
    reason, _ = _one_bad(start, stock, "instances", slow, "--timeout", 1)
    assert time.monotonic() - started < 20 and ("time" in reason or "took longer than 1 s" in reason)


def test_a_disk_that_is_nearly_full_is_not_filled(
    start: Callable[..., WebArchive], stock: Stock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(study_files, "_SPARE", 2**62)
    assert {reason for *_, reason in answers(run(stock, start())).values()} == {
        "the disk of the temporary folder is full, expected room for the study"
    }


def test_a_deflated_instance_is_refused_as_it_is_from_a_file(
    start: Callable[..., WebArchive], stock: Stock, tmp_path: Path
) -> None:
    dataset = dcmread(stock.films[0])
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    dataset.save_as(tmp_path / "deflated.dcm", enforce_file_format=True)

    def plan(request: Answering) -> None:
        request.begin_parts()
        request.wfile.write(multipart([(tmp_path / "deflated.dcm").read_bytes()]))

    archive = start(instances=plan)
    result = run(stock, archive, "--study", stock.studies[0])
    (row,) = answers(result).values()
    assert row[1] == "refused" and "deflated" in row[2]


def test_a_single_file_without_an_envelope_is_read(start: Callable[..., WebArchive], stock: Stock) -> None:
    def plan(request: Answering) -> None:
        (held,) = stock.of_study(request.parts[1])
        request.send(stock.content(held), "application/dicom")

    assert {status for _, status, _ in answers(run(stock, start(instances=plan))).values()} == {"predicted"}


def test_instances_are_asked_for_as_they_are_stored(start: Callable[..., WebArchive], stock: Stock) -> None:
    accepted: list[str] = []

    def plan(request: Answering) -> None:
        accepted.append(request.headers["Accept"])
        archive.instances(request)

    archive = start(instances=plan)
    run(stock, archive)
    assert set(accepted) == {'multipart/related; type="application/dicom"; transfer-syntax=*'}


def test_a_server_is_called_by_name_and_port(start: Callable[..., WebArchive], stock: Stock) -> None:
    called: list[str] = []

    def plan(request: Answering) -> None:
        called.append(request.headers["Host"])
        archive.studies(request)

    archive = start(studies=plan)
    run(stock, archive)
    assert {f"http://{host}/dicom-web" for host in called} == {archive.url}


def test_credentials_come_from_netrc_or_the_environment(
    start: Callable[..., WebArchive], stock: Stock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = start()

    def sent() -> set[str]:
        archive.requests.clear()
        result = run(stock, archive, "--out", tmp_path / f"out-{len(list(tmp_path.iterdir()))}")
        assert result.exit_code == 0 and "secret" not in result.output
        return {login for *_, login in archive.requests}

    assert sent() == {""}
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password secret\n")
    (basic,) = sent()
    assert basic.startswith("Basic ")
    monkeypatch.setenv(TOKEN, "secret-token")
    assert sent() == {"Bearer secret-token"}


@pytest.mark.parametrize("login", ["netrc", "token", "bad token"])
def test_credentials_do_not_travel_unencrypted(
    stock: Stock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, login: str
) -> None:
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    if login == "netrc":
        (tmp_path / "netrc").write_text("machine archive.invalid login me password secret\n")
    else:
        monkeypatch.setenv(TOKEN, "secret" if login == "token" else "secret\nX-Header: 1")
    arguments = ["--from", "http://archive.invalid/dicom-web", "--study", "1.2.3"]
    line = error(CliRunner().invoke(predict, [str(stock.bundle), *arguments]))
    expected = "holds blanks" if login == "bad token" else "unencrypted, expected https://"
    assert expected in line and "secret" not in line


def test_a_certificate_must_be_signed_by_who_is_trusted(
    start: Callable[..., WebArchive], stock: Stock, certificates: Tls, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = start(receiving_context(Tls(certificates.certificate, certificates.key)))
    assert "TLS: unable to get local issuer certificate" in error(run(stock, archive))
    assert len(answers(run(stock, archive, "--tls-ca", certificates.authority))) == 2
    # The option is what counts, whatever the environment trusts besides.
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nonexistent")
    assert len(answers(run(stock, archive, "--tls-ca", certificates.authority))) == 2


def test_an_archive_that_wants_our_certificate_gets_it(
    start: Callable[..., WebArchive], stock: Stock, certificates: Tls
) -> None:
    archive = start(receiving_context(certificates))
    trust = ("--tls-ca", certificates.authority)
    assert "cannot be reached" in error(run(stock, archive, *trust)) or "broke off" in error(
        run(stock, archive, *trust)
    )
    ours = ("--tls-certificate", certificates.certificate, "--tls-key", certificates.key)
    assert len(answers(run(stock, archive, *trust, *ours))) == 2


def test_a_file_that_is_no_dicom_is_a_row(start: Callable[..., WebArchive], stock: Stock) -> None:
    def plan(request: Answering) -> None:
        request.begin_parts()
        request.wfile.write(multipart([b"nothing of the kind"]))

    archive = start(instances=plan)
    result = run(stock, archive, "--study", stock.studies[0])
    assert f"{hashed(stock.studies[0])}/unreadable/000001.dcm" in result.stdout
    assert "not a readable DICOM file" in result.stdout and "1 refused" in result.stderr


def test_an_instance_may_hold_what_begins_like_a_boundary(
    start: Callable[..., WebArchive], stock: Stock, tmp_path: Path
) -> None:
    tricky = changed(stock.films[0], tmp_path / "tricky.dcm", ImageComments=f"\r\n--{BOUNDARY.decode()[:-3]}")

    def plan(request: Answering) -> None:
        request.begin_parts()
        request.wfile.write(multipart([tricky.read_bytes()]))

    archive = start(instances=plan)
    (row,) = answers(run(stock, archive, "--study", stock.studies[0])).values()
    assert row[1] == "predicted"
