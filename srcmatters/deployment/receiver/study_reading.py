"""The reader's thread: one complete study after another becomes results, or is refused with a reason."""

from __future__ import annotations

import logging
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from pydicom import Dataset

from srcmatters.deployment.receiver.spool import Spool, study_of
from srcmatters.deployment.receiver.study_completion import StudyCompletion
from srcmatters.deployment.redaction import without_identifiers
from srcmatters.errors import InputError

_LOG = logging.getLogger(__name__)
MAX_TRIES = 3  # a study over which the program ended as often is put aside
RETRY_SECONDS = 10.0  # after the disk or the memory was full; twice as long after every further time
LONGEST_RETRY_SECONDS = 300.0
_POLL_SECONDS = 0.1
_PIECE = 2**20  # bytes


class StudyRefused(InputError):
    """A study that is not read, with what tells its archive so.

    Args:
        message: the reason.
        reports: complete datasets to send, as :meth:`StudyReader.read` returns them; none names a patient but
            in the attributes that name them in every object of the study.
    """

    def __init__(self, message: str, reports: Sequence[Dataset] = ()) -> None:
        super().__init__(message)
        self.reports = tuple(reports)


class StudyReader(Protocol):
    """Whatever turns a study into an answer: an exported bundle, say.

    If it has a method ``close()``, that is called before the program ends; if it has an attribute ``about``,
    its lines are logged at the start.
    """

    def read(self, folder: Path, files: Sequence[Path]) -> Sequence[Dataset]:
        """Read one study.

        Args:
            folder: where its files lie, called as the log calls the study; it may be written to and is
                deleted afterwards.
            files: its instances as they were received, DICOM part 10, any of the accepted SOP classes; what
                they hold has not been checked.

        Returns:
            Complete datasets with file meta information to send back: Structured Reports, Secondary Captures.
            None at all is an answer, too.

        Raises:
            InputError: this study is refused, and its images may be deleted. The message goes to the log and
                into the spool's refused folder; identifiers of the patient are taken out of it. The reports
                of a :class:`StudyRefused` are sent.
            OSError, MemoryError: there was no room for it; it is read again later, for as long as it takes.
            Exception: any other is a fault of the program's: the study is put aside with its images.
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
        self, reader: StudyReader, spool: Spool, arrivals: StudyCompletion, written: Callable[[], None]
    ) -> None:
        # A daemon: a network that computes for minutes must not keep a stopped program alive.
        super().__init__(name="reading", daemon=True)
        self._reader, self._spool, self._arrivals, self._written = reader, spool, arrivals, written
        # Studies in reading/, and when each may be begun.
        self._due = dict.fromkeys(spool.batches("reading"), 0.0)
        self._no_room: dict[str, int] = {}
        self._stopping = threading.Event()
        self._reading: str | None = None

    def run(self) -> None:
        """Work until it is stopped."""
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
        now = time.monotonic()
        for waiting, due in self._due.items():
            if due <= now:
                return waiting
        batch = self._arrivals.take_next(self._spool.take, _POLL_SECONDS)
        if batch is not None:
            self._due[batch] = now
        return batch

    def _handle(self, batch: str) -> None:
        """Read one study; it stays in the row until its results or its refusal are on disk."""
        self._reading = batch
        try:
            if not self._read(batch):
                return
        finally:
            self._reading = None
        del self._due[batch]
        self._no_room.pop(batch, None)
        self._written()

    def _read(self, batch: str) -> bool:
        """Read one study; whether it is answered or refused now."""
        folder, files = self._spool.folder / "reading" / batch, self._spool.files("reading", batch)
        started = time.monotonic()
        if self._spool.begin(batch) > MAX_TRIES:
            return self._put_aside(batch, f"the program ended {MAX_TRIES} times while it read this study")
        self._tell_repetition(batch, files)
        try:
            try:
                results = self._reader.read(folder, files)
            except InputError as error:
                _read_through(files)
                reports = error.reports if isinstance(error, StudyRefused) else ()
                return self._refuse(batch, files, str(error), reports)
        except (OSError, MemoryError) as error:
            return self._postpone(batch, error)
        except Exception as error:
            return self._put_aside(batch, _where("the reader failed", error))
        try:
            self._spool.commit(batch, results)
        except OSError:
            self._spool.forgive(batch)  # a full disk is not the study's fault
            raise
        except MemoryError as error:
            return self._postpone(batch, error)
        except Exception as error:
            return self._put_aside(batch, _where("a result is no valid DICOM", error))
        self._remember(batch, files)
        seconds = time.monotonic() - started
        _LOG.info(
            "study %s: %d instances read in %.1f s, %d results", batch, len(files), seconds, len(results)
        )
        return True

    def _tell_repetition(self, batch: str, files: Sequence[Path]) -> None:
        """An answer holds what had come by then: who reads the log learns that there will be a second one."""
        known = self._spool.known.instances(study_of(batch))
        if not known or batch in self._no_room:
            return
        new = len({file.stem for file in files} - known)
        what = f"with {new} further instances" if new else "and nothing in it is new"
        _LOG.warning(
            "study %s: comes again, %s; its %d instances are read by themselves", batch, what, len(files)
        )

    def _remember(self, batch: str, files: Sequence[Path]) -> None:
        self._spool.known.add(study_of(batch), (file.stem for file in files))

    def _postpone(self, batch: str, error: OSError | MemoryError) -> bool:
        """Read a study later for which there was no room, which is not its fault; others go on meanwhile."""
        failures = self._no_room[batch] = self._no_room.get(batch, 0) + 1
        self._spool.forgive(batch)
        delay = min(RETRY_SECONDS * 2 ** min(failures - 1, 16), LONGEST_RETRY_SECONDS)
        self._due[batch] = time.monotonic() + delay
        _LOG.warning("study %s: %s; read again in %.0f s", batch, _where("the reader failed", error), delay)
        return False

    def _put_aside(self, batch: str, reason: str) -> bool:
        """Keep a study that the program fails at: its sender has been told that it was stored."""
        self._spool.refuse(batch, reason, keep=True)
        _LOG.error(
            "study %s: not read: %s; its images are kept: to have it read again, stop this, move refused/%s"
            " to reading/ in the spool, and start this again",
            batch,
            reason,
            batch,
        )
        return True

    def _refuse(self, batch: str, files: Sequence[Path], reason: str, reports: Sequence[Dataset]) -> bool:
        """Part with a study that the rules of the bundle, or its own images, say no to."""
        message = without_identifiers(reason, files)
        self._spool.refuse(batch, message, reports=reports)
        self._remember(batch, files)
        where = "the archive gets a report of it" if reports else "no report of it is possible"
        _LOG.warning("study %s: refused: %s; %s", batch, message, where)
        return True


def _read_through(files: Sequence[Path]) -> None:
    """Raise OSError if a disk does not give the files back: that is no reason to part with them."""
    for path in files:
        with path.open("rb") as file:
            while file.read(_PIECE):
                pass


def _where(what: str, error: Exception) -> str:
    """Kind and place of an unexpected error, but not its message, which may quote the study."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{what}: {type(error).__name__} in {Path(frame.filename).name}, line {frame.lineno}"
