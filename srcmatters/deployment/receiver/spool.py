"""The spool: every instance is on disk before its sender is told so, and stays until its answer has arrived.

    spool/
      incoming/<study>/<instance>.dcm       received, not yet read
      reading/<study>-<token>/              being read; once more after a crash
      outgoing/<study>-<token>/0001.dcm     results that the destination has not acknowledged
      refused/<study>-<token>/              reason.txt of what was not read; its instances, if they are kept,
                                            as they always are where the program was at fault
      done/<study>-<token>/                 acknowledged results, if they are kept
      known/<study>                         which instances of it have been read; for the log

Names are salted hashes, so that a path may be logged; the files themselves hold what the sender sent. A
study moves by renaming its folder, which either has happened or has not: from whatever moment the program
is killed at, :meth:`Spool.recover` goes on.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
from collections.abc import Sequence
from pathlib import Path

from filelock import FileLock, Timeout
from pydicom import Dataset, dcmwrite

from srcmatters.deployment.receiver.durable_files import PART, sync_file, sync_folder, write_durably
from srcmatters.deployment.receiver.known_studies import KNOWN, KnownStudies
from srcmatters.errors import InputError
from srcmatters.pseudonyms import pseudonym

STAGES = ("incoming", "reading", "outgoing", "refused", "done")
REASON = "reason.txt"
SPARE = 2**28  # bytes of the disk that answers and other programs may need
_SALT, _LOCK, _TRIES = "salt", "lock", "tries"


class Spool:
    """A spool folder, held by one server at a time.

    Args:
        folder: made if it is not there, readable by its owner only.
        keep_sent: move acknowledged results to done/ instead of deleting them.
        keep_refused: keep the instances of a refused study beside the reason, instead of deleting them.

    Raises:
        InputError: the folder cannot be written, or another server holds it.
    """

    def __init__(self, folder: Path, keep_sent: bool = False, keep_refused: bool = False) -> None:
        self.folder = folder
        self.keep_sent, self.keep_refused = keep_sent, keep_refused
        self.known = KnownStudies(folder / KNOWN)
        self._lock = FileLock(folder / _LOCK)
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock.acquire(timeout=0)
        except Timeout as error:
            raise InputError(
                f"--spool {folder}: another server is using it, expected one of its own"
            ) from error
        except OSError as error:
            raise InputError(f"--spool {folder}: cannot be written ({error.strerror})") from error
        try:
            self._make_private()
            self._salt = self._read_salt()
            self.recover()
        except OSError as error:
            self.close()
            raise InputError(f"--spool {folder}: cannot be written ({error.strerror})") from error

    def close(self) -> None:
        """Let another server have it."""
        self._lock.release()

    @property
    def is_open(self) -> bool:
        """Whether it is still ours."""
        return self._lock.is_locked

    def recover(self) -> None:
        """Tidy up after a server that was killed at any moment: half-written files, studies it had read."""
        for stage in ("incoming", "reading", "outgoing", "refused"):
            for part in [*(self.folder / stage).rglob(f"*{PART}")]:
                shutil.rmtree(part) if part.is_dir() else part.unlink(missing_ok=True)
        for batch in self.batches("reading"):
            answered = (self.folder / "outgoing" / batch).exists()
            if answered and (self.folder / "reading" / batch / REASON).exists():
                self._move("reading", batch, "refused", batch)  # killed between its report and this
            elif any((self.folder / stage / batch).exists() for stage in ("outgoing", "refused")):
                shutil.rmtree(self.folder / "reading" / batch)
        for stage in ("incoming", "outgoing"):
            for name in self.batches(stage):
                if not self.files(stage, name):
                    shutil.rmtree(self.folder / stage / name)

    def hashed(self, uid: str) -> str:
        """What stands for a UID in names and logs: the same in this spool for ever, meaningless elsewhere."""
        return pseudonym(uid, self._salt)

    def keep_instance(self, study: str, instance: str, *content: bytes | memoryview) -> None:
        """Write a received instance durably; the same instance once more replaces itself.

        Args:
            study: hashed Study Instance UID.
            instance: hashed SOP Instance UID.
            content: the file as DICOM part 10 has it, in pieces.

        Raises:
            OSError: it could not be written, or would leave less of the disk than answers and other programs
                need; nothing of it stays.
        """
        size = sum(memoryview(piece).nbytes for piece in content)
        if shutil.disk_usage(self.folder).free - size < SPARE:
            raise OSError(errno.ENOSPC, f"{os.strerror(errno.ENOSPC)} but {SPARE >> 20} MiB")
        folder = self.folder / "incoming" / study
        if not folder.exists():
            folder.mkdir(exist_ok=True)
            sync_folder(folder.parent)
        write_durably(folder / f"{instance}.dcm", *content)

    def take(self, study: str) -> str:
        """Hand a study over to the reader, out of reach of instances that arrive from now on.

        Returns:
            Its name from now on, that of a folder in reading/.
        """
        batch = f"{study}-{secrets.token_hex(4)}"
        self._move("incoming", study, "reading", batch)
        return batch

    def begin(self, batch: str) -> int:
        """Count how often this study has been begun; the count is lost only with the study.

        Returns:
            1 the first time; more if the program ended in the middle of the times before.
        """
        path = self.folder / "reading" / batch / _TRIES
        tries = 1 + (int(path.read_text()) if path.exists() else 0)
        write_durably(path, str(tries).encode())
        return tries

    def forgive(self, batch: str) -> None:
        """Forget how often it was begun: the program was asked to stop, which is not the study's fault."""
        (self.folder / "reading" / batch / _TRIES).unlink(missing_ok=True)

    def commit(self, batch: str, results: Sequence[Dataset]) -> None:
        """Exchange a study that has been read for its results, which are then there all or none.

        Raises:
            OSError: they could not be written; the study is still in reading/.
        """
        self._leave(batch, results)
        self._forget(batch)

    def _leave(self, batch: str, results: Sequence[Dataset]) -> None:
        """Put datasets into outgoing/, all or none; what is there already stays as it is."""
        target = self.folder / "outgoing" / batch
        if results and not target.exists():
            part = target.with_name(f"{batch}{PART}")
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir()
            try:
                for number, result in enumerate(results, 1):
                    with (part / f"{number:04d}.dcm").open("wb") as file:
                        dcmwrite(file, result, enforce_file_format=True)
                        sync_file(file.fileno())
            except BaseException:
                shutil.rmtree(part, ignore_errors=True)
                raise
            sync_folder(part)
            part.rename(target)
            sync_folder(target.parent)

    def refuse(self, batch: str, reason: str, keep: bool = False, reports: Sequence[Dataset] = ()) -> None:
        """Exchange a study that will not be read for the reason, or put it aside with the reason beside it.

        Its folder may be moved back to reading/ while no server holds the spool: the next one reads it.

        Args:
            batch: in reading/.
            reason: one line without identifiers.
            keep: put it aside even where refused studies are not kept.
            reports: what is sent of it.

        Raises:
            OSError: the disk is full; the study is still in reading/.
        """
        content = f"{reason}\n".encode()
        if keep or self.keep_refused:
            write_durably(self.folder / "reading" / batch / REASON, content)
            self._leave(batch, reports)
            self.forgive(batch)
            self._move("reading", batch, "refused", batch)
            return
        self._leave(batch, reports)
        part = self.folder / "refused" / f"{batch}{PART}"
        if not part.with_name(batch).exists():
            part.mkdir(exist_ok=True)
            write_durably(part / REASON, content)
            self._move("refused", part.name, "refused", batch)
        self._forget(batch)

    def acknowledged(self, batch: str, file: Path) -> None:
        """Take a result that has arrived out of outgoing/, so that it is never sent again."""
        if self.keep_sent:
            kept = self.folder / "done" / batch
            kept.mkdir(exist_ok=True)
            os.replace(file, kept / file.name)
        else:
            file.unlink()
        sync_folder(file.parent)
        if not any(file.parent.iterdir()):
            file.parent.rmdir()

    def batches(self, stage: str) -> list[str]:
        """Names of the studies in incoming/, reading/, ..., the oldest first."""
        batches = []
        for path in (self.folder / stage).iterdir():
            # Another thread may have moved it since it was listed.
            with contextlib.suppress(FileNotFoundError):
                if path.suffix != PART:
                    batches.append((path.stat().st_mtime_ns, path.name))
        return [name for _, name in sorted(batches)]

    def unsent(self) -> list[str]:
        """Names of the studies whose results wait for the destination, the oldest first.

        One that still lies in reading/ too is not among them: were it sent now and the program killed, it
        would be read and sent once more.
        """
        being_read = set(self.batches("reading"))
        return [batch for batch in self.batches("outgoing") if batch not in being_read]

    def files(self, stage: str, batch: str) -> list[Path]:
        """DICOM files of a study in one of the stages."""
        return sorted((self.folder / stage / batch).glob("*.dcm"))

    def _forget(self, batch: str) -> None:
        """Delete a study of which nothing but its answer is needed; it is gone at once, or not at all."""
        read = self.folder / "reading" / f"{batch}{PART}"
        self._move("reading", batch, "reading", read.name)
        shutil.rmtree(read, ignore_errors=True)  # what is left is deleted at the next start

    def _move(self, stage: str, name: str, to: str, new_name: str) -> None:
        (self.folder / stage / name).rename(self.folder / to / new_name)
        sync_folder(self.folder / to)
        sync_folder(self.folder / stage)

    def _make_private(self) -> None:
        """Make the folders, out of reach of other users; a folder with other things in it stays as it is."""
        ours = {*STAGES, KNOWN, _SALT, _LOCK}
        if all(path.name in ours or path.suffix == PART for path in self.folder.iterdir()):
            self.folder.chmod(0o700)
        for stage in (*STAGES, KNOWN):
            (self.folder / stage).mkdir(exist_ok=True, mode=0o700)

    def _read_salt(self) -> bytes:
        path = self.folder / _SALT
        if not path.exists():
            write_durably(path, secrets.token_bytes(32))
        path.chmod(0o600)  # with it, a guessed UID can be told from a name in the log
        return path.read_bytes()


def find_study(folder: Path, uid: str) -> tuple[str, list[Path]]:
    """What stands for a study in names and logs of a spool, which a server may hold meanwhile.

    Args:
        folder: of the spool.
        uid: Study Instance UID.

    Returns:
        Its hashed name, and the folders in which something of it lies.

    Raises:
        InputError: there is no spool, or it is somebody else's.
    """
    try:
        name = pseudonym(uid, (folder / _SALT).read_bytes())
    except OSError as error:
        raise InputError(
            f"--spool {folder}: cannot be read ({error.strerror}), expected the spool of a server"
        ) from error
    places = [place for stage in STAGES for place in sorted((folder / stage).glob(f"{name}*"))]
    return name, [place for place in places if place.suffix != PART]


def study_of(batch: str) -> str:
    """The study that a folder in reading/, outgoing/ or refused/ belongs to."""
    return batch.partition("-")[0]
