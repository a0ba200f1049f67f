"""A program that is asked to end tidies up first: one way to install signal handlers and restore them."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

#: What schedulers and service managers send, and what a terminal that is closed sends.
ENDINGS = (signal.SIGTERM, signal.SIGHUP)
Handler = Callable[[int, FrameType | None], object] | signal.Handlers


@contextmanager
def signals_handled(handler: Handler | None, *numbers: signal.Signals) -> Iterator[None]:
    """Handle signals inside, and restore at the end what handled them before.

    Handlers that are not Python's stay. Outside of the main thread, which alone gets signals, nothing is
    changed.

    Args:
        handler: as of :func:`signal.signal`; None: install none, but restore them if something inside does.
        numbers: of the signals.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in numbers}
    before = {number: was for number, was in before.items() if was is not None}
    try:
        for number in before if handler is not None else ():
            signal.signal(number, handler)
        yield
    finally:
        for number, was in before.items():
            signal.signal(number, was)


@contextmanager
def ended_cleanly() -> Iterator[None]:
    """End what is inside as Ctrl-C would, so that it deletes what it has unpacked, fetched or begun to write.

    Only the first time: a second signal would end the deleting, and service managers send two. What nohup has
    made the program ignore stays ignored.
    """
    heeded = [number for number in ENDINGS if signal.getsignal(number) is not signal.SIG_IGN]

    def end(number: int, _: FrameType | None) -> None:
        for every in heeded:
            signal.signal(every, lambda *_: None)  # of one on its way SIG_IGN would make Python complain
        sys.exit(128 + number)

    with signals_handled(end, *heeded):
        yield
