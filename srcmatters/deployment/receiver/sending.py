"""The sender's thread: results go to the archive by C-STORE until it has acknowledged them."""

from __future__ import annotations

import logging
import ssl
import threading
import time
from collections.abc import Iterable, Sequence

from pydicom import Dataset, dcmread
from pydicom.uid import UID, ImplicitVRLittleEndian
from pynetdicom import AE, Association, build_context

from srcmatters.deployment.dicom_association import Destination
from srcmatters.deployment.receiver.spool import Spool

_LOG = logging.getLogger(__name__)
FIRST_DELAY_SECONDS = 1.0
LONGEST_DELAY_SECONDS = 300.0
RETRY_SECONDS = 10.0  # after the spool could not be read
_NO_ANSWER = "no answer"
#: B000, B006, B007: stored, with a remark. 0111: a duplicate, the acknowledgement of which we have missed.
_ACCEPTED = {0x0000, 0xB000, 0xB006, 0xB007, 0x0111}


class SendingThread(threading.Thread):
    """Sends what lies in the spool's outgoing/ and tries again, less and less often, for as long as it takes.

    Every study has its own delay: one that the archive does not want keeps no other waiting. A result that
    was acknowledged is taken away at once. Only if the program is killed between the two, or the
    acknowledgement itself is lost, is it sent again: with the same SOP Instance UID, by which an archive
    knows it.

    Args:
        spool: where the results lie.
        destination: where they go.
        ae_title: ours.
        tls: for an archive that wants it.
    """

    def __init__(
        self, spool: Spool, destination: Destination, ae_title: str, tls: ssl.SSLContext | None = None
    ) -> None:
        super().__init__(name="sending", daemon=True)
        self._spool, self._destination, self._tls = spool, destination, tls
        self._node = AE(ae_title)
        self._node.connection_timeout = 10
        self._node.acse_timeout = self._node.dimse_timeout = self._node.network_timeout = 30
        self._changed = threading.Event()
        self._stopping = False
        self._failures: dict[str, int] = {}
        self._due: dict[str, float] = {}

    def notify(self) -> None:
        """There is something new to send."""
        self._changed.set()

    def finish(self) -> None:
        """Begin no other result."""
        self._stopping = True
        self._changed.set()

    def stop(self, seconds: float) -> bool:
        """Finish the result at hand if that takes no longer than ``seconds``.

        Returns:
            Whether the thread has ended.
        """
        self.finish()
        self.join(seconds)
        return not self.is_alive()

    def run(self) -> None:
        """Work until it is stopped."""
        while not self._stopping:
            self._changed.clear()
            try:
                wait = self._send_due()
            except Exception as error:  # too many open files, say: nobody else would send what is left
                _LOG.error("the spool cannot be read (%s): trying again", type(error).__name__)
                wait = RETRY_SECONDS
            if not self._stopping:
                self._changed.wait(wait)

    def _send_due(self) -> float:
        """Try every study whose time has come; seconds until the next one's."""
        for batch in self._spool.unsent():
            if self._stopping:
                return 0.0
            if self._due.get(batch, 0.0) <= time.monotonic():
                self._attempt(batch)
        now = time.monotonic()
        waits = [self._due.get(batch, now) - now for batch in self._spool.unsent()]
        return max(0.0, min(waits, default=LONGEST_DELAY_SECONDS))

    def _attempt(self, batch: str) -> None:
        try:
            problem = self._send(batch)
        except Exception as error:  # whatever goes wrong with one study, the others must leave
            problem = f"{type(error).__name__} while sending"
        if problem is None:
            self._failures.pop(batch, None)
            self._due.pop(batch, None)
            return
        failures = self._failures[batch] = self._failures.get(batch, 0) + 1
        delay = min(FIRST_DELAY_SECONDS * 2 ** min(failures - 1, 16), LONGEST_DELAY_SECONDS)
        self._due[batch] = time.monotonic() + delay
        _LOG.warning(
            "study %s: not sent to %s (%s), next attempt in %.0f s", batch, self._destination, problem, delay
        )

    def _send(self, batch: str) -> str | None:
        """Send what is left of a study's results; None, or what went wrong last.

        A result that the archive does not want keeps no other of the study waiting.
        """
        files = self._spool.files("outgoing", batch)
        results = [dcmread(file) for file in files]
        association = self._associate(results)
        if not association.is_established:
            return _why_none(association)
        problem, sent = None, 0
        try:
            for file, result in zip(files, results, strict=True):
                if self._stopping:
                    return "stopping"
                refusal = _offer(association, result)
                if refusal is None:
                    self._spool.acknowledged(batch, file)
                    sent += 1
                problem = refusal or problem
                if refusal == _NO_ANSWER:
                    break  # the association is broken, whether the library knows it already or not
        finally:
            if association.is_established:
                association.release()
        if sent:
            _LOG.info("study %s: %d of %d results sent to %s", batch, sent, len(files), self._destination)
        return problem

    def _associate(self, results: Sequence[Dataset]) -> Association:
        encodings = sorted({(result.SOPClassUID, result.file_meta.TransferSyntaxUID) for result in results})
        return self._node.associate(
            self._destination.host,
            self._destination.port,
            contexts=[build_context(sop_class, _offered(syntax)) for sop_class, syntax in encodings],
            ae_title=self._destination.ae_title,
            tls_args=None if self._tls is None else (self._tls, self._destination.host),
        )


def _offered(syntax: UID) -> list[str | UID]:
    """A result's own transfer syntax, and the default one, which every archive has (DICOM PS3.5, 10.1).

    pynetdicom encodes anew what it sends in another one, but it decompresses nothing.
    """
    return list(dict.fromkeys([syntax] if syntax.is_compressed else [syntax, ImplicitVRLittleEndian]))


def _why_none(association: Association) -> str:
    """Why there is no association."""
    if association.is_rejected:
        return "rejected"
    if association.rejected_contexts:
        return f"it accepts no {_names(one.abstract_syntax for one in association.rejected_contexts)}"
    return "no association"


def _names(sop_classes: Iterable[str | UID | None]) -> str:
    return " and no ".join(dict.fromkeys(UID(sop_class or "").name for sop_class in sop_classes))


def _offer(association: Association, result: Dataset) -> str | None:
    """Send one result; None, or why the archive did not take it."""
    try:
        status = association.send_c_store(result).get("Status")
    except ValueError:
        return f"it accepts no {_names([result.SOPClassUID])}"
    if status is None:
        return _NO_ANSWER
    return None if status in _ACCEPTED else f"status 0x{status:04X}"
