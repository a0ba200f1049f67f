"""DIMSE archives that do not answer as they should: one line, or one refused study among good ones."""

from __future__ import annotations

import copy
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from dicom_nodes import send
from orthanc_node import free_ports
from pydicom import Dataset
from pydicom.uid import MRImageStorage, generate_uid
from pynetdicom import evt
from retrieval_cases import DimseNode, Stock, answers, run, said

from srcmatters.deployment.dicom_association import Tls, receiving_context
from srcmatters.deployment.redaction import hashed
from srcmatters.deployment.retrieval import storing, study_files

Plan = Callable[[evt.Event, list[Dataset]], Iterator[Any]]


@pytest.fixture(scope="module")
def stock(tmp_path_factory: pytest.TempPathFactory) -> Stock:
    """A bundle and two studies of a radiograph each; read only."""
    return Stock(tmp_path_factory.mktemp("stock"))


@pytest.fixture
def start(stock: Stock) -> Iterator[Callable[..., DimseNode]]:
    """Start an archive: ``start(plan=..., any other argument)``."""
    running: list[DimseNode] = []

    def start_node(**arguments: Any) -> DimseNode:
        running.append(DimseNode(stock, **arguments))
        return running[-1]

    yield start_node
    for node in running:
        node.close()


def _all(event: evt.Event, wanted: list[Dataset]) -> Iterator[Any]:
    yield len(wanted)
    for dataset in wanted:
        yield 0xFF00, dataset


def _one_bad(start: Callable[..., DimseNode], stock: Stock, plan: Plan, *arguments: object) -> str:
    """Why the first study is refused when it is sent by a plan; the other one is read."""
    bad, good = stock.studies

    def planned(event: evt.Event, wanted: list[Dataset]) -> Iterator[Any]:
        is_bad = wanted[0].StudyInstanceUID == bad
        yield from (plan if is_bad else _all)(event, wanted)

    found = answers(run(stock, start(plan=planned), *arguments))
    probability, status, reason = found[hashed(bad)]
    assert status == "refused" and not probability and found[hashed(good)][1] == "predicted"
    assert "\n" not in reason and bad not in reason
    return reason


@pytest.mark.parametrize("way", ["get", "move"])
def test_both_ways_of_getting_give_the_same(start: Callable[..., DimseNode], stock: Stock, way: str) -> None:
    (port,) = free_ports(1)
    node = start(move_to=("127.0.0.1", port))
    found = answers(run(stock, node, "--retrieve", way, "--move-port", port))
    assert set(found) == set(map(hashed, stock.studies))
    assert {(status, bool(probability)) for probability, status, _ in found.values()} == {("predicted", True)}


def test_an_unknown_title_is_one_line(start: Callable[..., DimseNode], stock: Stock) -> None:
    node = start()
    node.url = node.url.replace("ARCHIVE", "ARCHIVES")
    assert "called ae title not recognised" in said(run(stock, node))


def test_a_server_that_is_not_there_is_one_line(start: Callable[..., DimseNode], stock: Stock) -> None:
    node = start()
    node.url = f"dicom://ARCHIVE@127.0.0.1:{free_ports(1)[0]}"
    assert "cannot be reached (Connection refused)" in said(run(stock, node))


def test_something_else_behind_the_port_is_one_line(start: Callable[..., DimseNode], stock: Stock) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def hang_up() -> None:
            for _ in range(2):
                server.accept()[0].close()

        threading.Thread(target=hang_up, daemon=True).start()
        node = start()
        node.url = f"dicom://ARCHIVE@127.0.0.1:{server.getsockname()[1]}"
        assert "breaks off when it is asked for an association" in said(run(stock, node))


@pytest.mark.parametrize(("service", "other"), [("get", "move"), ("move", "get")])
def test_a_service_that_is_not_offered_leads_to_the_other(
    start: Callable[..., DimseNode], stock: Stock, service: str, other: str
) -> None:
    node = start(services=f"find {other}")
    reasons = {reason for *_, reason in answers(run(stock, node, "--retrieve", service)).values()}
    assert reasons == {f"it offers no C-{service.upper()}: try --retrieve {other}"}


def test_an_archive_without_queries_is_one_line(start: Callable[..., DimseNode], stock: Stock) -> None:
    assert "it offers no C-FIND" in said(run(stock, start(services="get")))


def test_instances_that_the_archive_could_not_send_refuse_the_study(
    start: Callable[..., DimseNode], stock: Stock
) -> None:
    def plan(event: evt.Event, wanted: list[Dataset]) -> Iterator[Any]:
        other = copy.deepcopy(wanted[0])
        other.SOPClassUID, other.SOPInstanceUID = MRImageStorage, generate_uid()
        yield 2
        yield 0xFF00, wanted[0]
        yield 0xFF00, other  # of a class that nobody has agreed on

    assert _one_bad(start, stock, plan) == "1 of its instances could not be sent by the archive"


def test_fewer_instances_than_announced_refuse_the_study(
    start: Callable[..., DimseNode], stock: Stock
) -> None:
    found = answers(run(stock, start(extra=2)))
    assert {reason for *_, reason in found.values()} == {"1 instances of a series arrived, expected 3"}


def test_an_archive_that_fails_says_with_which_status(start: Callable[..., DimseNode], stock: Stock) -> None:
    def plan(event: evt.Event, wanted: list[Dataset]) -> Iterator[Any]:
        yield 1
        yield 0xA702, None

    assert "0xA702" in _one_bad(start, stock, plan)


