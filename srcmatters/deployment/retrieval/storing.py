"""Instances that an archive sends because we have asked for them."""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from pynetdicom import AE, Association, evt
from pynetdicom.dsutils import encode_file_meta
from pynetdicom.events import Event

from srcmatters.deployment.dicom_association import STORAGE_CLASSES, TRANSFER_SYNTAXES
from srcmatters.deployment.retrieval.study_files import Allowance, StudyFiles
from srcmatters.errors import InputError

_SUCCESS, _OUT_OF_RESOURCES = 0x0000, 0xA700
_LARGEST_PDU = 2**24  # bytes; we ask for far smaller ones
_SILENCE_SECONDS = 60.0  # in the middle of a message


class Storing:
    """Keeps what comes by C-STORE, as far as it may, and remembers what went wrong: the library's threads
    swallow it.

    Args:
        allowance: of the connections; :class:`StudyFiles` where instances are expected.
    """

    def __init__(self, allowance: Allowance) -> None:
        self._allowance = allowance
        self._problem: InputError | None = None
        self.waiting: Association | None = None  # which is to be told when something goes wrong

    def handlers(self) -> list[Any]:
        """For pynetdicom."""
        return [(evt.EVT_CONN_OPEN, self._opened), (evt.EVT_C_STORE, self._store)]

    def check(self) -> None:
        """Raise what went wrong since.

        Raises:
            InputError: something did.
        """
        if self._problem is not None:
            raise self._problem

    def _opened(self, event: Event) -> None:
        """Bound what is read from a connection: the library collects a message of any size in memory."""
        connection = event.assoc.dul.socket
        if connection is None or connection.socket is None:
            return
        connection.socket.settimeout(_SILENCE_SECONDS)
        connection.recv = self._bounded(connection.recv)  # type: ignore[method-assign, assignment]

    def _bounded(self, receive: Callable[[int], bytearray]) -> Callable[[int], bytearray]:
        def receive_bounded(count: int) -> bytearray:
            try:
                if count > _LARGEST_PDU:
                    raise InputError(f"it sent a PDU of {count} bytes, expected at most {_LARGEST_PDU}")
                self._allowance.admit(count)
            except InputError as error:
                self._stop(error)
                raise ConnectionAbortedError from error
            return receive(count)

        return receive_bounded

    def _store(self, event: Event) -> int:
        """Answer a C-STORE; whatever was sent, this does not raise."""
        if self._problem is None:
            self._keep(event)
        return _SUCCESS if self._problem is None else _OUT_OF_RESOURCES

    def _stop(self, problem: InputError) -> None:
        """Remember a problem, and wake who waits for the next message; it will be the last one."""
        self._problem = self._problem or problem
        if self.waiting is not None:
            self.waiting.dimse.msg_queue.put((None, None))

    def _keep(self, event: Event) -> None:
        if not isinstance(self._allowance, StudyFiles):
            self._stop(InputError("it sent an instance that nobody has asked for"))
            return
        try:
            meta = encode_file_meta(event.file_meta)
            with event.request.DataSet.getbuffer() as content:  # type: ignore[union-attr]
                self._allowance.add(b"\0" * 128, b"DICM", meta, content)
        except InputError as error:
            self._stop(error)
        except Exception as error:  # what was received may be broken in any way
            name = type(error).__name__
            self._stop(InputError(f"it sent an instance that cannot be understood ({name})"))


class MoveReceiver:
    """Where an archive sends to that offers no C-GET: it must know our AE title, address and port.

    Args:
        ae_title: ours.
        peer: host and port of the archive; we listen on the address by which this machine reaches it.
        port: ours; 0: any free one.
        tls: None: unencrypted.
    """

    def __init__(
        self, ae_title: str, peer: tuple[str, int], port: int, tls: ssl.SSLContext | None = None
    ) -> None:
        self._ae_title, self._peer, self._port, self._tls = ae_title, peer, port, tls

    @contextmanager
    def receiving(self, storing: Storing) -> Iterator[int]:
        """Listen meanwhile; gives the port.

        Raises:
            InputError: the port is in use.
        """
        node = AE(self._ae_title)
        node.require_called_aet = True
        node.network_timeout = _SILENCE_SECONDS
        for sop_class in STORAGE_CLASSES:
            node.add_supported_context(sop_class, list(TRANSFER_SYNTAXES))
        address = own_address(*self._peer)
        try:
            server = node.start_server(
                (address, self._port), block=False, ssl_context=self._tls, evt_handlers=storing.handlers()
            )
        except OSError as error:
            raise InputError(f"cannot listen on {address}, port {self._port} ({error.strerror})") from error
        assert server is not None
        try:
            yield int(server.server_address[1])
        finally:
            for association in server.active_associations:
                association.abort(block=False)
            with contextlib.suppress(OSError):
                server.shutdown()


def own_address(host: str, port: int) -> str:
    """The address of this machine from which another one is reached; nothing is sent.

    Raises:
        InputError: the name of the other one is not known, or no way leads there.
    """
    try:
        family, kind, *_, place = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind) as probe:
            probe.connect(place)
            return str(probe.getsockname()[0])
    except OSError as error:
        raise InputError(f"{host} cannot be reached ({error.strerror})") from error
