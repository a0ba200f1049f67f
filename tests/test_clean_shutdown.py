"""Signals to a clean end: handled inside, as they were afterwards."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from srcmatters.clean_shutdown import ended_cleanly, signals_handled


def _handlers() -> list[object]:
    return [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)]


def test_a_handler_is_installed_inside_only() -> None:
    before, seen = _handlers(), []
    with signals_handled(lambda number, _: seen.append(number), signal.SIGTERM, signal.SIGHUP):
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGHUP)
    assert set(seen) == {signal.SIGTERM, signal.SIGHUP} and _handlers() == before


def test_what_something_inside_installs_does_not_stay() -> None:
    before = _handlers()
    with pytest.raises(KeyError), signals_handled(None, signal.SIGTERM):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise KeyError
    assert _handlers() == before


def test_another_thread_changes_nothing() -> None:
    before, seen = _handlers(), []

    def inside() -> None:
        with signals_handled(signal.SIG_IGN, signal.SIGTERM), ended_cleanly():
            seen.append(_handlers())

    thread = threading.Thread(target=inside)
    thread.start()
    thread.join()
    assert seen == [before] and _handlers() == before


def test_the_first_signal_ends_it_and_a_second_one_does_not_end_the_tidying() -> None:
    before, tidied = _handlers(), []
    with pytest.raises(SystemExit) as ended, ended_cleanly():
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        finally:
            os.kill(os.getpid(), signal.SIGHUP)
            os.kill(os.getpid(), signal.SIGTERM)
            tidied.append(True)
    assert ended.value.code == 128 + signal.SIGTERM and tidied and _handlers() == before


def test_what_is_ignored_stays_ignored() -> None:
    with signals_handled(signal.SIG_IGN, signal.SIGHUP), ended_cleanly():
        os.kill(os.getpid(), signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
