"""What a peer may cost before it is cut off: connections, seconds for a message, memory for an instance."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections import deque
from collections.abc import Callable

from pynetdicom import AE, Association

from srcmatters.deployment.retrieval.study_files import INSTANCE_BYTES

ASSOCIATE_SECONDS = 5.0  # from the connection to the whole request for an association
TOGETHER_BYTES = 2**31  # of all instances that are on their way
_OTHER_CONNECTIONS = 64  # of peers that have not asked for an association, or are being seen off
_LARGEST_PDU = 2**20  # eight times what we ask for; a request for an association may be that long, too
_PIECE = 2**16


class Node(AE):
    """An application entity for which a connection is no association until it asks for one.

    pynetdicom counts every connection: a few peers that say nothing would keep out all others.
    """

    @property
    def active_associations(self) -> list[Association]:
        """Associations that are established, or being negotiated."""
        return [one for one in super().active_associations if has_associated(one) and not _has_ended(one)]


def has_associated(association: Association) -> bool:
    """Whether the peer has asked for an association."""
    return association.requestor.primitive is not None


def _has_ended(association: Association) -> bool:
    return association.is_rejected or association.is_aborted or association.is_released


class Connections:
    """Those of a receiver, and what each of them and all together may take.

    Args:
        node: whose they are.
        seconds: that a peer may take for a PDU; for the first one it has :data:`ASSOCIATE_SECONDS`.
        broken: called with an association, and why it was broken off.
    """

    def __init__(self, node: Node, seconds: float, broken: Callable[[Association, str], None]) -> None:
        self.seconds, self.broken = seconds, broken
        self._node = node
        self._limits: dict[Association, Limits] = {}
        self._lock = threading.Lock()

    def opened(self, association: Association) -> None:
        """Watch a connection; one too many is closed."""
        connection = association.dul.socket
        if connection is None or connection.socket is None:
            return
        with self._lock:
            # A thread that has not begun yet has no identity.
            dead = [one for one in self._limits if one.ident is not None and not one.is_alive()]
            for one in dead:
                del self._limits[one]
            others = len(self._limits) - len(self._node.active_associations)
            self._limits[association] = Limits(association, self)
        if others >= _OTHER_CONNECTIONS:
            hang_up(association)

    def closed(self, association: Association) -> None:
        """Forget a connection, and let its thread end if the peer has gone without having said anything."""
        with self._lock:
            self._limits.pop(association, None)
        if not has_associated(association):
            # It waits for a request with a time-out, and takes None for that.
            association.dul.to_user_queue.put(None)  # type: ignore[arg-type]

    def message_ended(self, association: Association) -> None:
        """A message is complete; its bytes count until it is answered."""
        self._limits[association].message_ended()

    def answered(self, association: Association) -> None:
        """The answer to the oldest message of an association is on its way."""
        limits = self._limits.get(association)  # the peer may have gone while its message was handled
        if limits is not None:
            limits.answered()

    def held(self) -> int:
        """Bytes that all of them hold."""
        with self._lock:
            return sum(limits.held for limits in self._limits.values())


class Limits:
    """Takes over reading from one connection, and breaks it off when the peer is too slow or sends too much.

    pynetdicom reads with a time-out for every piece of a message, in a thread that can do nothing else
    meanwhile, and gathers a message of any size in memory.

    Args:
        association: just connected.
        connections: of which it is one.
    """

    def __init__(self, association: Association, connections: Connections) -> None:
        assert association.dul.socket is not None and association.dul.socket.socket is not None
        self.held = 0
        self._association, self._connections = association, connections
        self._socket: socket.socket = association.dul.socket.socket
        self._socket.settimeout(connections.seconds)
        self._until: float | None = time.monotonic() + ASSOCIATE_SECONDS
        self._in_pdu = False
        self._incoming = 0
        self._unanswered: deque[int] = deque()
        self._lock = threading.Lock()
        association.dul.socket.recv = self._receive  # type: ignore[method-assign, assignment]

    def message_ended(self) -> None:
        """A message is complete."""
        with self._lock:
            self._unanswered.append(self._incoming)
            self._incoming = 0

    def answered(self) -> None:
        """The oldest message needs no memory any more."""
        with self._lock:
            self.held -= self._unanswered.popleft() if self._unanswered else 0

    def _receive(self, count: int) -> bytearray:
        """The head of a PDU, which has six bytes, or the rest; less if the peer closes the connection."""
        self._admit(count)
        if self._until is None:
            self._until = time.monotonic() + self._connections.seconds
        content = self._read(count, self._until)
        if self._in_pdu:
            self._until, self._in_pdu = None, False
        else:
            # After a head of no known type pynetdicom does not ask for the rest.
            self._in_pdu = len(content) == count and 1 <= content[0] <= 7
        return content

    def _read(self, count: int, until: float) -> bytearray:
        content = bytearray()
        try:
            while len(content) < count:
                self._socket.settimeout(max(0.001, until - time.monotonic()))
                piece = self._socket.recv(min(count - len(content), _PIECE))
                if not piece:
                    break
                content += piece
                if time.monotonic() > until:
                    raise TimeoutError
        except TimeoutError:
            self._break("a message took too long")
        finally:
            with contextlib.suppress(OSError):
                self._socket.settimeout(self._connections.seconds)  # for what is sent
        return content

    def _admit(self, count: int) -> None:
        """Make room for ``count`` bytes before they are read."""
        if count > _LARGEST_PDU:
            self._break("a PDU is too large")
        with self._lock:
            self._incoming += count
            self.held += count
        if self.held > INSTANCE_BYTES:
            self._break(f"an instance has more than {INSTANCE_BYTES >> 20} MiB")
        if self._connections.held() > TOGETHER_BYTES:
            self._break(f"all instances on their way have more than {TOGETHER_BYTES >> 20} MiB")

    def _break(self, reason: str) -> None:
        self._connections.broken(self._association, reason)
        raise ConnectionAbortedError(reason)


def hang_up(association: Association) -> None:
    """Close the connection to a peer, if it is still there, whatever its threads are waiting for."""
    connection = association.dul.socket
    if connection is not None and connection.socket is not None:
        with contextlib.suppress(OSError):
            connection.socket.shutdown(socket.SHUT_RDWR)
