"""Who may connect, and what a silent peer costs; a network that is not trusted needs more in front of us."""

import logging
import socket
import struct
import time
from ipaddress import ip_network

import pytest
from dicom_nodes import Archive, Start, association, counts, radiograph, send, wait_until

from srcmatters.deployment.receiver import store_scp
from srcmatters.deployment.receiver.server import Server
from srcmatters.deployment.receiver.store_scp import Address

REQUEST = b"\x01\x00\x00\x00\x01\x00"  # the head of a request for an association of 256 bytes
ELSEWHERE, HERE = ip_network("10.1.2.0/24"), ip_network("127.0.0.0/8")


@pytest.fixture(autouse=True)
def logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)


def _threads(server: Server) -> int:
    """Connections that cost the server a thread."""
    listener = server._receiver._server
    assert listener is not None
    return len(listener.active_associations)


def test_an_address_that_is_not_listed_is_disconnected_before_it_costs_a_thread(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    server, port = start(address=Address("SRCMATTERS", port=0, allowed=(ELSEWHERE,)))
    with socket.create_connection(("127.0.0.1", port)) as peer:
        peer.settimeout(10)
        assert peer.recv(1) == b"" and _threads(server) == 0
    with association(port) as opened:
        assert not opened.is_established
    assert "connection from 127.0.0.1 refused: not one of --allow" in caplog.text


@pytest.mark.parametrize("host", ["127.0.0.1", "::"])
def test_a_listed_address_is_let_in(start: Start, archive: Archive, host: str) -> None:
    """Also where an IPv6 socket reports it as ::ffff:127.0.0.1."""
    if host == "::" and not socket.has_dualstack_ipv6():
        host = "127.0.0.1"
    _, port = start(address=Address("SRCMATTERS", host, port=0, allowed=(ELSEWHERE, HERE)))
    image = radiograph()
    assert send(port, image) == [0x0000]
    assert set(counts(archive.wait_for(1))) == {image.StudyInstanceUID}


def test_who_has_not_requested_an_association_in_time_is_cut_off(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_scp, "_ASSOCIATE_SECONDS", 1.0)
    server, port = start(address=Address("SRCMATTERS", port=0, max_associations=1))
    with socket.create_connection(("127.0.0.1", port)) as peer:
        peer.settimeout(20)
        assert peer.recv(1) == b""
    wait_until(lambda: _threads(server) == 0, "the end of its threads")
    with association(port) as opened:
        assert opened.send_c_echo().Status == 0x0000


@pytest.mark.parametrize("content", [b"", b"GET / HTTP/1.1\r\n\r\n", REQUEST])
def test_who_hangs_up_without_having_requested_costs_nothing_any_more(
    start: Start, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    monkeypatch.setattr(store_scp, "_ASSOCIATE_SECONDS", 1.0)
    server, port = start()
    peer = socket.create_connection(("127.0.0.1", port))
    peer.sendall(content)
    time.sleep(0.3)
    peer.close()
    wait_until(lambda: _threads(server) == 0, "the end of its threads")


def test_who_stops_in_the_middle_of_a_request_and_stays_is_cut_off(start: Start) -> None:
    """The thread that reads can do nothing else meanwhile: only the time-out of its socket ends it."""
    server, port = start(address=Address("SRCMATTERS", port=0, idle_seconds=1))
    with socket.create_connection(("127.0.0.1", port)) as peer:
        peer.sendall(REQUEST)
        peer.settimeout(20)
        assert peer.recv(1) == b""
        wait_until(lambda: _threads(server) == 0, "the end of its threads")


def test_who_stops_in_the_middle_of_a_message_is_cut_off(start: Start, archive: Archive) -> None:
    server, port = start(address=Address("SRCMATTERS", port=0, idle_seconds=1))
    with association(port) as opened:
        assert opened.send_c_echo().Status == 0x0000
        opened.dul.socket.socket.sendall(struct.pack(">BBL", 4, 0, 1000) + b"\x00")
        wait_until(lambda: not opened.is_established, "the end of the association")
    wait_until(lambda: _threads(server) == 0, "the end of its threads")
    assert send(port, radiograph()) == [0x0000]
    archive.wait_for(1)
