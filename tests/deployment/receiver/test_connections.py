"""Peers that are slow, silent, many or greedy cost themselves, and nobody else."""

import logging
import socket
import struct
import threading
import time
from collections.abc import Iterator

import pytest
from dicom_nodes import Archive, Start, association, counts, radiograph, send, wait_until
from pydicom.uid import generate_uid

from srcmatters.deployment.receiver import connections
from srcmatters.deployment.receiver.server import Server
from srcmatters.deployment.receiver.store_scp import Address

Peers = list[socket.socket]
REQUEST = b"\x01\x00\x00\x00\x01\x00"  # the head of a request for an association of 256 bytes


@pytest.fixture
def peers() -> Iterator[Peers]:
    """Connections that a test has opened; bytes drip from those whose number is odd."""
    opened: Peers = []
    stopping = threading.Event()

    def drip() -> None:
        while not stopping.wait(0.2):
            for peer in opened[1::2]:
                try:
                    peer.sendall(b"\x00")
                except OSError:  # it has been cut off
                    continue

    dripping = threading.Thread(target=drip)
    dripping.start()
    yield opened
    stopping.set()
    dripping.join()
    for peer in opened:
        peer.close()


def _connect(peers: Peers, port: int, count: int) -> None:
    for number in range(count):
        peer = socket.create_connection(("127.0.0.1", port))
        if number % 2:
            peer.sendall(REQUEST)
        peers.append(peer)


def _is_cut_off(peer: socket.socket) -> bool:
    peer.settimeout(0.01)
    try:
        return peer.recv(1) == b""
    except ConnectionError:
        return True
    except TimeoutError:
        return False


def _open(server: Server) -> int:
    """Connections that cost the server a thread."""
    listener = server._receiver._server
    assert listener is not None
    return len(listener.active_associations)


def test_twelve_peers_that_say_nothing_or_not_enough_keep_nobody_out(
    start: Start, archive: Archive, peers: Peers
) -> None:
    _, port = start(address=Address("SRCMATTERS", port=0, max_associations=2))
    _connect(peers, port, 12)
    time.sleep(0.3)
    started = time.monotonic()
    with association(port) as opened:
        assert opened.is_established
        assert opened.send_c_echo().Status == 0x0000
    image = radiograph()
    assert send(port, image) == [0x0000]
    assert time.monotonic() - started < 4
    assert set(counts(archive.wait_for(1))) == {image.StudyInstanceUID}


def test_who_has_not_asked_for_an_association_in_time_is_cut_off(
    start: Start, peers: Peers, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert connections.ASSOCIATE_SECONDS <= 5
    _, port = start()
    began = time.monotonic()
    _connect(peers, port, 2)
    wait_until(lambda: all(_is_cut_off(peer) for peer in peers), "both ends")
    assert time.monotonic() - began < connections.ASSOCIATE_SECONDS + 3


def test_who_hangs_up_without_having_asked_costs_nothing_any_more(start: Start) -> None:
    server, port = start()
    for said in (b"", b"GET / HTTP/1.1\r\n\r\n", REQUEST):
        peer = socket.create_connection(("127.0.0.1", port))
        peer.sendall(said)
        time.sleep(0.3)
        peer.close()
        closed = time.monotonic()
        wait_until(lambda: _open(server) == 0, "the end of its threads")
        assert time.monotonic() - closed < 2


def test_more_connections_than_may_wait_are_closed_at_once(
    start: Start, peers: Peers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "_OTHER_CONNECTIONS", 3)
    _, port = start()
    _connect(peers, port, 3)
    time.sleep(0.3)
    with socket.create_connection(("127.0.0.1", port)) as excess:
        excess.settimeout(2)
        assert excess.recv(1) == b""
    assert not any(_is_cut_off(peer) for peer in peers)


def test_who_drips_in_the_middle_of_a_message_is_cut_off(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    _, port = start(address=Address("SRCMATTERS", port=0, idle_seconds=1))
    with association(port) as opened:
        assert opened.send_c_echo().Status == 0x0000
        peer = opened.dul.socket.socket
        peer.sendall(struct.pack(">BBL", 4, 0, 1000))
        began = time.monotonic()
        while opened.is_established and time.monotonic() - began < 10:
            try:
                peer.sendall(b"\x00")
            except OSError:
                break
            time.sleep(0.1)
        assert time.monotonic() - began < 4
    wait_until(lambda: "association of SENDER broken off: a message took too long" in caplog.text, "it")


def test_a_pdu_that_is_said_to_be_huge_is_not_waited_for(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    _, port = start()
    with association(port) as opened:
        opened.dul.socket.socket.sendall(struct.pack(">BBL", 4, 0, 2**31))
        wait_until(lambda: "broken off: a PDU is too large" in caplog.text, "the end")


def test_an_instance_of_any_size_is_cut_off_at_the_largest(
    start: Start, archive: Archive, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(connections, "INSTANCE_BYTES", 2**20)
    server, port = start(settle_seconds=5, release_settle_seconds=1)
    study = generate_uid()
    assert send(port, radiograph(size=1200)) == [None]
    assert "association of SENDER broken off: an instance has more than 1 MiB" in caplog.text
    # Several that have more together are no such instance.
    assert send(port, *(radiograph(study, size=800) for _ in range(4))) == [0x0000] * 4
    assert counts(archive.wait_for(1)) == {study: ["4 images"]}
    wait_until(lambda: server._receiver._connections.held() == 0, "the end of it")


def test_instances_on_their_way_are_limited_together(
    start: Start, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(connections, "TOGETHER_BYTES", 2**20)
    server, port = start()
    with association(port) as half:
        data = b"\x00\x00\x00\x00" + bytes(2**18 - 4)  # a PDV that is not the last one
        part = struct.pack(">LBB", len(data) - 4, 1, 0) + data[6:]
        for _ in range(3):
            half.dul.socket.socket.sendall(struct.pack(">BBL", 4, 0, len(part)) + part)
        wait_until(lambda: server._receiver._connections.held() > 2**19, "the half")
        assert send(port, radiograph(size=800)) == [None]
        assert "broken off: all instances on their way have more than 1 MiB" in caplog.text
        assert send(port, radiograph()) == [0x0000]
        half.abort()
    wait_until(lambda: _open(server) == 0, "the end of it")
    assert send(port, radiograph(size=800)) == [0x0000]


def test_an_instance_counts_until_it_is_answered(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise a peer that sends on without waiting for answers would fill the memory."""
    server, port = start()
    holding = threading.Event()
    monkeypatch.setattr(server.spool, "keep_instance", lambda *_: holding.wait(20))
    with association(port) as opened:
        image = radiograph(size=100)
        sender = threading.Thread(target=opened.send_c_store, args=(image,))
        sender.start()
        wait_until(lambda: server._receiver._connections.held() > 10_000, "the instance")
        time.sleep(0.2)
        assert server._receiver._connections.held() > 10_000
        holding.set()
        sender.join()
        assert server._receiver._connections.held() == 0


@pytest.fixture(autouse=True)
def logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
