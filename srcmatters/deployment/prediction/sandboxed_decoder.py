"""A process of its own for foreign bytes: with a limit of time and memory, and replaced when it dies."""

from __future__ import annotations

import ctypes
import errno
import gc
import multiprocessing
import os
import resource
import signal
import stat
import time
import warnings
import weakref
from collections.abc import Callable
from contextlib import AbstractContextManager
from multiprocessing.connection import Connection
from typing import Any

import psutil
import torch

from srcmatters.errors import InputError, first_line

SECONDS = 4.0  # for one file: with all that is done besides it has an answer within five
SECONDS_PER_BYTE = 0.5 / 2**20  # more: a radiograph of 15 million pixels in JPEG 2000 takes as long
_STARVED = 5  # times as long, if the processor has been busy with something else
SERIES_SECONDS = 60.0  # for a series, however many files it has
MEMORY = 2**30  # bytes that decoding may take, beside what the program itself needs
PROCESS = 15 * 2**27  # bytes that the process may take in all, 1.9 GiB
_LEAST = 2**28  # bytes that decoding may take in any case
_TOO_LARGE = "decoding takes too much memory"
_PR_SET_PDEATHSIG = 1
#: What the system says when it has no files left to open, whatever the file that was to be opened.
EXHAUSTED = (errno.EMFILE, errno.ENFILE)
_LONGEST = 4096  # characters of a message, which may quote what is in a file


class Decoder(AbstractContextManager["Decoder"]):
    """Runs functions on foreign files elsewhere, one at a time.

    Decoders of foreign bytes crash, hang and ask for any amount of memory. Here they do so in a process that
    this one has forked, whose address space is limited, which can write no file, and which is killed when it
    takes too long; the next file gets a new one. What goes wrong is an :class:`InputError` like any other.
    A process that dies may have been killed by a system without memory: its file is tried once more, in what
    is left of its time. Where no process can be started, that is an :class:`OSError`.
    The process ends with the thread that has started it, and with this object.

    Args:
        seconds: that a file may take, > 0.
        memory: bytes that the process may take beyond what it shares with this one.

    Attributes:
        spent: seconds of processor time that the last task took which was answered, in both tries if it had
            two.
    """

    def __init__(self, seconds: float = SECONDS, memory: int = MEMORY) -> None:
        self.seconds, self.memory = seconds, memory
        self.spent = 0.0
        self._process: multiprocessing.process.BaseProcess | None = None
        self._answers: Connection | None = None
        self._limit = self._until = self._last = self._spent = self._began = self._lost = 0.0
        self._task: tuple[Callable[..., Any], tuple[Any, ...]] | None = None
        self._unanswered = False
        self._end: Callable[[], Any] | None = None

    def submit(
        self, task: Callable[..., Any], *arguments: Any, files: int = 1, size: int = 0, spent: float = 0.0
    ) -> None:
        """Begin a task; :meth:`result` tells what became of it.

        One that was begun before and never asked for is stopped: its answer must not be taken for this one's.

        Args:
            task: a function of a module; it, its arguments and its result are pickled.
            files: how many it reads; further ones get a tenth of the time each, all together no more than
                a minute.
            size: bytes of them, which take half a second a MiB.
            spent: seconds that earlier tasks took for the same file.

        Raises:
            OSError: no process could be started.
        """
        if self._unanswered or self._process is None or not self._process.is_alive():
            self._start()
        assert self._answers is not None
        longer = self.seconds * (1 + (files - 1) / 10) + size * SECONDS_PER_BYTE
        self._limit = max(self.seconds, min(longer, SERIES_SECONDS))
        self._until = time.monotonic() + self._limit - spent
        self._last = self._until + (_STARVED - 1) * self._limit
        self._spent, self._began, self._lost = spent, self._processor_seconds(), 0.0
        self._task = task, arguments
        try:
            self._answers.send(self._task)
        except OSError:  # it has died since; what it was not given is asked for anew
            self._start()
            self._began = 0.0
            self._answers.send(self._task)
        self._unanswered = True

    def result(self) -> Any:
        """What the task returned.

        Raises:
            InputError: it refused the file, failed, took too long or too much, or two processes died of it.
            OSError: the first process died, and no second one could be started; or the machine has no files
                left to open.
        """
        try:
            kind, value, seconds, worn = self._receive()
        except (EOFError, OSError):
            self._try_again()
            try:
                kind, value, seconds, worn = self._receive()
            except (EOFError, OSError) as error:
                self.close()
                raise InputError("the decoder died of this file, twice") from error
        self._unanswered = False
        self.spent = self._lost + seconds
        if worn:
            self.close()
        if kind == "exhausted":
            raise OSError(value, os.strerror(value))
        if kind == "refused":
            raise InputError(value)
        return value

    def _receive(self) -> tuple[str, Any, float, bool]:
        """What the process answers: kind, value, seconds, and whether it is worn."""
        assert self._answers is not None
        if not self._answered():
            self.close()
            self.spent = self._limit
            raise InputError(f"decoding took longer than {self._limit:g} s, and was stopped")
        return self._answers.recv()

    def _try_again(self) -> None:
        """Give the task to another process; what the dead one took of its time stays taken."""
        # Of a process that is gone without a trace nothing is known.
        self._lost = max(0.0, self._processor_seconds() - self._began)
        self._start()
        self._began = 0.0
        assert self._answers is not None
        self._answers.send(self._task)
        self._unanswered = True

    def run(self, task: Callable[..., Any], *arguments: Any) -> Any:
        """:meth:`submit` and :meth:`result`."""
        self.submit(task, *arguments)
        return self.result()

    def _answered(self) -> bool:
        """Wait for the answer: longer if the process has not had its time, so that load refuses no file."""
        assert self._answers is not None
        while not self._answers.poll(max(0.0, self._until - time.monotonic())):
            used = self._spent + self._lost + self._processor_seconds() - self._began
            missing = self._limit - used
            if missing < 0.1 or time.monotonic() > self._last or not self._is_held_up():
                return False
            self._until = time.monotonic() + missing
        return True

    def _processor_seconds(self) -> float:
        try:
            used = psutil.Process(self._process.pid).cpu_times()  # type: ignore[union-attr]
        except psutil.Error:
            return 0.0
        return float(used.user + used.system)

    def _is_held_up(self) -> bool:
        """Whether it waits for the processor, or for a disk: no file can make it sleep so."""
        try:
            status = psutil.Process(self._process.pid).status()  # type: ignore[union-attr]
        except psutil.Error:
            return False
        return bool(status in (psutil.STATUS_RUNNING, psutil.STATUS_DISK_SLEEP))

    def close(self) -> None:
        """End the process; the next task starts another."""
        if self._end is not None:
            self._end()
        if self._answers is not None:
            self._answers.close()
        self._process = self._answers = self._end = None
        self._unanswered = False

    def __exit__(self, *_: object) -> None:
        self.close()

    def _start(self) -> None:
        """Fork.

        ``forkserver`` was measured as well: it decodes as fast, but every command pays 7 s of processor time
        and 467 MiB for a server that imports torch and MONAI once more (first answer after 11 s instead of
        0.1 s). Beside torch's threads that is safe as long as the new process, which has none of them, runs
        torch on one thread.
        """
        self.close()
        context = multiprocessing.get_context("fork")
        self._answers, theirs = context.Pipe()
        # Measured here: pages of libraries count for the new process only once it touches them.
        arguments = (theirs, self._answers, self.memory, psutil.Process().memory_info().rss, os.getpid())
        process = context.Process(target=_work, args=arguments, daemon=True)
        # An interruption in the middle of forking would have the new process print where it was.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
        try:
            process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        self._process = process
        # It heeds no SIGTERM, for which the interpreter would wait at its end.
        self._end = weakref.finalize(self, _kill, process)
        theirs.close()