@pytest.mark.parametrize("way", ["politely", "abruptly"])
def test_an_association_that_is_cut_refuses_the_study(
    start: Callable[..., DimseNode], stock: Stock, way: str
) -> None:
    def plan(event: evt.Event, wanted: list[Dataset]) -> Iterator[Any]:
        yield 2
        yield 0xFF00, wanted[0]
        if way == "politely":
            event.assoc.abort()
        else:
            event.assoc.dul.socket.socket.shutdown(socket.SHUT_RDWR)
        yield 0xFF00, wanted[0]

    started = time.monotonic()
    assert "broke off" in _one_bad(start, stock, plan)
    assert time.monotonic() - started < 10


def test_an_archive_that_says_nothing_is_not_waited_for(
    start: Callable[..., DimseNode], stock: Stock
) -> None:
    go_on = threading.Event()

    def plan(event: evt.Event, wanted: list[Dataset]) -> Iterator[Any]:
        go_on.wait(20)
        yield 0

    started = time.monotonic()
    reason = _one_bad(start, stock, plan, "--timeout", 2)
    go_on.set()
    assert time.monotonic() - started < 10 and "nothing came in time" in reason


def test_an_instance_that_is_too_large_is_cut_off_before_it_is_complete(
    start: Callable[..., DimseNode], stock: Stock, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[int] = []

    def plan(event: evt.Event, wanted: list[Dataset]) -> Iterator[Any]:
        large = copy.deepcopy(wanted[0])
        large.PixelData = bytes(2**24)
        event.assoc.bind(evt.EVT_DATA_SENT, lambda event: sent.append(len(event.data)))
        yield 1
        yield 0xFF00, large

    monkeypatch.setattr(study_files, "INSTANCE_BYTES", 2**20)
    assert "more than 1048576 bytes" in _one_bad(start, stock, plan)
    assert sum(sent) < 2**23  # what was in the buffers on the way


def test_a_study_that_is_too_large_is_cut_off(
    start: Callable[..., DimseNode], stock: Stock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def plan(event: evt.Event, wanted: list[Dataset]) -> Iterator[Any]:
        yield 10**4
        while event.assoc.is_established:
            yield 0xFF00, wanted[0]

    monkeypatch.setattr(study_files, "BYTES", 2**18)
    assert "more than 262144 bytes" in _one_bad(start, stock, plan)
    monkeypatch.setattr(study_files, "BYTES", 2**30)
    monkeypatch.setattr(study_files, "MEMBERS", 20)
    assert _one_bad(start, stock, plan) == "it has more than 20 instances"


def test_a_huge_pdu_is_not_read(
    start: Callable[..., DimseNode], stock: Stock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storing, "_LARGEST_PDU", 2**10)

    def plan(event: evt.Event, wanted: list[Dataset]) -> Iterator[Any]:
        yield from _all(event, wanted)

    found = answers(run(stock, start(plan=plan)))
    assert all("PDU" in reason for *_, reason in found.values()), found


def test_a_query_of_more_matches_than_wished_fetches_nothing(
    start: Callable[..., DimseNode], stock: Stock
) -> None:
    asked: list[str] = []

    def plan(event: evt.Event, wanted: list[Dataset]) -> Iterator[Any]:
        asked.append("get")
        yield from _all(event, wanted)

    assert "more than 1 studies match" in said(run(stock, start(plan=plan), "--max-studies", 1))
    assert not asked


def test_a_port_in_use_refuses_the_study(start: Callable[..., DimseNode], stock: Stock) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        node = start(move_to=("127.0.0.1", port))
        found = answers(run(stock, node, "--retrieve", "move", "--move-port", port))
    assert all(f"port {port} (Address already in use)" in reason for *_, reason in found.values())


def test_an_archive_that_does_not_know_where_to_move_says_so(
    start: Callable[..., DimseNode], stock: Stock
) -> None:
    found = answers(run(stock, start(), "--retrieve", "move", "--move-port", free_ports(1)[0]))
    assert all("does it know our AE title and port?" in reason for *_, reason in found.values())


def test_what_somebody_else_sends_to_the_port_refuses_the_study(
    start: Callable[..., DimseNode], stock: Stock
) -> None:
    (port,) = free_ports(1)

    def plan(event: evt.Event, wanted: list[Dataset]) -> Iterator[Any]:
        stranger = stock.datasets[1] if wanted[0] is stock.datasets[0] else stock.datasets[0]
        assert send(port, stranger) == [0x0000]
        yield 0

    node = start(plan=plan, move_to=("127.0.0.1", port))
    found = answers(run(stock, node, "--retrieve", "move", "--move-port", port))
    assert {reason for *_, reason in found.values()} == {"the archive sent an instance of another study"}


@pytest.mark.parametrize("way", ["get", "move"])
def test_archive_and_we_show_certificates(
    start: Callable[..., DimseNode], stock: Stock, certificates: Tls, tmp_path: Path, way: str
) -> None:
    (port,) = free_ports(1)
    node = start(tls=receiving_context(certificates))
    node.url = node.url.replace("127.0.0.1", "localhost")
    files = {"certificate": certificates.certificate, "key": certificates.key, "ca": certificates.authority}
    options = [part for name, path in files.items() for part in (f"--tls-{name}", path)]
    if way == "get":
        assert len(answers(run(stock, node, *options))) == 2
        assert "TLS: " in said(run(stock, node, *options[:4]))
        return
    unencrypted = start(move_to=("127.0.0.1", port))
    assert "cannot be reached (TLS: " in said(run(stock, unencrypted, *options, "--retrieve", way))
