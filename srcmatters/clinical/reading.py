"""The reader's thread: one complete study after another becomes results, or is refused with a reason."""

from __future__ import annotations

import logging
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from pydicom import Dataset

from srcmatters.clinical.arrivals import Arrivals
from srcmatters.clinical.redaction import without_identifiers
from srcmatters.clinical.spool import Spool
from srcmatters.errors import InputError

_LOG = logging.getLogger(__name__)
MAX_TRIES = 3  # a study over which the program ended as often is put aside
RETRY_SECONDS = 10.0  # after the disk was full
_POLL_SECONDS = 0.1


class StudyReader(Protocol):
    """Whatever turns a study into an answer: an exported bundle, say."""

    def read(self, folder: Path, files: Sequence[Path]) -> Sequence[Dataset]:
        """Read one study.

        Args:
            folder: where its files lie; it may be written to and is deleted afterwards.
            files: its instances as they were received, DICOM part 10, any of the accepted SOP classes; what
                they hold has not been checked.

        Returns:
            Complete datasets with file meta information to send back: Structured Reports, Secondary Captures.
            None at all is an answer, too.

        Raises:
            InputError: this study is refused. The message goes to the log (identifiers of the patient are
                taken out of it) and, as it is, into the spool's refused folder.
        """
        ...


class ReadingThread(threading.Thread):
    """Takes complete studies, one at a time, and leaves their results in the spool.

    Args:
        reader: reads them.
        spool: where they lie.
        arrivals: says which are complete.
        written: called whenever there is something new to send.
    """

    def __init__(
        self, reader: StudyReader, spool: Spool, arrivals: Arrivals, written: Callable[[], None]
    ) -> None:
        # A daemon: a network that computes for minutes must not keep a stopped program alive.
        super().__init__(name="reading", daemon=True)
        self._reader, self._spool, self._arrivals, self._written = reader, spool, arrivals, written
        self._interrupted = deque(spool.batches("reading"))
        self._stopping = threading.Event()
        self._reading: str | None = None

    def run(self) -> None:
        while not self._stopping.is_set():
            try:
                batch = self._next()
                if batch is not None:
                    self._handle(batch)
            except OSError as error:
                _LOG.error("the spool cannot be written (%s): trying again", error.strerror)
                self._stopping.wait(RETRY_SECONDS)

    def finish(self) -> None:
        """Begin no other study."""
        self._stopping.set()

    def stop(self, seconds: float) -> bool:
        """Finish the study at hand if that takes no longer than ``seconds``.

        Returns:
            Whether the thread has ended; otherwise the study is begun anew by the next server.
        """
        self.finish()
        self.join(seconds)
        batch = self._reading
        if self.is_alive() and batch is not None:
            self._spool.forgive(batch)
        return not self.is_alive()

    def _next(self) -> str | None:
        if self._interrupted:
            return self._interrupted[0]
        batch = self._arrivals.take_next(self._spool.take, _POLL_SECONDS)
        if batch is not None:
            self._interrupted.append(batch)
        return batch

    def _handle(self, batch: str) -> None:
        """Read one study; it stays first in the row until its results or its refusal are on disk."""
        self._reading = batch
        try:
            self._read(batch)
            self._interrupted.popleft()
        finally:
            self._reading = None
        self._written()

    def _read(self, batch: str) -> None:
        folder, files = self._spool.folder / "reading" / batch, self._spool.files("reading", batch)
        started = time.monotonic()
        if self._spool.begin(batch) > MAX_TRIES:
            self._refuse(batch, files, f"the program ended {MAX_TRIES} times while it read this study")
            return
        try:
            results = self._reader.read(folder, files)
        except InputError as error:
            self._refuse(batch, files, str(error))
            return
        except Exception as error:
            self._refuse(batch, files, _where("the reader failed", error))
            return
        try:
            self._spool.commit(batch, results)
        except OSError:
            raise
        except Exception as error:
            self._refuse(batch, files, _where("a result is no valid DICOM", error))
            return
        seconds = time.monotonic() - started
        _LOG.info(
            "study %s: %d instances read in %.1f s, %d results", batch, len(files), seconds, len(results)
        )

    def _refuse(self, batch: str, files: Sequence[Path], reason: str) -> None:
        known = without_identifiers(reason, files)
        self._spool.refuse(batch, reason)
        _LOG.warning("study %s: refused, kept in refused/: %s", batch, known)


def _where(what: str, error: Exception) -> str:
    """Kind and place of an unexpected error, but not its message, which may quote the study."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{what}: {type(error).__name__} in {Path(frame.filename).name}, line {frame.lineno}"
