"""A program that is asked to end tidies up first."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

_TERMINATIONS = (signal.SIGTERM, signal.SIGHUP)  # of a scheduler, and of a terminal that is closed


@contextmanager
def handlers_kept(
    numbers: Sequence[signal.Signals] = _TERMINATIONS,
) -> Iterator[dict[signal.Signals, object]]:
    """Restore the handlers of signals after a block that changes them.

    Args:
        numbers: the signals.

    Yields:
        The handlers that are Python's, by signal. What nohup has made the program ignore stays ignored, and
        so do handlers that are not Python's; outside of the main thread, which alone gets signals, there are
        none.
    """
    if threading.current_thread() is not threading.main_thread():
        yield {}
        return
    before = {number: signal.getsignal(number) for number in numbers}
    before = {number: handler for number, handler in before.items() if handler not in (signal.SIG_IGN, None)}
    try:
        yield dict(before)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def ended_cleanly(as_interrupt: bool = False) -> Iterator[None]:
    """End what is inside as Ctrl-C would, so that it deletes what it has unpacked, fetched or begun to write.

    Only the first time: a second signal would end the deleting, and service managers send two.

    Args:
        as_interrupt: raise KeyboardInterrupt, as Ctrl-C does, instead of SystemExit with the signal's status.
    """

    def end(number: int, _: object) -> None:
        for other in handled:
            signal.signal(other, lambda *_: None)  # of one on its way SIG_IGN would make Python complain
        if as_interrupt:
            raise KeyboardInterrupt
        sys.exit(128 + number)

    with handlers_kept() as handled:
        for number in handled:
            signal.signal(number, end)
        yield
