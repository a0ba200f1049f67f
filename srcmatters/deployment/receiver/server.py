"""`srcmatters serve`: receive studies, have them read, send the answers back."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from srcmatters.clean_shutdown import signals_handled
from srcmatters.deployment.dicom_association import Destination, Tls, receiving_context, sending_context
from srcmatters.deployment.receiver.sending import SendingThread
from srcmatters.deployment.receiver.spool import Spool
from srcmatters.deployment.receiver.store_scp import Address, Receiver
from srcmatters.deployment.receiver.study_completion import RELEASE_SETTLE_SECONDS, StudyCompletion
from srcmatters.deployment.receiver.study_reading import ReadingThread, StudyReader
from srcmatters.deployment.redaction import silence_libraries

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class ServerSettings:
    """What a server needs to know.

    Args:
        address: where and to whom it answers.
        destination: where results are sent.
        spool: folder; see :mod:`srcmatters.deployment.receiver.spool`.
        tls: files of this node; None: unencrypted.
        send_tls: talk TLS to the destination as well, with the same files.
        settle_seconds: a study of which nothing came for so long is complete.
        release_completes: so is one whose associations have all been released ...
        release_settle_seconds: ... if nothing more of it comes for so long afterwards.
        max_queued: complete and incomplete studies that wait at most.
        keep_sent: keep acknowledged results in the spool.
        keep_refused: keep the instances of refused studies in the spool.
        grace_seconds: time that a study or a transfer at hand gets when the server is stopped.
    """

    address: Address
    destination: Destination
    spool: Path
    tls: Tls | None = None
    send_tls: bool = False
    settle_seconds: float = 5.0
    release_completes: bool = True
    release_settle_seconds: float = RELEASE_SETTLE_SECONDS
    max_queued: int = 64
    keep_sent: bool = False
    keep_refused: bool = False
    grace_seconds: float = 5.0


class Server:
    """A receiver, a reader and a sender that share a spool; each in threads of its own.

    Args:
        reader: reads studies.
        settings: everything else.

    Raises:
        InputError: the spool or the TLS files cannot be used.
    """

    def __init__(self, reader: StudyReader, settings: ServerSettings) -> None:
        silence_libraries()
        self.settings = settings
        receiving = receiving_context(settings.tls) if settings.tls else None
        sending = sending_context(settings.tls) if settings.tls and settings.send_tls else None
        self.spool = Spool(settings.spool, settings.keep_sent, settings.keep_refused)
        self.arrivals = StudyCompletion(
            settings.max_queued,
            settings.settle_seconds,
            settings.release_completes,
            settings.release_settle_seconds,
        )
        self.arrivals.restore(self.spool.batches("incoming"))
        self._sending = SendingThread(self.spool, settings.destination, settings.address.ae_title, sending)
        self._reading = ReadingThread(reader, self.spool, self.arrivals, self._sending.notify)
        self._receiver = Receiver(settings.address, self.spool, self.arrivals, receiving)

    def start(self) -> int:
        """Go on with what the spool holds, and listen.

        Returns:
            The port.

        Raises:
            InputError: it cannot be listened on.
        """
        try:
            port = self._receiver.start()
        except BaseException:
            self.spool.close()
            raise
        left = self._left()
        address = self.settings.address
        _LOG.info("%s listens on %s, port %d", address.ae_title, address.host, port)
        _LOG.info("results go to %s", self.settings.destination)
        if any(left.values()):
            _LOG.info("left from before: %(incoming)d received, %(reading)d begun, %(outgoing)d unsent", left)
        self._reading.start()
        self._sending.start()
        return port

    def stop(self) -> bool:
        """Accept nothing more, finish what is at hand, and let go of the spool.

        Returns:
            Whether everything at hand was finished within ``grace_seconds``. If not, its threads still run
            and hold the spool: end the process.
        """
        until = time.monotonic() + self.settings.grace_seconds
        self._reading.finish()
        self._sending.finish()
        self._receiver.stop(self.settings.grace_seconds)
        read = self._reading.stop(max(0.0, until - time.monotonic()))
        sent = self._sending.stop(max(0.0, until - time.monotonic()))
        finished, left = read and sent, self._left()
        _LOG.info("stopped; left: %(incoming)d received, %(reading)d begun, %(outgoing)d unsent", left)
        if finished:
            self.spool.close()
        return finished

    def dead(self) -> list[str]:
        """Names of the threads that have ended although nobody has stopped them."""
        return [thread.name for thread in (self._reading, self._sending) if not thread.is_alive()]

    def _left(self) -> dict[str, int]:
        """Studies in each stage that a next server goes on with."""
        return {stage: len(self.spool.batches(stage)) for stage in ("incoming", "reading", "outgoing")}


def serve_until_stopped(server: Server, close: Callable[[], None] = lambda: None) -> None:
    """Run in the main thread of a process until SIGTERM or SIGINT, and end the process with status 0.

    The status is 1 if a thread has failed: a server that takes studies and answers none is worse than none.
    All that it has taken is in the spool, and the next one goes on with it.

    Args:
        server: not started yet.
        close: called last.
    """
    stopping = threading.Event()
    with signals_handled(lambda *_: stopping.set(), signal.SIGTERM, signal.SIGINT):
        server.start()
        # Python runs handlers in the main thread, which a signal that another thread got does not wake.
        dead: list[str] = []
        while not dead and not stopping.wait(0.2):
            dead = server.dead()
        if dead:
            _LOG.critical("the thread for %s has failed: stopping, start this again", " and ".join(dead))
        server.stop()
        close()
        logging.shutdown()
        # A thread inside a network cannot be interrupted, and ending the interpreter under it crashes; one of
        # pynetdicom's that waits for a silent peer would hold the program for half a minute.
        os._exit(1 if dead else 0)