def _kill(process: multiprocessing.process.BaseProcess) -> None:
    process.kill()
    process.join()
    process.close()


def _work(tasks: Connection, other_end: Connection, memory: int, shared: int, parent: int) -> None:
    """Answer until the other side closes the pipe, which it does by ending, too."""
    other_end.close()
    gc.freeze()  # what the parent has left to collect is not ours: freeing it would copy it first
    _end_with(parent)
    _let_go(tasks.fileno())
    # Whoever stops the program decides when decoding ends: by closing the pipe.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    # The threads that libraries had started are not in a forked process.
    torch.set_num_threads(1)
    # Decoders print what they find, names included.
    silent = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(silent, stream)
    worn = _address_space() + _set_limits(memory, shared) // 2
    while True:
        try:
            task, arguments = tasks.recv()
        except (EOFError, OSError):
            os._exit(0)
        began = time.process_time()
        kind, value = _answer(task, arguments)
        # What libraries keep of one file would be missing for the next ones.
        tasks.send((kind, value, time.process_time() - began, _address_space() > worn))


def _end_with(parent: int) -> None:
    """Be killed when the parent is, in the middle of a file, too."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(0)


def _let_go(own: int) -> None:
    """Close the sockets that were forked along: a port that somebody listens on would stay in use."""
    for name in os.listdir("/proc/self/fd"):
        try:
            if int(name) != own and stat.S_ISSOCK(os.fstat(int(name)).st_mode):
                os.close(int(name))
        except OSError:
            continue  # the folder itself, which is closed by now


def _set_limits(memory: int, shared: int) -> int:
    """Limit this process, which shares so many bytes already; returns what it may take from now on."""
    allowed = max(min(memory, PROCESS - shared), min(memory, _LEAST))
    limit = _address_space() + allowed
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))  # nothing that decodes has anything to write
    return allowed


def _address_space() -> int:
    return int(psutil.Process().memory_info().vms)


def _answer(task: Callable[..., Any], arguments: tuple[Any, ...]) -> tuple[str, Any]:
    """What is sent back: kind and value."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return "value", task(*arguments)
        except Exception as error:  # foreign bytes make decoders raise anything
            cause = error.__cause__ if isinstance(error, InputError) else error
            if isinstance(cause, OSError) and cause.errno in EXHAUSTED:
                return "exhausted", cause.errno
            if isinstance(cause, MemoryError):
                return "refused", _TOO_LARGE
            if isinstance(error, InputError):
                return "refused", str(error)[:_LONGEST]
            return "refused", f"not readable ({type(error).__name__}: {first_line(error)})"[:_LONGEST]
