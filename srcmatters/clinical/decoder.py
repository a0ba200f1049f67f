"""A process of its own for foreign bytes: with a limit of time and memory, and replaced when it dies."""

from __future__ import annotations

import multiprocessing
import os
import resource
import signal
import time
import warnings
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

from srcmatters.errors import InputError
from srcmatters.images.reading import first_line

SECONDS = 5.0  # for one file
MEMORY = 2**30  # bytes that decoding may take, beside what the program itself needs


class Decoder:
    """Runs functions on foreign files elsewhere, one at a time.

    Decoders of foreign bytes crash, hang and ask for any amount of memory. Here they do so in a process that
    this one has forked, whose address space is limited, and which is killed when it takes too long; the next
    file gets a new one. What goes wrong is an :class:`InputError` like any other.

    Args:
        seconds: that a file may take, > 0.
        memory: bytes that the process may take beyond what it shares with this one.
    """

    def __init__(self, seconds: float = SECONDS, memory: int = MEMORY) -> None:
        self.seconds, self.memory = seconds, memory
        self._process: multiprocessing.process.BaseProcess | None = None
        self._answers: Connection | None = None
        self._until = 0.0
        self._unanswered = False

    def submit(self, task: Callable[..., Any], *arguments: Any, files: int = 1) -> None:
        """Begin a task; :meth:`result` tells what became of it.

        One that was begun before and never asked for is stopped: its answer must not be taken for this one's.

        Args:
            task: a function of a module; it, its arguments and its result are pickled.
            files: how many it reads; further ones get a tenth of the time each.
        """
        if self._unanswered or self._process is None or not self._process.is_alive():
            self._start()
        assert self._answers is not None
        self._until = time.monotonic() + self.seconds * (1 + (files - 1) / 10)
        try:
            self._answers.send((task, arguments))
        except OSError:  # it has died since; what it was not given is asked for anew
            self._start()
            self._answers.send((task, arguments))
        self._unanswered = True

    def result(self) -> Any:
        """What the task returned.

        Raises:
            InputError: it refused the file, failed, took too long or too much, or its process died.
        """
        assert self._answers is not None
        try:
            if not self._answers.poll(max(0.0, self._until - time.monotonic())):
                self.close()
                raise InputError(f"decoding took longer than {self.seconds:g} s for a file, and was stopped")
            kind, value = self._answers.recv()
            self._unanswered = False
        except (EOFError, OSError) as error:
            self.close()
            raise InputError("the decoder died of this file") from error
        if kind == "refused":
            raise InputError(value)
        return value

    def run(self, task: Callable[..., Any], *arguments: Any, files: int = 1) -> Any:
        """:meth:`submit` and :meth:`result`."""
        self.submit(task, *arguments, files=files)
        return self.result()

    def close(self) -> None:
        """End the process; the next task starts another."""
        if self._process is not None:
            self._process.kill()
            self._process.join()
        if self._answers is not None:
            self._answers.close()
        self._process = self._answers = None
        self._unanswered = False

    def __enter__(self) -> Decoder:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _start(self) -> None:
        """Fork: a process that starts from nothing would import for ten seconds first."""
        self.close()
        context = multiprocessing.get_context("fork")
        self._answers, theirs = context.Pipe()
        self._process = context.Process(target=_work, args=(theirs, self._answers, self.memory), daemon=True)
        self._process.start()
        theirs.close()


def _work(tasks: Connection, other_end: Connection, memory: int) -> None:
    """Answer until the other side closes the pipe, which it does by ending, too."""
    other_end.close()
    # Whoever stops the program decides when decoding ends: by closing the pipe.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    # The threads that libraries had started are not in a forked process.
    torch.set_num_threads(1)
    # Decoders print what they find, names included.
    silent = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(silent, stream)
    _limit(memory)
    while True:
        try:
            task, arguments = tasks.recv()
        except (EOFError, OSError):
            os._exit(0)
        tasks.send(_answer(task, arguments))


def _limit(memory: int) -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + memory
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _answer(task: Callable[..., Any], arguments: tuple[Any, ...]) -> tuple[str, Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return "value", task(*arguments)
        except InputError as error:
            return "refused", str(error)
        except MemoryError:
            return "refused", "decoding takes too much memory"
        except Exception as error:  # foreign bytes make decoders raise anything
            return "refused", f"not readable ({type(error).__name__}: {first_line(error)})"
