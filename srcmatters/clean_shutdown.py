"""A program that is asked to end tidies up first."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_ENDINGS = (signal.SIGTERM, signal.SIGHUP)  # of a scheduler, and of a terminal that is closed


@contextmanager
def ended_cleanly() -> Iterator[None]:
    """End what is inside as Ctrl-C would, so that it deletes what it has unpacked, fetched or begun to write.

    Only the first time: a second signal would end the deleting, and service managers send two. What nohup has
    made the program ignore stays ignored, and so do handlers that are not Python's. Outside of the main
    thread, which alone gets signals, nothing is changed.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in _ENDINGS}
    before = {number: was for number, was in before.items() if was not in (signal.SIG_IGN, None)}

    def end(number: int, _: object) -> None:
        for every in before:
            signal.signal(every, lambda *_: None)  # of one on its way SIG_IGN would make Python complain
        sys.exit(128 + number)

    for number in before:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number, was in before.items():
            signal.signal(number, was)
